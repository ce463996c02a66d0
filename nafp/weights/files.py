"""A trained network in one file, written, read and run without JAX (by `nafp.models.numpy_network`).

The file is an .npz: `params/block1_time/kernel` and so on, `batch_stats/...` if the norm has any, and beside them
`config` (JSON), `step`, `sha256` (of the parameters, as in stores), `source` and `format`. Or the same as
.safetensors, the last five in its metadata.

    network = export.load("small.npz")
    fingerprints = network.track(samples)      # [S] -> [rows, D]
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import ml_collections
import numpy as np

from nafp import config as config_lib
from nafp import errors
from nafp.models import numpy_network

FORMATS = ("npz", "safetensors")
DTYPES = ("float32", "float16")
_FORMAT = "nafp network 1"
_COLLECTIONS = ("params", "batch_stats")
_ABOUT = ("format", "config", "step", "sha256", "source")
# safetensors: 8 bytes (length of the header), a header of JSON, then the arrays one after the other.
_DTYPE_NAMES = {"float32": "F32", "float16": "F16"}


class Written(NamedTuple):
    """What `write` has put into a file."""

    n_parameters: int
    n_bytes: int
    sha256: str


def write(
    path: str | os.PathLike,
    variables: dict[str, Any],
    config: ml_collections.ConfigDict,
    *,
    step: int,
    source: str = "",
    dtype: str = "float32",
    format: str = "npz",
) -> Written:
    """Writes a trained network, whole or not at all; a file of this name is replaced.

    variables: {"params": nested, "batch_stats": nested} of arrays, as flax takes them. dtype: of the parameters in
    the file; of float16 the fingerprints' cosine to float32's is above 0.999 (0.999999 for a trained network), and
    running statistics stay float32. Raises ValueError for parameters that float16 cannot hold.
    """
    _one_of("dtype", dtype, DTYPES)
    _one_of("format", format, FORMATS)
    arrays = {n: _stored(n, a, dtype) for n, a in sorted(_flat(variables).items())}
    sha256 = parameters_sha256(variables if dtype == "float32" else _nested(arrays))
    text = config_lib.to_json(config)
    about = dict(format=_FORMAT, config=text, step=int(step), sha256=sha256, source=source)
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as file:
        if format == "npz":
            np.savez(file, **arrays, **{key: np.array(value) for key, value in about.items()})
        else:
            _write_safetensors(file, arrays, about)
    n_parameters = sum(a.size for name, a in arrays.items() if name.startswith("params/"))
    return Written(n_parameters, path.stat().st_size, sha256)


def read(path: str | os.PathLike) -> tuple[dict[str, Any], ml_collections.ConfigDict, int]:
    """Reads an exported network: (variables, configuration, step), float32 whatever the file has.

    Raises FileNotFoundError, or ValueError for a file that is no export or is damaged.
    """
    arrays, about = _contents(pathlib.Path(path))
    missing = [key for key in _ABOUT if key not in about]
    if not any(name.startswith("params/") for name in arrays):
        missing.append("params/...")
    if missing:
        raise errors.Invalid(f"{path} is no exported network: {', '.join(missing)} missing. {_advice(path)}")
    if about["format"] != _FORMAT:
        raise errors.Invalid(
            f"{path} is in format {about['format']!r}, this nafp reads {_FORMAT!r}: update one of them."
        )
    variables = _nested(arrays)
    if parameters_sha256(variables) != about["sha256"]:
        raise errors.Invalid(f"{path} is damaged: its parameters are not those it was written with. {_advice(path)}")
    return variables, config_lib.from_json(about["config"]), int(about["step"])


def parameters_sha256(variables: dict[str, Any]) -> str:
    """Computes what `nafp.models.network.identity` does, which stores name their network by."""
    digest = hashlib.sha256()
    # JAX's spelling of a path in a tree of dicts, by which it also sorts.
    spelled = {
        f"({', '.join(f'DictKey(key={part!r})' for part in name.split('/'))})": array
        for name, array in _flat(variables).items()
    }
    for path, array in sorted(spelled.items()):
        digest.update(path.encode())
        digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()


def load(path: str | os.PathLike) -> numpy_network.NumpyNetwork:
    """Opens an exported network, to be run by numpy; raises what `read` does."""
    variables, config, step = read(path)
    identity = dict(sha256=parameters_sha256(variables), source=pathlib.Path(path).name, step=step)
    return numpy_network.NumpyNetwork(variables, config, identity=identity)


def _stored(name: str, array: Any, dtype: str) -> np.ndarray:
    array = np.asarray(array, np.float32)
    if dtype == "float32" or not name.startswith("params/"):
        return array
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        raise errors.Invalid(
            f"{name} has values beyond {np.finfo(np.float16).max}, which float16 ends at: use float32."
        )
    return array.astype(np.float16)


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Joins the keys of a nested dict by slashes."""
    flat = {}
    for key, value in tree.items():
        name = f"{above}{key}"
        flat.update(_flat(value, f"{name}/") if isinstance(value, dict) else {name: value})
    return flat


def _nested(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Splits names at slashes, the inverse of `_flat`; both collections are there, if empty. float32."""
    tree = {name: {} for name in _COLLECTIONS}
    for name, array in arrays.items():
        *above, last = name.split("/")
        branch = tree
        for part in above:
            branch = branch.setdefault(part, {})
        branch[last] = np.asarray(array, np.float32)
    return tree


def _contents(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the arrays of a file by name, and what it says about itself."""
    if not path.exists():
        raise errors.NotFound(f"{path}: no such exported network. {_advice(path)}")
    entries = _read_npz(path) if zipfile.is_zipfile(path) else _read_safetensors(path)
    arrays = {name: a for name, a in entries.items() if name.split("/")[0] in _COLLECTIONS}
    return arrays, {key: value for key, value in entries.items() if key in _ABOUT}


def _read_npz(path: pathlib.Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            about = {name: file[name].item() for name in file.files if name in _ABOUT}
            return about | {name: file[name] for name in file.files if "/" in name}
    except (ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise errors.Invalid(f"{path} is damaged, or no exported network: {error}. {_advice(path)}") from None


def _write_safetensors(file: BinaryIO, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    header, end = {"__metadata__": {key: str(value) for key, value in about.items()}}, 0
    for name, a in arrays.items():
        first, end = end, end + a.nbytes
        header[name] = {
            "dtype": _DTYPE_NAMES[a.dtype.name],
            "shape": a.shape,
            "data_offsets": (first, end),
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # The arrays begin at a multiple of 8.
    file.write(len(text).to_bytes(8, "little") + text)
    for a in arrays.values():
        file.write(np.ascontiguousarray(a).tobytes())


def _read_safetensors(path: pathlib.Path) -> dict[str, Any]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    types = {code: np.dtype(name).newbyteorder("<") for name, code in _DTYPE_NAMES.items()}
    try:
        header = json.loads(data[8:start])
        entries = dict(header.pop("__metadata__", {}))
        for name, item in header.items():
            first, end = (start + offset for offset in item["data_offsets"])
            entries[name] = np.frombuffer(data[first:end], types[item["dtype"]]).reshape(item["shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.Invalid(f"{path} is damaged, or no exported network. {_advice(path)}") from error
    return entries


def _advice(path: str | os.PathLike) -> str:
    return f"Write one: nafp export --checkpoint=RUN --out={path}"


def _one_of(name: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise errors.Invalid(f"{name}={given!r}: allowed are {', '.join(allowed)}")


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file that takes its name when it is whole, or leaves nothing behind."""
    partial = path.with_name(path.name + ".tmp")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # The rename itself must survive a power cut, too.
    finally:
        os.close(folder)
