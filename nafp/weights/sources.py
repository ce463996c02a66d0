"""A trained network from wherever it is kept: shipped with the package, a run's checkpoints, an exported file."""

from __future__ import annotations

import difflib
import importlib.util
import pathlib
from typing import TYPE_CHECKING, Any

from nafp.models import protocol

if TYPE_CHECKING:
    from nafp.models import network

from nafp import errors

# On CPU the narrow network takes a fifth less time for a segment in 64 than in 128; the full one minds neither.
_CPU_BATCH_SIZE, _CPU_SHARE = 64, 32  # At least; at least for each device that a CPU counts as.
_ACCELERATOR_BATCH_SIZE = 512  # For each device.
_SHIPPED = pathlib.Path(__file__).parent
_EXPORTED = (".npz", ".safetensors")
RUNTIMES = ("auto", "jax", "numpy")


def load(source: str = "small", *, runtime: str = "auto", batch_size: int = 0) -> protocol.Network:
    """Opens a trained network: waveforms [n, S] in, fingerprints [n, D] out.

    source: the name of a shipped network (`shipped()`), RUN, RUN@STEP, RUN@best, or an exported file. runtime: jax, or
    numpy, which needs an exported file and no JAX; auto takes JAX where it is installed. The network has
    sample_rate_hz, segment and hop in samples, dim, config and identity, and `track(samples)` for whole waveforms.
    Raises FileNotFoundError or ValueError that says what was looked for and what there is.
    """
    if runtime not in RUNTIMES:
        raise errors.Invalid(f"runtime={runtime!r}: allowed are {', '.join(RUNTIMES)}.")
    file = weights_file(source)
    if runtime == "numpy" or (runtime == "auto" and not importlib.util.find_spec("jax")):
        if file.suffix not in _EXPORTED:
            raise errors.Invalid(
                f"{source}: a run's checkpoints need JAX; write a file first where JAX is: "
                f"nafp export --checkpoint={source} --out=network.safetensors"
            )
        from nafp.weights import files

        return files.load(file)
    return open_extractor(source, batch_size=batch_size)


def shipped() -> list[str]:
    """Returns the names of the networks that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.safetensors"))


def weights_file(source: str) -> pathlib.Path:
    """Returns the file behind a shipped network's name; any other source as the path it is."""
    if source in shipped():
        return _SHIPPED / f"{source}.safetensors"
    path = pathlib.Path(source)
    named = len(path.parts) == 1 and not path.suffix and "@" not in source
    if named and not path.exists():
        close = difflib.get_close_matches(source, shipped(), n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise errors.NotFound(
            f"{source}: neither a shipped network ({', '.join(shipped())}) nor a run's folder nor a file here.{meant}"
        )
    return path


def open_extractor(source: str, *, batch_size: int = 0, dtype: str = "float32") -> network.JaxNetwork:
    """Opens a network as `load` does, under JAX.

    batch_size: segments that go through the network together; 0 for what suits the devices of this process.
    Raises FileNotFoundError or ValueError that says what was looked for and what there is.
    """
    from nafp.models import network

    variables, config, step, name = read(source)
    # With the type: what one type has begun is not continued in another.
    identity = dict(network.identity(variables, source=name, step=step), dtype=dtype)
    return network.JaxNetwork(
        variables, config, batch_size=batch_size or default_batch_size(), dtype=dtype, identity=identity
    )


def default_batch_size() -> int:
    """Returns how many segments suit the devices of this process."""
    import jax

    n = len(jax.local_devices())
    if jax.default_backend() == "cpu":
        return max(_CPU_BATCH_SIZE, _CPU_SHARE * n)
    return _ACCELERATOR_BATCH_SIZE * n


def read(source: str) -> tuple[Any, Any, int, str]:
    """Returns (variables, configuration, step, name) of a trained network."""
    file = weights_file(source)
    if file.suffix in _EXPORTED:
        return _exported(file)
    from nafp.models import network
    from nafp.weights import checkpoints

    return tuple(checkpoints.load(source, abstract_variables=network.abstract_variables))


def _exported(path: pathlib.Path) -> tuple[Any, Any, int, str]:
    if not path.exists():
        raise errors.NotFound(f"{path}: no such exported network; write one: nafp export --checkpoint=RUN --out={path}")
    from nafp.weights import files

    variables, config, step = files.read(path)
    return variables, config, step, path.name
