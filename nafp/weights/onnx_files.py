"""The container of exported networks that other programs run: an ONNX graph from waveforms to fingerprints.

The arrays are constants of the graph, with the names, layouts and types that they have in a .safetensors. What the file
states about itself is the model's metadata: the keys of `nafp.weights.files`, and for other programs `identity` (JSON),
`sample_rate_hz`, `segment`, `hop` (in samples) and `dim`. The last entry, `file_sha256`, is the digest of all bytes
before it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import IO, Any

import ml_collections
import numpy as np

import nafp.config
from nafp.audio import segments
from nafp.models import filterbank, identities, onnx_graph, onnx_int8, onnx_writer
from nafp.weights import onnx_wire

MAGIC = b"\x08\x08\x12\x04nafp"  # Version of the format, and who wrote it.
INT8 = "int8"  # What `dtype` in the metadata says of a file whose convolutions are in integers.
LARGEST = 2**31 - 1  # Bytes of a protocol buffer.
_DIGEST = "file_sha256"
_SEAL_BYTES = 81
_LARGEST_SPARSE = 2**28  # Values: mel filters of the largest settings have 2**27.


def save(
    file: IO[bytes],
    arrays: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
    *,
    waveforms: np.ndarray | None = None,
) -> None:
    """Writes a network. arrays, about: as they are in other containers.

    waveforms: real segments [n, S], whose ranges convolutions in 8-bit integers take, see `nafp.models.onnx_int8`. The
    arrays cannot be read back from such a file. None for convolutions in float32. Raises nafp.errors.Invalid without
    `onnx`.
    """
    config, variables = nafp.config.from_json(about["config"]), nested(arrays)
    bank = filterbank.MelBank(**variables.pop("spectrogram"))
    identity = identities.of(variables, source=about["source"], step=about["step"], config=config)
    stated = {**about, **facts(config, identity)}
    graph = onnx_writer.graph(variables, config, bank=bank)
    if waveforms is not None:
        graph = onnx_int8.quantised(graph, waveforms, dim=config.model.dim)
        stated["dtype"] = INT8
    data = serialised(graph, config, about=stated)
    file.write(data + _entry(_DIGEST, hashlib.sha256(data).hexdigest()))


def serialised(graph: onnx_graph.Graph, config: ml_collections.ConfigDict, *, about: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a graph. about: its metadata. Raises nafp.errors.Invalid without `onnx`."""
    return graph.model(
        segment=segments.to_samples(config.audio.segment_s, config.audio.sample_rate_hz),
        dim=config.model.dim,
        about={key: str(value).encode(errors="replace").decode() for key, value in about.items()},
    )


def facts(config: ml_collections.ConfigDict, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a program needs that runs a network without this package."""
    rate = config.audio.sample_rate_hz
    return {
        "identity": json.dumps(dict(identity), sort_keys=True),
        "sample_rate_hz": rate,
        "segment": segments.to_samples(config.audio.segment_s, rate),
        "hop": segments.to_samples(config.audio.hop_s, rate),
        "dim": config.model.dim,
    }


def nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Builds a tree from arrays by name, the inverse of `nafp.models.identities.named`."""
    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, array in arrays.items():
        branch, (*above, last) = tree, name.split("/")
        for part in above:
            branch = branch.setdefault(part, {})
        branch[last] = array
    return tree


def read(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads the arrays of a network by name, and what the file states about itself.

    Raises ValueError for bytes that were changed since they were written, or that `save` did not write.
    """
    require_whole(data)
    contents = onnx_wire.read(data)
    arrays = {name: array for name, array in contents.constants.items() if "/" in name}
    for name in [name.removesuffix("/places") for name in arrays if name.endswith("/places")]:
        arrays[name] = _dense(*(arrays.pop(f"{name}/{part}") for part in onnx_graph.SPARSE))
    return arrays, dict(contents.metadata)


def _dense(values: np.ndarray, places: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Returns the array that `nafp.models.onnx_graph.Graph.sparse` wrote."""
    if math.prod(shape.tolist()) > _LARGEST_SPARSE:
        raise ValueError("an array of it is larger than mel filters are")
    array = np.zeros(shape, np.float32)
    array.ravel()[places[:, 0]] = values
    return array


def require_whole(data: bytes) -> None:
    """Raises ValueError if the bytes of a file are not those that were written."""
    body, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if seal != _entry(_DIGEST, hashlib.sha256(body).hexdigest()):
        raise ValueError("its bytes are not those it was written with")


def _entry(key: str, value: str) -> bytes:
    """Returns a short entry of `metadata_props`, field 14 of a serialised model: messages grow by appending."""
    fields = b"".join(bytes([tag, len(text)]) + text.encode() for tag, text in ((0x0A, key), (0x12, value)))
    return bytes([14 << 3 | 2, len(fields)]) + fields
