"""Opens a trained network by name: one that ships with the package, a run's checkpoint, or an exported file."""

from __future__ import annotations

import importlib.util
import pathlib
from typing import TYPE_CHECKING

from nafp import errors
from nafp.jobs import choices
from nafp.models import protocol
from nafp.weights import tensor_bundles, trained

if TYPE_CHECKING:
    from nafp.models import network

# On a CPU, the narrow network takes a fifth less time per segment in batches of 64 than of 128. The full network takes
# the same time in both.
_CPU_BATCH_SIZE = 64  # The least for all devices together.
_CPU_SHARE = 32  # The least for each device that a CPU is split into.
_ACCELERATOR_BATCH_SIZE = 512  # For each device.
_SHIPPED = pathlib.Path(__file__).parent
EXPORTED = (".npz", ".safetensors", ".onnx")
_PACKAGES = {  # What computes -> the package, and the line that installs it.
    "jax": ("jax", "pip install nafp"),
    "onnx": ("onnxruntime", "pip install 'nafp[onnx]'"),
}
_FOREIGN = (".pt", ".pth", ".ckpt")
DEFAULT = "small"  # The network that is taken where none is named.
RUNTIMES = ("auto", "jax", "numpy", "onnx")


def load(source: str = DEFAULT, *, runtime: str = "auto", batch_size: int = 0) -> protocol.Network:
    """Opens a trained network, which computes fingerprints [n, D] of waveforms [n, S].

    source: the name of a shipped network (see `shipped`), RUN, RUN@STEP, RUN@best, an exported file, or a model
    folder. runtime: "jax"; "numpy" or "onnx", which run exported files without JAX; "auto" for ONNX Runtime if the
    file is an ONNX file and it is installed, else for JAX where it is installed, else numpy. batch_size: segments that
    go through the network together under JAX; 0 for the number that suits the devices of this process. Raises
    nafp.errors.NotFound or nafp.errors.Invalid with the sources there are.
    """
    choices.require("runtime", runtime, RUNTIMES)
    runtime = chosen(runtime, source)
    if runtime == "jax":
        return open_extractor(source, batch_size=batch_size)
    from nafp.weights import files

    file = weights_file(source)
    if file.suffix in EXPORTED:
        return files.load_onnx(file) if runtime == "onnx" else files.load(file)
    if runtime == "onnx" and importlib.util.find_spec("jax"):
        from nafp.models import identities

        variables, config, step, name = read(source)
        identity = identities.of(variables, source=name, step=step, config=config)
        return files.converted(variables, config, identity=identity)
    raise errors.Invalid(
        f"{source}: a run's checkpoints need JAX; write a file first where JAX is: "
        f"nafp export --checkpoint={source} --out=network.safetensors"
    )


def chosen(runtime: str, source: str = "") -> str:
    """Returns the runtime that "auto" stands for on this machine, any other as it is. source: as for `load`.

    Raises errors.Invalid for one that is not installed.
    """
    package, line = _PACKAGES.get(runtime, ("", ""))
    if package and not importlib.util.find_spec(package):
        raise errors.Invalid(f"--runtime={runtime} needs the package {package}: {line}")
    if runtime != "auto":
        return runtime
    if source.endswith(".onnx") and importlib.util.find_spec("onnxruntime"):
        return "onnx"
    return "jax" if importlib.util.find_spec("jax") else "numpy"


def shipped() -> list[str]:
    """Returns the names of the networks that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.safetensors"))


def weights_file(source: str) -> pathlib.Path:
    """Returns the file of a shipped network or of a model folder, or any other source as a path.

    Raises nafp.errors.NotFound for a plain word that is neither a shipped network nor a file or folder here, and
    nafp.errors.Invalid for a network of another system, which must be converted first, and for a model folder whose
    files disagree.
    """
    if source in shipped():
        return _SHIPPED / f"{source}.safetensors"
    path = pathlib.Path(source)
    if path.is_dir():
        from nafp.weights import model_folders

        if model_folders.is_one(path):
            return model_folders.network_file(path)
    named = len(path.parts) == 1 and not path.suffix and "@" not in source
    if named and not path.exists():
        raise errors.NotFound(
            f"{source}: neither a shipped network ({', '.join(shipped())}) nor a run's folder nor a file here."
            f"{choices.closest(source, shipped())}"
        )
    if (path.suffix in _FOREIGN and path.is_file()) or tensor_bundles.latest(path):
        raise errors.Invalid(
            f"{source}: a network of another system; make it ours: "
            f"nafp export --from={source} --out=network.safetensors"
        )
    return path


def open_extractor(source: str, *, batch_size: int = 0, dtype: str = "float32") -> network.JaxNetwork:
    """Opens a trained network under JAX.

    source, batch_size: as for `load`, with the same errors. dtype: type to compute in. It is part of the identity, so
    that an extraction begun in one type is not continued in another.
    """
    from nafp.models import identities, network

    variables, config, step, name = read(source)
    identity = {**identities.of(variables, source=name, step=step, config=config), "dtype": dtype}
    return network.JaxNetwork(
        variables, config, batch_size=batch_size or default_batch_size(), dtype=dtype, identity=identity
    )


def default_batch_size() -> int:
    """Returns the number of segments in a batch that suits the devices of this process."""
    import jax

    n = len(jax.local_devices())
    if jax.default_backend() == "cpu":
        return max(_CPU_BATCH_SIZE, _CPU_SHARE * n)
    return _ACCELERATOR_BATCH_SIZE * n


def read(source: str) -> trained.Trained:
    """Reads a trained network without opening it. source, errors: as for `load`."""
    file = require(source)
    if file.suffix in EXPORTED:
        return _exported(file)
    from nafp.models import network
    from nafp.weights import checkpoints

    return checkpoints.load(source, abstract_variables=network.abstract_variables)


def require(source: str) -> pathlib.Path:
    """Returns the file of a source as `weights_file` does. Raises errors.NotFound for one that is not there, too."""
    path = weights_file(source)
    if path.suffix in EXPORTED and not path.exists():
        raise errors.NotFound(f"{path}: no such exported network; write one: nafp export --checkpoint=RUN --out={path}")
    return path


def _exported(path: pathlib.Path) -> trained.Trained:
    from nafp.weights import files

    variables, config, step = files.read(path)
    return trained.Trained(variables, config, step, path.name)
