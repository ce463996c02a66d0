"""A trained network from wherever it is kept: a run's checkpoints, or an exported file."""

from __future__ import annotations

import pathlib
from typing import Any

import jax

from nafp.models import network

# On CPU the narrow network takes a fifth less time for a segment in 64 than in 128; the full one minds neither.
_CPU_BATCH_SIZE = 64
_ACCELERATOR_BATCH_SIZE = 512  # For each device.


def open_extractor(
    source: str, *, batch_size: int = 0, dtype: str = "float32"
) -> tuple[network.Extractor, dict[str, Any]]:
    """Opens RUN, RUN@STEP, RUN@best or an exported file (.npz, .safetensors): (extractor, the network's identity).

    batch_size: segments that go through the network together; 0 for what suits the devices of this process.
    Raises FileNotFoundError or ValueError that says what was looked for and what there is.
    """
    variables, config, step, name = read(source)
    extractor = network.Extractor(
        variables, config, batch_size=batch_size or default_batch_size(), dtype=dtype
    )
    # With the type: what one type has begun is not continued in another.
    return extractor, dict(network.identity(variables, source=name, step=step), dtype=dtype)


def default_batch_size() -> int:
    """Returns how many segments suit the devices of this process."""
    if jax.default_backend() == "cpu":
        return _CPU_BATCH_SIZE
    return _ACCELERATOR_BATCH_SIZE * len(jax.local_devices())


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
