"""`nafp page`: a database as a web page that identifies in the browser."""

from __future__ import annotations

import os
import pathlib

from nafp import errors
from nafp.database import database
from nafp.serving import site


def run(folder: str, *, out: str | os.PathLike, dtype: str = "float16") -> int:
    """Writes a page and prints what it holds. Returns the exit code.

    folder: of the database. out: folder to write, one that is new, empty, or an earlier page. dtype: one of
    `site.DTYPES`. Raises errors.Invalid for another folder, and as `site.write` does.
    """
    target = pathlib.Path(out)
    if not site.may_be_written(target):
        raise errors.Invalid(f"--out={out}: is there, and was not written by nafp page; name another folder")
    with database.Database.open(folder) as opened:
        report = site.write(target, opened, dtype=dtype)
    print(
        f"{out}: {report.n_tracks} tracks, {report.n_rows:,} fingerprints as {dtype}, "
        f"{report.n_bytes / 1e6:.1f} MB. Put it on any web host; to try it here: python -m http.server -d {out}"
    )
    return 0
