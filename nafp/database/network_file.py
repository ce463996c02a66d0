"""The network that travels with a database, and the calibration of its scores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nafp import errors
from nafp.audio import segments
from nafp.database import facts
from nafp.jobs import plain_files, whole_files
from nafp.models import identities, protocol
from nafp.search import confidence
from nafp.weights import files, model_folders, sources

NETWORK, CONFIDENCE = facts.NETWORK, facts.CONFIDENCE


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
    calibration = model_folders.calibration_file(file)
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
        "files": {path.name: plain_files.size_and_checksum(path) for path in written},
        "segment_s": network.config.audio.segment_s,
        "hop_s": network.config.audio.hop_s,
    }


def remove(folder: Path) -> None:
    """Removes the network and its calibration from a folder, if they are there."""
    for name in (NETWORK, CONFIDENCE):
        (folder / name).unlink(missing_ok=True)


def opened(
    folder: Path,
    about: Mapping[str, Any],
    *,
    runtime: str = "auto",
    batch_size: int = 0,
    source: str | None = None,
) -> protocol.Network:
    """Opens the network of a database at the hop of the database.

    about: what the catalogue says. runtime, batch_size: as for `nafp.weights.sources.load`. source: the same network in
    another form, such as an ONNX file, in place of the one in the folder. Raises errors.Invalid for a damaged file or
    another network.
    """
    hop = segments.to_samples(about["hop_s"], about["sample_rate_hz"])
    if source is not None:
        return _same(source, about, runtime=runtime, batch_size=batch_size).at_hop(hop)
    path, identity = folder / NETWORK, about["network"]
    damage = damage_of(path, about["files"].get(NETWORK))
    if damage:
        raise errors.Invalid(
            f"{path} is damaged, or is not the network that made these fingerprints, {identity.get('source')}: "
            f"{damage}; restore the file from a copy"
        )
    network = sources.load(os.fspath(path), runtime=runtime, batch_size=batch_size)
    if not identities.same_network(network.identity, identity):
        raise errors.Invalid(
            f"{path}: is not the network that made these fingerprints, {identity.get('source')}; "
            "restore the file from a copy"
        )
    if (network.dim, network.sample_rate_hz) != (about["dim"], about["sample_rate_hz"]):
        stated = f"fingerprints of {about['dim']} numbers at {about['sample_rate_hz']} Hz"
        made = f"{network.dim} numbers at {network.sample_rate_hz} Hz"
        raise errors.Invalid(
            f"{folder}: its catalogue speaks of {stated}, its network makes those of {made}; "
            "restore the folder from a copy, or add the files again"
        )
    return network.at_hop(hop)


def _same(source: str, about: Mapping[str, Any], *, runtime: str, batch_size: int) -> protocol.Network:
    """Opens a network by another name than the database's own. Raises errors.Invalid for another network."""
    network = sources.load(source, runtime=runtime, batch_size=batch_size)
    if not identities.same_network(network.identity, about["network"]):
        raise errors.Invalid(
            f"--checkpoint={source}: is not the network of the database, {about['network'].get('source')}: "
            "fingerprints of two networks cannot be compared. Leave --checkpoint out, or name a file of it"
        )
    return network


def calibration(folder: Path, *, written: Mapping[str, Sequence[int]]) -> confidence.Confidence | None:
    """Reads the probabilities that scores of the network stand for. None if nobody measured them.

    written: size and checksum of each file when it was written. Raises errors.Invalid for a damaged file.
    """
    path = folder / CONFIDENCE
    if not path.exists():
        return None
    try:
        damage = damage_of(path, written.get(CONFIDENCE))
        if damage:
            raise errors.Invalid(damage)
        return confidence.Confidence.load(path)
    except errors.Invalid as error:
        raise errors.Invalid(
            f"{path}: is damaged: {error}; restore it from a copy, or remove it to go on without probabilities"
        ) from error


def damage_of(path: Path, written: Sequence[int] | None) -> str:
    """Says how a file differs from its size and CRC-32 when it was written, "" if it does not or nobody noted them."""
    if written is None:
        return ""
    try:
        present = plain_files.size_and_checksum(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if present[0] != written[0]:
        return f"has {present[0]} bytes, {written[0]} were written"
    return "" if present[1] == written[1] else "other bytes than were written: the checksum differs"
