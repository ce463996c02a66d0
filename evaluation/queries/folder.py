"""A folder of rendered queries, which continues after an interruption.

OUT/q0000_n5_TRACK.wav   ...
OUT/expected.csv         query,answer,time,snr,reverb as pfann has them, and what else happened to the query
OUT/list.txt             the files, one a line
OUT/queries.json         the settings; written last, so that it means the folder is finished
OUT/journal.jsonl        the settings, then a line for each number that is done; removed at the end
"""

import contextlib
import csv
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from nafp import errors
from nafp.jobs import plain_files, whole_files

from . import material

_PFANN_COLUMNS = ("query", "answer", "time", "snr", "reverb")
COLUMNS = (*_PFANN_COLUMNS, "condition", "seconds", "rate", "noise", "speech", "microphone", "codec")
EXPECTED, LIST, SETTINGS, JOURNAL = "expected.csv", "list.txt", "queries.json", "journal.jsonl"
_FORMAT = 2

Rows = list[dict[str, str]]


class Folder:
    """A folder that is open for rendering with certain settings.

    is_finished: whether nothing is left to do. done: number -> its rows of expected.csv, for the numbers whose files
    are complete. Raises errors.AlreadyExists if the folder holds queries of other settings, unless `overwrite` allows
    to remove them. Raises it in any case for a folder with other WAV files or tables, which no rendering wrote.
    """

    def __init__(self, out: str | os.PathLike, settings: Mapping[str, Any], *, overwrite: bool = False):
        self.path = pathlib.Path(out)
        self._settings = json.loads(json.dumps({"format": _FORMAT, **settings}))
        self._journal: IO[str] | None = None
        plain_files.require_plain(self.path / JOURNAL)  # What is appended to a link would go into another file.
        before = self._before()
        if before is not None and before != self._settings and not overwrite:
            raise errors.AlreadyExists(
                f"{out} holds queries of other settings ({_differences(before, self._settings)});"
                " --overwrite replaces them, another --out keeps them"
            )
        same = before == self._settings and not overwrite
        self.is_finished = same and (self.path / SETTINGS).exists()
        self.done = self._read_journal() if same and not self.is_finished else {}
        if not same:
            self._require_ours(before)
            self._clear()
            self.path.mkdir(parents=True, exist_ok=True)
            self._opened_journal().close()  # Before the first file: the folder is ours, whatever happens.

    def rows(self) -> Rows:
        """Reads expected.csv of a finished folder."""
        with open(self.path / EXPECTED, newline="", encoding="utf-8", errors="surrogateescape") as file:
            return list(csv.DictReader(file))

    def note(self, number: int, rows: Rows) -> None:
        """Adds a number, whose files are complete, to the journal."""
        if self._journal is None:
            self._journal = self._opened_journal()
        sizes = [os.path.getsize(self.path / row["query"]) for row in rows]
        _write_line(self._journal, {"number": number, "bytes": sizes, "rows": rows})
        self.done[number] = rows

    def close(self) -> None:
        """Closes the journal."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def finish(self, numbers: Iterable[int]) -> Rows:
        """Writes the tables with the numbers in this order, and returns all rows."""
        self.close()
        for partial in self.path.glob("*.wav.*.part"):  # Left by a killed process.
            partial.unlink()
        rows = [row for number in numbers for row in self.done.get(number, [])]
        columns = [*COLUMNS, *sorted({key for row in rows for key in row} - {*COLUMNS})]
        with opened(self.path / EXPECTED) as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        with opened(self.path / LIST) as file:
            file.writelines(f"{row['query']}\n" for row in rows)
        with opened(self.path / SETTINGS) as file:
            file.write(json.dumps(self._settings, indent=1) + "\n")
        (self.path / JOURNAL).unlink(missing_ok=True)
        return rows

    def _before(self) -> dict | None:
        """Returns the settings of the queries that are in the folder, or None."""
        for name in (SETTINGS, JOURNAL):
            with contextlib.suppress(FileNotFoundError):
                text = (self.path / name).read_text(encoding="utf-8")
                with contextlib.suppress(ValueError):  # A first line cut off by a kill: nothing is done.
                    before = json.loads(text if name == SETTINGS else text.split("\n", 1)[0])
                    return before if isinstance(before, dict) else {}
        return None

    def _read_journal(self) -> dict[int, Rows]:
        """Returns the rows of the numbers that are done, and cuts an incomplete last line off the journal."""
        done: dict[int, Rows] = {}
        n_bytes = 0
        with open(self.path / JOURNAL, "rb") as file:
            for count, line in enumerate(file):
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if entry is None:
                    break  # Incomplete: nothing after it counts.
                n_bytes += len(line)
                if count and self._has_files(entry):
                    done[entry["number"]] = entry["rows"]
        os.truncate(self.path / JOURNAL, n_bytes)
        return done

    def _has_files(self, entry: dict) -> bool:
        """Returns whether the files have the sizes of the journal. A loss of power may have cut them short."""
        try:
            sizes = [os.path.getsize(self.path / row["query"]) for row in entry["rows"]]
        except FileNotFoundError:
            return False
        return sizes == entry["bytes"]

    def _require_ours(self, before: dict | None) -> None:
        """Raises errors.AlreadyExists for a folder whose files were not rendered, and would be removed."""
        if "format" in (before or {}) or (self.path / JOURNAL).exists():  # A kill may have torn its first line.
            return
        names = [SETTINGS, EXPECTED, LIST, *sorted(path.name for path in self.path.glob("*.wav"))]
        if present := [name for name in names if (self.path / name).exists()]:
            raise errors.AlreadyExists(
                f"{self.path}: holds {present[0]}, which nafp queries did not write; give another --out"
            )

    def _clear(self) -> None:
        """Removes old queries: those of another count or seed would stay beside the new ones."""
        for name in (SETTINGS, JOURNAL, EXPECTED, LIST):
            (self.path / name).unlink(missing_ok=True)
        for old in self.path.glob("*.wav"):
            old.unlink()

    def _opened_journal(self) -> IO[str]:
        path = self.path / JOURNAL
        is_new = not path.exists() or not path.stat().st_size
        journal = open(path, "a", encoding="utf-8")  # noqa: SIM115 - until close()
        if is_new:
            _write_line(journal, self._settings)
        return journal


def _write_line(journal: IO[str], entry: Mapping[str, Any]) -> None:
    journal.write(json.dumps(entry) + "\n")
    journal.flush()


def digest(pieces: Sequence[material.Piece]) -> str:
    """Returns a hash of the pieces that can be drawn: other pieces would give other queries."""
    text = repr([tuple(piece) for piece in pieces])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if before.get("format") != now["format"]:
        return "rendered by an earlier version"
    changed = [key for key in now if before.get(key) != now[key]] or ["a setting that no longer exists"]
    return "; ".join(f"{key}: {before.get(key)}, now {now.get(key)}" for key in changed[:3])


def opened(path: pathlib.Path) -> contextlib.AbstractContextManager[IO[str]]:
    """Opens a table for writing, which appears whole or not at all. Names of tracks in it are bytes, not text."""
    return whole_files.opened(path, newline="", encoding="utf-8", errors="surrogateescape")
