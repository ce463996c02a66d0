"""The readable files of a run, which grow line by line. An object store takes whole files only."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
from collections.abc import Iterable

from nafp.weights import run_folders


class Mirror:
    """A local folder whose files lie in a run's folder, too.

    If the run lies on a disk, the two are one. Otherwise `keep` copies what has changed, and `grown` are the files that
    a resumed run goes on with.
    """

    def __init__(self, run: run_folders.Folder, *, grown: Iterable[str]):
        self._run, self._is_remote = run, run_folders.is_remote(run)
        self._sizes: dict[pathlib.Path, int] = {}
        if not self._is_remote:
            self.folder = pathlib.Path(run)
            self.folder.mkdir(parents=True, exist_ok=True)
            return
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nafp-run-"))
        for name in grown:
            if (run / name).exists():
                (self.folder / name).write_bytes((run / name).read_bytes())

    def keep(self) -> None:
        """Copies the files that have grown since the last call into the run's folder."""
        if not self._is_remote:
            return
        for path in sorted(self.folder.rglob("*")):
            n_bytes = path.stat().st_size
            if path.is_file() and self._sizes.get(path) != n_bytes:
                target = self._run / path.relative_to(self.folder).as_posix()
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
                self._sizes[path] = n_bytes

    def close(self) -> None:
        """Copies what is left, and removes the local files of a run that lies elsewhere."""
        self.keep()
        if self._is_remote:
            shutil.rmtree(self.folder, ignore_errors=True)
