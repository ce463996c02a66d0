"""Exports a trained network into one file, which is written and read without JAX.

The file holds arrays by name: `params/block1_time/kernel` and so on, `batch_stats/...` if the norm has any, and the mel
filters and the window, `spectrogram/filters` and `spectrogram/window`. It states `format`, `config` (JSON), `step`,
`source`, `sha256`, `spectrogram_sha256` and `config_sha256`. An .npz has these as further entries, a .safetensors as
its metadata.

`sha256` hashes the parameters as version 0.1 does, so that this version and that one read each other's files. Files of
version 0.1 have no `spectrogram` entries.

    network = files.load("small.npz")
    fingerprints = network.track(samples)      # [S] -> [rows, D]
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import pathlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import ml_collections
import numpy as np

import nafp.config
from nafp import errors
from nafp.jobs import choices, plain_files, whole_files
from nafp.models import filterbank, front_ends, identities, numpy_network, onnx_network, onnx_writer
from nafp.weights import onnx_files

FORMATS = ("npz", "safetensors")
RUNNABLE = "onnx"  # A further format, see `nafp.weights.onnx_files`. It is written with another package.
DTYPES = ("float32", "float16")
_FORMAT = "nafp network 1"
_ABOUT = ("format", "config", "step", "sha256", "source")
_BANK = ("spectrogram/filters", "spectrogram/window")
_BANK_SHA256, _CONFIG_SHA256 = "spectrogram_sha256", "config_sha256"  # A .safetensors has no checksum of its own.
# What numpy, zip files, JSON and a configuration raise for bytes that are not what they should be.
_DAMAGED = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    ArithmeticError,
    MemoryError,
    EOFError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
    OSError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


class Written(NamedTuple):
    """What `write` has put into a file. sha256: that of the network's identity."""

    n_parameters: int
    n_bytes: int
    sha256: str


class _Contents(NamedTuple):
    arrays: dict[str, np.ndarray]
    about: dict[str, Any]
    model: bytes = b""  # The ONNX graph that the arrays are in, if they are in one.


def write(
    path: str | os.PathLike,
    variables: Mapping[str, Any],
    config: ml_collections.ConfigDict,
    *,
    step: int,
    source: str = "",
    dtype: str = "float32",
    format: str = "npz",
    waveforms: np.ndarray | None = None,
    bank: filterbank.MelBank | None = None,
) -> Written:
    """Writes a trained network, whole or not at all. A file of this name is replaced.

    variables: "params" and "batch_stats", each nested by layer, as flax takes them. dtype: type of the parameters in
    the file. With float16, the cosine of a fingerprint to that of float32 is above 0.999 (0.999999 for a trained
    network); running statistics stay float32. waveforms: with the format "onnx", real segments [n, S] that convolutions
    in 8-bit integers are calibrated with. Only ONNX Runtime and other programs run such a file. bank: mel filters and
    window that came with the parameters; None takes them from librosa. Raises nafp.errors.Invalid for parameters that
    float16 cannot hold.
    """
    choices.require("dtype", dtype, DTYPES)
    choices.require("format", format, (*FORMATS, RUNNABLE))
    named = identities.named(variables)
    arrays = {name: _stored(name, named[name], dtype) for name in sorted(named)}
    stored = identities.nested(arrays)
    bank = bank or filterbank.by_librosa(**bank_settings(config))
    about = {
        "format": _FORMAT,
        "config": nafp.config.to_json(config),
        _CONFIG_SHA256: _text_sha256(nafp.config.to_json(config)),
        "step": int(step),
        "sha256": identities.sha256_before(stored),
        "source": source,
        _BANK_SHA256: _bank_sha256(bank),
    }
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    savers: dict[str, Callable[..., None]] = {
        "npz": _save_npz,
        "safetensors": _save_safetensors,
        RUNNABLE: functools.partial(onnx_files.save, waveforms=waveforms),
    }
    with whole_files.opened(path, "wb") as file:
        savers[format](file, arrays | dict(zip(_BANK, bank)), about)
    n_parameters = sum(array.size for name, array in arrays.items() if name.startswith("params/"))
    return Written(n_parameters, path.stat().st_size, identities.sha256(stored))


def read(path: str | os.PathLike) -> tuple[dict[str, Any], ml_collections.ConfigDict, int]:
    """Reads an exported network: (variables, configuration, step), float32 whatever the type in the file.

    Raises nafp.errors.NotFound, or nafp.errors.Invalid for a file that is damaged or no exported network.
    """
    path = pathlib.Path(path)
    with _explained(path):
        contents = _read(path)
        variables = identities.nested(contents.arrays)
        _require_digest(path, contents.about, identities.sha256_before(variables))
        return variables, _config(path, contents.about), int(contents.about["step"])


def read_bank(path: str | os.PathLike) -> filterbank.MelBank:
    """Reads the mel filters and the window of an exported network, or computes what it lacks. Errors as `read`."""
    path = pathlib.Path(path)
    with _explained(path):
        contents = _read(path)
        config = _config(path, contents.about)
        return _bank(path, contents, config) or filterbank.by_formula(**bank_settings(config))


def stated(path: str | os.PathLike) -> dict[str, Any]:
    """Returns what an exported network states about itself: format, config, step, sha256, source. Errors as `read`."""
    with _explained(pathlib.Path(path)):
        about = _read(pathlib.Path(path)).about
        _config(path, about)
        return about


def load(path: str | os.PathLike) -> numpy_network.NumpyNetwork:
    """Opens an exported network, to be run by numpy. Raises the errors of `read`."""
    path = pathlib.Path(path)
    with _explained(path):
        contents = _read(path)
        variables = identities.nested(contents.arrays)
        step, config = int(contents.about["step"]), _config(path, contents.about)
        identity = identities.of(variables, source=path.name, step=step, config=config)
        _require_digest(path, contents.about, identities.digest(identity))
        bank = _bank(path, contents, config)
        return numpy_network.NumpyNetwork(variables, config, identity=identity, bank=bank)


def load_onnx(path: str | os.PathLike) -> onnx_network.OnnxNetwork:
    """Opens an exported network, to be run by ONNX Runtime. One that is in no ONNX file is converted in memory.

    Raises the errors of `read`, and nafp.errors.Invalid if a package is missing.
    """
    path = pathlib.Path(path)
    with _explained(path):
        contents = _read(path, to_run=True)
        config, step = _config(path, contents.about), int(contents.about["step"])
        if contents.about.get("dtype") == onnx_files.INT8:
            identity = {**json.loads(contents.about["identity"]), "source": path.name, "dtype": onnx_files.INT8}
            return onnx_network.OnnxNetwork(contents.model, config, identity=identity)
        variables = identities.nested(contents.arrays)
        identity = identities.of(variables, source=path.name, step=step, config=config)
        _require_digest(path, contents.about, identities.digest(identity))
        bank = _bank(path, contents, config)
    if contents.model:
        return onnx_network.OnnxNetwork(contents.model, config, identity=identity)
    return converted(variables, config, identity=identity, bank=bank)


def converted(
    variables: Mapping[str, Any],
    config: ml_collections.ConfigDict,
    *,
    identity: Mapping[str, Any],
    bank: filterbank.MelBank | None = None,
) -> onnx_network.OnnxNetwork:
    """Opens a network, to be run by ONNX Runtime. Raises nafp.errors.Invalid if a package is missing.

    bank: mel filters and window that came with the parameters; None computes them.
    """
    if not importlib.util.find_spec("onnx"):
        raise errors.Invalid(
            "ONNX Runtime runs ONNX files, and this network is in none. Convert it here, which needs the package "
            "onnx: pip install 'nafp[onnx]'; or elsewhere: nafp export --format=onnx, then --checkpoint=FILE.onnx"
        )
    bank = bank or filterbank.by_formula(**bank_settings(config))
    graph = onnx_writer.graph(variables, config, bank=bank)
    return onnx_network.OnnxNetwork(onnx_files.serialised(graph, config, about={}), config, identity=identity)


@contextlib.contextmanager
def _explained(path: pathlib.Path) -> Iterator[None]:
    """Turns every error that the readers raise for a damaged file into errors.Invalid."""
    try:
        yield
    except errors.Error:
        raise
    except PermissionError as error:  # The file may be whole.
        raise errors.Invalid(f"{path}: cannot be read: {error.strerror}") from None
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise errors.Invalid(f"{path} is damaged, or no exported network: {reason}. {_advice(path)}") from error


def _config(path: str | os.PathLike, about: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Reads the configuration of a file. Raises errors.Invalid if it is not the one that was written."""
    text = about["config"]
    if about.get(_CONFIG_SHA256, _text_sha256(text)) != _text_sha256(text):  # Older files have no digest of it.
        raise errors.Invalid(
            f"{path} is damaged: its configuration is not the one it was written with. {_advice(path)}"
        )
    config = nafp.config.from_json(text)
    for name, value in identities.network_settings(config).items():
        if name in nafp.config.SETTINGS:
            nafp.config.SETTINGS[name].check(f"{path}: config.{name}", value)
    return config


def _text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _stored(name: str, values: Any, dtype: str) -> np.ndarray:
    array = np.asarray(values, np.float32)
    if dtype == "float32" or not name.startswith("params/"):
        return array
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        raise errors.Invalid(
            f"{name} has values beyond {np.finfo(np.float16).max}, which float16 ends at: use float32."
        )
    return array.astype(np.float16)


def fits_float16(variables: Mapping[str, Any]) -> bool:
    """Returns whether float16 holds all parameters exactly, as it does if they were read from a file in float16."""
    arrays = [np.asarray(array, np.float32) for array in identities.named(variables["params"]).values()]
    with np.errstate(over="ignore"):
        return all(np.array_equal(array, array.astype(np.float16)) for array in arrays)


def bank_settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the keywords of `nafp.models.filterbank`'s functions."""
    chosen = {name: config.spectrogram[name] for name in ("n_fft", "n_mels", "low_hz", "high_hz")}
    front_end = front_ends.of_settings(config.spectrogram)
    filters = {"scale": front_end.scale, "area_norm": front_end.area_norm}
    return {**chosen, **filters, "sample_rate_hz": config.audio.sample_rate_hz}


def _bank_sha256(bank: filterbank.MelBank) -> str:
    return hashlib.sha256(bank.filters.tobytes() + bank.window.tobytes()).hexdigest()


def _bank(path: str | os.PathLike, contents: _Contents, config: ml_collections.ConfigDict) -> filterbank.MelBank | None:
    """Returns the mel filters and window of a file, None for a file of version 0.1."""
    if _BANK_SHA256 not in contents.about:
        return None
    spectrogram = config.spectrogram
    shapes = [(spectrogram.n_fft // 2 + 1, spectrogram.n_mels), (spectrogram.n_fft,)]
    arrays = [np.ascontiguousarray(contents.arrays[name], np.float32) for name in _BANK if name in contents.arrays]
    bank = filterbank.MelBank(*arrays) if [array.shape for array in arrays] == shapes else None
    if bank is None or _bank_sha256(bank) != contents.about[_BANK_SHA256]:
        raise errors.Invalid(f"{path} is damaged: its mel filters are not those it was written with. {_advice(path)}")
    return bank


def _require_digest(path: str | os.PathLike, about: Mapping[str, Any], sha256: str) -> None:
    if about["sha256"] != sha256:
        raise errors.Invalid(f"{path} is damaged: its parameters are not those it was written with. {_advice(path)}")


def _read(path: pathlib.Path, *, to_run: bool = False) -> _Contents:
    """Reads the arrays of a file by name, and what it states about itself, which must be complete.

    to_run: whether an ONNX file of integers will do, which does not hold the parameters.
    """
    if not path.exists():
        raise errors.NotFound(f"{path}: no such exported network. {_advice(path)}")
    if not path.is_file():
        raise errors.Invalid(f"{path}: is no file with an exported network. {_advice(path)}")
    contents = _read_container(path)
    missing = [key for key in _ABOUT if key not in contents.about]
    if contents.about.get("dtype") == onnx_files.INT8:
        if not to_run:
            raise errors.Invalid(f"{path}: its parameters are integers, which only ONNX Runtime runs: --runtime=onnx")
    elif not any(name.startswith("params/") for name in contents.arrays):
        missing.append("params/...")
    if missing:
        raise errors.Invalid(f"{path} is no exported network: {', '.join(missing)} missing. {_advice(path)}")
    if contents.about["format"] != _FORMAT:
        raise errors.Invalid(
            f"{path} is in format {contents.about['format']!r}, this nafp reads {_FORMAT!r}: update one of them."
        )
    strange = {array.dtype.name for array in contents.arrays.values()} - set(DTYPES)
    if strange:
        raise errors.Invalid(f"{path} is no exported network: it holds {', '.join(sorted(strange))}. {_advice(path)}")
    return contents


def _save_npz(file: IO[bytes], arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    entries: dict[str, Any] = {**arrays, **{key: np.array(value) for key, value in about.items()}}
    np.savez(file, **entries)


def _read_npz(path: pathlib.Path) -> _Contents:
    # numpy leaves a damaged file open if it opened it itself.
    with plain_files.opened(path) as data, np.load(data, allow_pickle=False) as file:
        about = {name: file[name].item() for name in file.files if name in (*_ABOUT, _BANK_SHA256, _CONFIG_SHA256)}
        return _Contents({name: file[name] for name in file.files if "/" in name}, about)


def _save_safetensors(file: IO[bytes], arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    import safetensors.numpy

    # The library writes wrong values for an array that is not contiguous.
    ordered = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {key: str(value).encode(errors="replace").decode() for key, value in about.items()}  # Paths are bytes.
    data = safetensors.numpy.save(ordered, metadata=metadata)
    file.write(_metadata_in_order(data))


def _metadata_in_order(data: bytes) -> bytes:
    """Sorts the metadata in a .safetensors, whose order the library leaves to chance: equal networks, equal bytes."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # The arrays begin at a multiple of 8.
    return len(text).to_bytes(8, "little") + text + data[end:]


def _read_safetensors(path: pathlib.Path) -> _Contents:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            return _Contents(arrays, dict(file.metadata() or {}))
    except safetensors.SafetensorError as error:
        raise errors.Invalid(f"{path} is damaged, or no exported network: {error}. {_advice(path)}") from None


def _read_onnx(path: pathlib.Path) -> _Contents:
    with plain_files.opened(path) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if n_bytes > onnx_files.LARGEST:
            raise errors.Invalid(f"{path}: has {n_bytes} bytes, an ONNX file ends at {onnx_files.LARGEST}")
        data = file.read()
    return _Contents(*onnx_files.read(data), data)


def _read_container(path: pathlib.Path) -> _Contents:
    if zipfile.is_zipfile(path):
        return _read_npz(path)
    with plain_files.opened(path) as file:
        is_onnx = file.read(len(onnx_files.MAGIC)) == onnx_files.MAGIC
    return _read_onnx(path) if is_onnx else _read_safetensors(path)


def _advice(path: str | os.PathLike) -> str:
    return f"Write one: nafp export --checkpoint=RUN --out={path}"
