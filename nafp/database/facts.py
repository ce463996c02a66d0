"""What a catalogue may say: facts of the right type and range, and rows that belong to one track each.

Every name of a file in it is checked to be one that this package writes, so that nobody's catalogue names a file
elsewhere.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nafp.database import codes, engine_facts, records
from nafp.search import peaks

NETWORK, CONFIDENCE = "network.safetensors", "confidence.json"
SEGMENT_NAMES = r"segment-\d{4,}-\d+-\d+\.faiss"  # Of index files, as a regular expression.
_MOST_DIM = 65_536
_MOST_ROWS = 2**40
_SEGMENT = re.compile(SEGMENT_NAMES, re.ASCII)
_GAINS = (0.5, 2.0)  # A codec makes up for a loss of some percent.


class Wrong(Exception):
    """A catalogue that says something impossible. The message says what."""


def check_about(about: Mapping[str, Any]) -> None:
    """Raises Wrong for facts of the whole database that cannot be true."""
    _require(_is_count(about.get("generation"), 10**9), "the generation of the log", about.get("generation"))
    _require(_is_count(about.get("n_rows"), _MOST_ROWS), "the number of rows", about.get("n_rows"))
    _require(_is_count(about.get("changes", 0), 2**63), "the number of changes", about.get("changes"))
    for name, most in (("hop_s", 3600.0), ("segment_s", 3600.0), ("sample_rate_hz", 1e7)):
        if name in about or name == "hop_s":
            _require(_is_positive(about.get(name), most), name, about.get(name))
    dim = about.get("dim")
    _require(_is_count(dim, _MOST_DIM) and dim, "the number of dimensions", dim)
    network = about.get("network", {})
    _require(isinstance(network, Mapping), "the identity of the network", network)
    peak_bytes = about.get("peak_bytes", 0)
    is_right = _is_count(peak_bytes, _MOST_ROWS) and peak_bytes in (0, peaks.row_bytes(about["hop_s"]))
    _require(is_right, "the bytes of the peaks of a row", peak_bytes)
    _check_storage(about)
    _check_files(about.get("files"))
    try:
        engine_facts.of(about), engine_facts.leftovers(about)
    except (ValueError, TypeError) as error:
        raise Wrong(f"the engine cannot be so: {error}") from error


def check_segments(segments: Sequence[Any], *, n_rows: int) -> None:
    """Raises Wrong for index files with foreign names, or rows that overlap or are not there."""
    end = 0
    for segment in segments:
        _require(isinstance(segment.file, str) and _SEGMENT.fullmatch(segment.file), "an index file", segment.file)
        for value in segment[2:]:
            _require(_is_count(value, 2**63), f"{segment.file}: a number", value)
        _require(segment.n_rows and segment.first_row >= end, f"{segment.file}: its first row", segment.first_row)
        end = segment.first_row + segment.n_rows
        _require(end <= n_rows, f"{segment.file}: its last row", end)


def check_places(places: records.Columns, *, n_rows: int) -> None:
    """Raises Wrong for tracks whose rows overlap or are not there. places: by first row."""
    if not places.names:
        return
    names, seconds, first, counts = places.names, places.seconds, places.first_rows, places.n_rows
    _require(set(map(type, names)) == {str} and all(names), "the name of a track", "")
    columns = {"number": places.ids, "first row": first, "number of rows": counts, "checksum": places.crcs}
    for what, column in columns.items():  # Of anything but whole numbers, not int64.
        _require(column.dtype == np.int64, f"of a track, its {what}", "no whole number")
    _require(seconds.dtype.kind in "if", "the seconds of a track", "no number")
    _require(np.isfinite(seconds).all() and seconds.min() >= 0, "the seconds of a track", seconds.min())
    least, most = min(first.min(), counts.min() - 1), max(first.max(), counts.max())
    _require(least >= 0 and most <= n_rows, "the rows of a track", least if least < 0 else most)
    end = first + counts
    beyond, overlap = np.flatnonzero(end > n_rows), np.flatnonzero(first[1:] < end[:-1])
    if len(beyond):
        raise Wrong(f"{names[beyond[0]]!r}: its rows reach to {end[beyond[0]]}, and there are {n_rows}")
    if len(overlap):
        raise Wrong(f"{names[overlap[0]]!r} and {names[overlap[0] + 1]!r} share rows")


def _check_storage(about: Mapping[str, Any]) -> None:
    for name in ("storage", "wanted"):
        value = about.get(name)
        _require(value in codes.STORAGES or (name == "wanted" and value is None), f"the {name}", value)
    try:
        codec = codes.of(about)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Wrong(f"the storage {about.get('storage')!r} has no right codes: {error}") from error
    _require(codec.dim == about["dim"], "the number of dimensions", about["dim"])
    if isinstance(codec, codes.Learned):
        _require(np.isfinite(codec.places).all(), "a code", "not finite")
        _require(_is_positive(codec.gain, _GAINS[1]) and codec.gain >= _GAINS[0], "the gain", codec.gain)


def _check_files(files: Any) -> None:
    _require(isinstance(files, Mapping), "the table of files", files)
    for name, written in files.items():
        _require(name in (NETWORK, CONFIDENCE), "a file", name)
        is_pair = isinstance(written, Sequence) and len(written) == 2 and all(_is_count(n, 2**63) for n in written)
        _require(is_pair, f"size and checksum of {name}", written)


def _is_count(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_positive(value: Any, most: float) -> bool:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 < value <= most


def _require(is_right: Any, what: str, value: Any) -> None:
    if not is_right:
        raise Wrong(f"{what} cannot be {str(value)[:100]!r}")
