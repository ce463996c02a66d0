"""`nafp compact`: gives the space of removed tracks back."""

from __future__ import annotations

from nafp.database import database
from nafp.jobs import shown


def run(folder: str, *, storage: str | None = None, log_folder: str | None = None) -> int:
    """Compacts a database, into another storage and to another place if they are named. Returns the exit code."""
    with database.Database.open(folder) as opened:
        saved_bytes = opened.compact(storage=storage, log_folder=log_folder)
        left_bytes = opened.info()["bytes"]
    print(shown.plain(f"{folder}: {left_bytes / 1e6:.1f} MB, {saved_bytes / 1e6:.1f} MB less than before"))
    return 0
