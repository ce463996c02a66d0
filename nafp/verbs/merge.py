"""`nafp merge`: puts the tracks of other databases into one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nafp.database import database, from_databases
from nafp.jobs import shown

DONE, DAMAGED = 0, 2  # Exit codes.
_MOST_LINES = 20  # Tracks to name of each kind.


def run(folder: str, others: Sequence[str]) -> int:
    """Adds the tracks of other databases, prints what became of them, and returns the exit code."""
    with database.Database.open(folder) as opened:
        report = opened.merge(others, show=True)
        print(described(report, folder, n_tracks=len(opened)))
    for other, name in report.damaged:
        reason = f"left out, its fingerprints in {other} are not those written"
        print(shown.plain(f"damaged: {name}: {reason}"), file=sys.stderr)
    return DAMAGED if report.damaged else DONE


def described(report: from_databases.MergeReport, folder: str, *, n_tracks: int) -> str:
    """Writes the closing lines: how much was added, what was there, and what was renamed.

    n_tracks: tracks of the whole database.
    """
    lines = [f"{folder}: {len(report.added)} tracks added; {n_tracks} tracks"]
    if report.known:
        lines.append(f"{len(report.known)} have the same audio as one that is there:")
        lines += [f"  {name}: {track}" for name, track in report.known[:_MOST_LINES] if name != track]
    if report.renamed:
        lines.append(f"{len(report.renamed)} renamed, because another track is called so:")
        lines += [f"  {name}: {new}" for name, new in report.renamed[:_MOST_LINES]]
    return shown.lines(lines)
