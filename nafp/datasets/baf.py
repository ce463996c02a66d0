"""BAF, broadcast monitoring with background music (ISMIR 2022): references, queries, annotations.

    references/ref_0001.wav    2,000 pieces of production music, 8 kHz
    queries/query_0001.wav     3,425 minutes of television
    queries_info.csv           filename, country, channel, datetime
    cross_annotations.csv      query, reference, query_start, query_end, annotators, x_tag

The layout is that of mirdata's loader (mirdata/datasets/baf.py). x_tag tells how many of three people heard a match:
unanimity, majority, single.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

from nafp import errors
from nafp.corpora import list_text, manifest

TAGS = ("unanimity", "majority", "single")


class BafMatch(NamedTuple):
    """A reference that sounds in a query from start_s to end_s of the query."""

    query: str
    reference: str
    start_s: float
    end_s: float
    tag: str


def scan(folder: str, *, jobs: int = 0, show: bool = False) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    """Lists the references (group db) and the queries (group query), all of the split test.

    Queries have the columns country, channel and datetime. jobs, show: as for `manifest.fill`.
    """
    about = _queries_info(folder)
    tracks = []
    for name, group in (("references", "db"), ("queries", "query")):
        for path in manifest.audio_files(os.path.join(folder, name)):
            extra = about.get(os.path.basename(path), ()) if group == "query" else ()
            tracks.append(manifest.Track(path, 0.0, 0, 0, "music", "test", group, extra))
    listed = {os.path.basename(track.path) for track in tracks if track.group == "query"}
    missing = [
        manifest.Failure(os.path.join(folder, "queries", name), "is in queries_info.csv, but has no file")
        for name in about
        if name not in listed
    ]
    good, bad = manifest.fill(tracks, jobs=jobs, show=show)
    return good, [*bad, *missing]


def heard(folder: str, *, agreed: str = "unanimity") -> list[BafMatch]:
    """Reads which reference sounds in which query.

    agreed: the least agreement of the three people that a match needs, one of TAGS ("majority" includes unanimity).
    Raises errors.Invalid for another word, and for a table that cannot be right.
    """
    if agreed not in TAGS:
        raise errors.Invalid(f"agreed {agreed!r} given; allowed are {', '.join(TAGS)}")
    wanted = TAGS[: TAGS.index(agreed) + 1]
    rows = _table(folder, "cross_annotations.csv", ("query", "reference", "query_start", "query_end", "x_tag"))
    return [_match(row, folder) for row in rows if row["x_tag"] in wanted]


def _match(row: dict[str, str], folder: str) -> BafMatch:
    try:
        start_s, end_s = float(row["query_start"]), float(row["query_end"])
    except ValueError as error:
        where = os.path.join(folder, "cross_annotations.csv")
        raise errors.Invalid(f"{where}: a match in {row['query']!r} has no times in seconds: {error}") from None
    return BafMatch(row["query"], row["reference"], start_s, end_s, row["x_tag"])


def _queries_info(folder: str) -> dict[str, tuple[tuple[str, str], ...]]:
    rows = _table(folder, "queries_info.csv", ("filename",))
    return {row["filename"]: tuple((k, v or "") for k, v in row.items() if k and k != "filename") for row in rows}


def _table(folder: str, name: str, columns: Iterable[str]) -> list[dict[str, str]]:
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise errors.Invalid(f"{path}: missing; {folder} should be the unpacked BAF dataset")
    return list_text.table(path, set(columns))
