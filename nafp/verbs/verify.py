"""`nafp verify`: checks every file of a database, and repairs what can be repaired."""

from __future__ import annotations

from pathlib import Path

from nafp.database import check, database
from nafp.jobs import shown

WHOLE, DAMAGED = 0, 2  # Exit codes.


def run(folder: str, *, repair: bool = False) -> int:
    """Checks a database, prints what is damaged, and returns the exit code.

    repair: whether to remove damaged tracks and write the index files anew.
    """
    with database.Database.open(folder) as opened:
        report = opened.verify(show=True)
        print(described(report, opened.folder))
        if repair and report.damages:
            opened.repair(report)
            report = opened.verify()
            print(f"repaired: {len(opened)} tracks; {described(report, opened.folder)}")
    return DAMAGED if report.damages else WHOLE


def described(report: check.VerifyReport, folder: Path) -> str:
    """Writes what a check found, in lines."""
    lines = [f"{folder / name}: {damage}" for name, damage in report.damages]
    lines += [f"damaged track: {name}" for name in report.tracks]
    if lines:
        n_damaged, n_files = len(report.damages), report.n_files
        lines.append(f"{folder}: {n_damaged} of {n_files} files damaged; the rest is whole, and answers")
    else:
        size_mb = report.n_bytes / 1e6
        lines.append(f"{folder}: whole; {report.n_tracks} tracks, {report.n_files} files, {size_mb:.1f} MB")
    return shown.lines(lines)
