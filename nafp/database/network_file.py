"""The network that travels with a database, and the calibration of its scores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nafp import errors
from nafp.audio import segments
from nafp.database import index_segments
from nafp.jobs import whole_files
from nafp.models import identities, protocol
from nafp.search import confidence
from nafp.weights import files, sources

NETWORK, CONFIDENCE = "network.safetensors", "confidence.json"


def put(folder: Path, source: str, contents: tuple[Any, Any, int, str]) -> dict[str, Any]:
    """Writes a network, and its calibration if it has one, into a folder. Returns what the catalogue says of them.

    source: a network as `nafp.load` takes it. contents: what `nafp.weights.sources.read` returned for it.
    """
    file, target = sources.weights_file(source), folder / NETWORK
    if file.suffix == ".safetensors":
        whole_files.copied(file, target)
    else:
        variables, config, step, name = contents
        files.write(target, variables, config, step=step, source=name, format="safetensors")
    calibration = file.with_suffix(".confidence.json")
    if calibration.is_file():
        whole_files.copied(calibration, folder / CONFIDENCE)
    else:
        (folder / CONFIDENCE).unlink(missing_ok=True)  # A killed creation may have left that of another network.
    network = files.load(target)
    written = [path for path in (target, folder / CONFIDENCE) if path.exists()]
    return {
        "dim": network.dim,
        "sample_rate_hz": network.sample_rate_hz,
        "network": dict(network.identity) | {"source": source},
        "files": {path.name: index_segments.size_and_checksum(path) for path in written},
        "segment_s": network.config.audio.segment_s,
        "hop_s": network.config.audio.hop_s,
    }


def remove(folder: Path) -> None:
    """Removes the network and its calibration from a folder, if they are there."""
    for name in (NETWORK, CONFIDENCE):
        (folder / name).unlink(missing_ok=True)


def opened(
    folder: Path, *, identity: dict[str, Any], hop_s: float, runtime: str = "auto", batch_size: int = 0
) -> protocol.Network:
    """Opens the network of a database at the hop of the database.

    identity: of the network that made the fingerprints. runtime, batch_size: as for `nafp.weights.sources.load`.
    Raises errors.Invalid for a damaged file or another network.
    """
    path = folder / NETWORK
    network = sources.load(os.fspath(path), runtime=runtime, batch_size=batch_size)
    if not identities.same_network(network.identity, identity):
        raise errors.Invalid(
            f"{path}: is not the network that made these fingerprints, {identity['source']}; "
            "restore the file from a copy"
        )
    return network.at_hop(segments.to_samples(hop_s, network.sample_rate_hz))


def calibration(folder: Path) -> confidence.Confidence | None:
    """Reads the probabilities that scores of the network stand for. None if nobody measured them."""
    path = folder / CONFIDENCE
    try:
        return confidence.Confidence.load(path) if path.exists() else None
    except errors.Invalid as error:
        raise errors.Invalid(
            f"{path}: is damaged: {error}; restore it from a copy, or remove it to go on without probabilities"
        ) from error
