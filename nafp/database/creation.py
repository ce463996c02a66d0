"""A new, empty database in a folder: the network, the calibration of its scores, and an empty catalogue."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from nafp import errors
from nafp.audio import segments
from nafp.database import catalogue, codes, leftovers, network_file, refusals, writer_lock
from nafp.search import peaks
from nafp.weights import sources

FORMAT = 1
FORMAT_WITH_PEAKS = 2  # Rows are longer, so that versions that know nothing of peaks must not read them.
FORMATS = (FORMAT, FORMAT_WITH_PEAKS)


def create(folder: Path, *, network: str, storage: str | None, hop_s: float | None, with_peaks: bool = False) -> None:
    """Makes an empty database, or finishes one whose creation was killed.

    network: what `nafp.load` takes. storage: None for that of `codes.usual`. hop_s: seconds between fingerprints, None
    for the network's own. with_peaks: whether spectral peaks are kept beside the fingerprints (see
    `nafp.search.peaks`). Raises errors.AlreadyExists for a folder with anything else in it, and leaves that folder as
    it is. Raises errors.Unwritable, and leaves no files behind, if the disk is full or the folder read-only.
    """
    contents = sources.read(network)
    storage = storage or codes.usual(dim=contents[1].model.dim)
    codes.check(storage, dim=contents[1].model.dim)
    if with_peaks:
        _check_peaks(hop_s or contents[1].audio.hop_s, sample_rate_hz=contents[1].audio.sample_rate_hz)
    with refusals.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _require_free(folder)
        with contextlib.closing(writer_lock.take(folder)):
            _require_free(folder)  # Another process may have made one since.
            leftovers.remove(folder, named=())
            try:
                about = network_file.put(folder, network, contents)
                # The last step: from here on it is a database.
                catalogue.Catalogue.create(folder, about | _facts(storage, hop_s or about["hop_s"], with_peaks))
            except BaseException:
                if not (folder / catalogue.FILE).exists():
                    network_file.remove(folder)
                raise


def _check_peaks(hop_s: float, *, sample_rate_hz: int) -> None:
    """Raises errors.Invalid for a hop whose number of frames depends on how it is rounded to samples."""
    rounded_s = segments.to_samples(hop_s, sample_rate_hz) / sample_rate_hz
    if peaks.row_bytes(hop_s) != peaks.row_bytes(rounded_s):
        raise errors.Invalid(
            f"hop_s {hop_s:g}: no hop for peaks; take a multiple of 1 / {peaks.FRAMES_PER_S} s, or 0.5"
        )


def _facts(storage: str, hop_s: float, with_peaks: bool) -> dict[str, Any]:
    """Returns what the catalogue says of an empty database."""
    is_learned = storage in codes.LEARNED  # It begins once there is enough to learn from.
    return {
        "hop_s": hop_s,
        "storage": codes.UNTIL_LEARNED if is_learned else storage,
        "wanted": storage if is_learned else None,
        "generation": 0,
        "n_rows": 0,
        "format": FORMAT,
        "created": time.strftime("%Y-%m-%d %H:%M:%S"),
    } | ({"format": FORMAT_WITH_PEAKS, "peak_bytes": peaks.row_bytes(hop_s)} if with_peaks else {})


def _require_free(folder: Path) -> None:
    if (folder / catalogue.FILE).exists():
        raise errors.AlreadyExists(f"{folder}: is a database already; open it, or name a new folder")
    if not leftovers.all_of_a_creation(folder):
        raise errors.AlreadyExists(f"{folder}: is not empty and no database; name a new folder")
