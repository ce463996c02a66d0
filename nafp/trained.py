"""A trained network from wherever it is kept: a run's checkpoints, or an exported file."""

from __future__ import annotations

import pathlib
from typing import Any

from nafp.models import network


def open_extractor(
    source: str, *, batch_size: int = 128, dtype: str = "float32"
) -> tuple[network.Extractor, dict[str, Any]]:
    """Opens RUN, RUN@STEP, RUN@best or an exported file (.npz, .safetensors): (extractor, the network's identity).

    Raises FileNotFoundError or ValueError that says what was looked for and what there is.
    """
    variables, config, step, name = read(source)
    extractor = network.Extractor(variables, config, batch_size=batch_size, dtype=dtype)
    identity = network.identity(variables, source=name, step=step)
    return extractor, dict(
        identity, dtype=dtype
    )  # A store of one type is not continued in another.


def read(source: str) -> tuple[Any, Any, int, str]:
    """Returns (variables, configuration, step, name) of a trained network."""
    if source.endswith((".npz", ".safetensors")):
        return _exported(pathlib.Path(source))
    from nafp.training import checkpoints

    return tuple(checkpoints.load(source, abstract_variables=network.abstract_variables))


def _exported(path: pathlib.Path) -> tuple[Any, Any, int, str]:
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such exported network; write one: nafp export --checkpoint=RUN --out={path}"
        )
    from nafp import export

    variables, config, step = export.read(path)
    return variables, config, step, path.name
