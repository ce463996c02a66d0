"""Where the lines of a monitor go, and how far each input is: the same command goes on where it was stopped."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

from nafp import errors
from nafp.audio import live

_FORMAT = 1
_TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}


class Journal:
    """Gives lines away, and keeps a state beside them.

    path: of the state, None for none. settings: what must be the same for a state to be gone on from. out: file
    for the lines; standard output without one. first_line: of a table. names: whether each input is announced.

    In a file every line is written exactly once: what came after the last state is cut off again. On standard output
    a line is said twice only by a run that was killed between saying it and keeping the state.
    Raises ValueError for a state of other settings, or a file that is none.
    """

    def __init__(
        self,
        path: str | None,
        settings: dict[str, Any],
        *,
        out: str | None = None,
        first_line: str = "",
        names: bool = False,
    ):
        self._path, self._names = path, names
        out = os.path.abspath(out) if out else None
        self._settings = {"version": _FORMAT, "out": out, **settings}
        self._inputs: dict[str, Any] = {}
        self._saved = ""
        resumed = self._read()
        self._files = contextlib.ExitStack()
        self._out = sys.stdout
        if out:
            file = open(out, "r+" if resumed else "w", **_TEXT)  # noqa: SIM115 - open until `close`
            self._out = self._files.enter_context(file)
            if resumed:
                self._out.truncate(resumed["n_bytes"])
                self._out.seek(0, os.SEEK_END)
        if first_line and not resumed:
            self.write(first_line)

    def begin(self, about: live.Input) -> dict[str, Any] | None:
        """Gives what an earlier run kept of an input. Raises ValueError if the file has changed since."""
        kept = self._inputs.get(_key(about))
        if kept and kept["file"] != _file(about):
            raise errors.Invalid(f"{about.name}: has changed since {self._path} was written; remove that to start anew")
        if self._names and not kept:
            self.write(f"== {about.name}")
        return kept

    def write(self, line: str) -> None:
        """Gives a line away."""
        print(line, file=self._out, flush=True)

    def save(self, about: live.Input, **state: Any) -> None:
        """Keeps how far an input is; whole or not at all."""
        if not self._path:
            return
        self._inputs[_key(about)] = {"file": _file(about), **state}
        n_bytes = None
        if self._out is not sys.stdout:
            os.fsync(self._out.fileno())
            n_bytes = self._out.tell()
        text = json.dumps({"settings": self._settings, "n_bytes": n_bytes, "inputs": self._inputs})
        if text == self._saved:
            return
        partial = f"{self._path}.tmp"
        with open(partial, "w", **_TEXT) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self._path)
        self._saved = text

    def close(self) -> None:
        self._files.close()

    def _read(self) -> dict[str, Any] | None:
        if not self._path or not os.path.exists(self._path):
            return None
        try:
            with open(self._path, **_TEXT) as file:
                saved = json.load(file)
            settings, self._inputs = saved["settings"], saved["inputs"]
        except (ValueError, KeyError, TypeError):
            raise errors.Invalid(f"{self._path}: is no state of nafp monitor; name another --state") from None
        changed = [name for name, value in self._settings.items() if settings.get(name) != value]
        if changed:
            what = ", ".join("the database" if name == "searched" else name for name in changed)
            raise errors.Invalid(f"{self._path}: was written with other settings ({what}); remove it to start anew")
        return saved


def _key(about: live.Input) -> str:
    return os.path.abspath(about.name)


def _file(about: live.Input) -> list[int]:
    if about.is_live:
        return []
    there = os.stat(about.name)
    return [there.st_size, there.st_mtime_ns]
