"""The container of exported networks that other programs can run: an ONNX graph from waveforms to fingerprints.

The arrays are constants of the graph, under the names, in the layouts and in the types that they have in a .safetensors.
What the file states about itself is the model's metadata: the keys of `nafp.weights.files`, and for other programs
`identity` (JSON), `sample_rate_hz`, `segment`, `hop` (in samples) and `dim`. The last metadata entry, `file_sha256`, is
the digest of all bytes before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from nafp import config as settings
from nafp.audio import segments
from nafp.models import filterbank, identities, onnx_writer

_DIGEST = "file_sha256"


def save(file: IO[bytes], arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Writes a network. arrays, about: as they are in other containers. Raises nafp.errors.Invalid without `onnx`."""
    config = settings.from_json(about["config"])
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, array in arrays.items():
        branch, (*above, last) = variables, name.split("/")
        for part in above:
            branch = branch.setdefault(part, {})
        branch[last] = array
    bank = filterbank.MelBank(**variables.pop("spectrogram"))
    rate = config.audio.sample_rate_hz
    identity = identities.of(variables, source=about["source"], step=about["step"], config=config)
    sizes = {
        "sample_rate_hz": rate,
        "segment": segments.to_samples(config.audio.segment_s, rate),
        "hop": segments.to_samples(config.audio.hop_s, rate),
        "dim": config.model.dim,
    }
    stated = {**about, "identity": json.dumps(identity, sort_keys=True), **sizes}
    graph = onnx_writer.graph(variables, config, bank=bank)
    data = graph.model(
        segment=sizes["segment"],
        dim=sizes["dim"],
        about={key: str(value).encode(errors="replace").decode() for key, value in stated.items()},
    )
    file.write(data + _entry(_DIGEST, hashlib.sha256(data).hexdigest()))


def _entry(key: str, value: str) -> bytes:
    """Returns a short entry of `metadata_props`, field 14 of a serialised model: messages grow by appending."""
    fields = b"".join(bytes([tag, len(text)]) + text.encode() for tag, text in ((0x0A, key), (0x12, value)))
    return bytes([14 << 3 | 2, len(fields)]) + fields
