"""Writes the lines of a monitor, and its state, so that the same command goes on where it was stopped."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zlib
from typing import IO, Any

from nafp import errors
from nafp.audio import live
from nafp.jobs import plain_files, whole_files

_FORMAT = 1
_ENCODING, _ERRORS = "utf-8", "surrogateescape"  # File names are bytes that need not be text.


class MonitorJournal:
    """Writes lines, and keeps a state of each input beside them.

    path: file of the state, None for no state. settings: what must not have changed when a run goes on from a state.
    out: file for the lines, None for standard output. first_line: the header of a table. names: whether to write the
    name of each input before its lines.

    In a file every line stands exactly once: lines after the last state are cut off when a run goes on. On standard
    output a line appears twice only if the first run was killed between writing it and saving the state. Raises
    nafp.errors.Invalid for a state of other settings, and for a file that is not a state.
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
        self._out: IO[Any] = sys.stdout
        if out:
            mode = "r+" if resumed and os.path.exists(out) else "w"
            file = open(out, mode, encoding=_ENCODING, errors=_ERRORS)  # noqa: SIM115 - see `close`
            self._out = self._files.enter_context(file)
            if resumed:
                self._out.truncate(resumed["n_bytes"] or 0)
                self._out.seek(0, os.SEEK_END)
        if first_line and not resumed:
            self.write(first_line)

    def begin(self, about: live.Input) -> dict[str, Any] | None:
        """Returns the state that an earlier run saved of an input. None for none.

        Raises nafp.errors.Invalid if the file has changed since.
        """
        state = self._inputs.get(_key(about))
        if state and dict(state).get("file") != _file(about):
            raise errors.Invalid(f"{about.name}: has changed since {self._path} was written; remove that to start anew")
        if self._names and not state:
            self.write(f"== {about.name}")
        return state

    def write(self, line: str) -> None:
        """Writes a line."""
        print(line, file=self._out, flush=True)

    def save(self, about: live.Input, **state: Any) -> None:
        """Saves the state of an input, whole or not at all. state: fit for JSON."""
        if not self._path:
            return
        self._inputs[_key(about)] = {"file": _file(about), **state}
        n_bytes = None
        if self._out is not sys.stdout:
            os.fsync(self._out.fileno())
            n_bytes = self._out.tell()
        content = {"settings": self._settings, "n_bytes": n_bytes, "inputs": self._inputs}
        text = json.dumps(content | {"crc": _checksum(content)})
        if text == self._saved:
            return
        with whole_files.opened(self._path, encoding=_ENCODING, errors=_ERRORS) as file:
            file.write(text)
        self._saved = text

    def close(self) -> None:
        """Closes the file of the lines."""
        self._files.close()

    def _read(self) -> dict[str, Any] | None:
        if not self._path or not os.path.exists(self._path):
            return None
        try:
            saved = json.loads(plain_files.contents(self._path).decode(_ENCODING, _ERRORS))
            settings, self._inputs = dict(saved["settings"]), dict(saved["inputs"])
            crc = saved.pop("crc", None)  # Earlier versions wrote none.
            n_bytes = saved["n_bytes"]
        except errors.Error:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise errors.Invalid(f"{self._path}: is not a state of nafp monitor; name another --state") from None
        if crc not in (None, _checksum(saved)) or not (n_bytes is None or (isinstance(n_bytes, int) and n_bytes >= 0)):
            raise errors.Invalid(f"{self._path}: is damaged; remove it to start anew")
        changed = [name for name, value in self._settings.items() if settings.get(name) != value]
        if changed:
            what = ", ".join("the database" if name == "searched" else name for name in changed)
            raise errors.Invalid(f"{self._path}: was written with other settings ({what}); remove it to start anew")
        return saved


def _checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode(_ENCODING, _ERRORS))


def _key(about: live.Input) -> str:
    return os.path.abspath(about.name)


def _file(about: live.Input) -> list[int]:
    """Returns what changes with a file: its size and time. A stream has neither."""
    if about.is_live:
        return []
    stat = os.stat(about.name)
    return [stat.st_size, stat.st_mtime_ns]
