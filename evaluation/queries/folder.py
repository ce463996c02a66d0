"""A folder of rendered queries, and what is there of it after an interruption.

OUT/q0000_n5_TRACK.wav   ...
OUT/expected.csv         query,answer,time,snr,reverb (pfann's) and what else happened to it
OUT/list.txt             the files, one a line
OUT/queries.json         the settings; written last: finished
OUT/journal.jsonl        the settings, then what is done, a line each; gone when finished
"""

import contextlib
import csv
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nafp import errors

from . import material

# fmt: off
COLUMNS = (
    "query", "answer", "time", "snr", "reverb",
    "condition", "seconds", "rate", "noise", "speech", "microphone", "codec",
)
# fmt: on
EXPECTED, LIST, SETTINGS, JOURNAL = "expected.csv", "list.txt", "queries.json", "journal.jsonl"
_FORMAT = 2

Rows = list[dict[str, str]]


class Folder:
    """Opens OUT for rendering with these settings.

    is_finished: nothing is left to do. done: number -> its expected rows, of those whose files are
    there. Raises FileExistsError when the folder holds queries of other settings, unless
    `overwrite`, which removes them.
    """

    def __init__(self, out: str | os.PathLike, settings: Mapping[str, Any], *, overwrite: bool = False):
        self.path = pathlib.Path(out)
        self._settings = json.loads(json.dumps({"format": _FORMAT, **settings}))
        self._journal = None
        before = self._before()
        if before is not None and before != self._settings and not overwrite:
            raise errors.AlreadyExists(
                f"{out}: holds queries of other settings ({_differences(before, self._settings)});"
                " --overwrite replaces them, another --out keeps them"
            )
        same = before == self._settings and not overwrite
        self.is_finished = same and (self.path / SETTINGS).exists()
        self.done = self._read_journal() if same and not self.is_finished else {}
        if not same:
            self._clear()
            self.path.mkdir(parents=True, exist_ok=True)

    def rows(self) -> Rows:
        """Reads the expected rows of a finished folder."""
        with open(self.path / EXPECTED, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def note(self, number: int, rows: Rows) -> None:
        """Writes down that a number is done: its files are there."""
        if self._journal is None:
            self._open_journal()
        sizes = [os.path.getsize(self.path / row["query"]) for row in rows]
        self._line({"number": number, "bytes": sizes, "rows": rows})
        self.done[number] = rows

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def finish(self, numbers: Iterable[int]) -> Rows:
        """Writes the tables, the numbers in this order; returns all expected rows."""
        self.close()
        for torn in self.path.glob("*.wav.*.part"):  # Of a killed process.
            torn.unlink()
        rows = [row for number in numbers for row in self.done.get(number, [])]
        columns = [*COLUMNS, *sorted({key for row in rows for key in row} - {*COLUMNS})]
        with _replacing(self.path / EXPECTED) as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        with _replacing(self.path / LIST) as file:
            file.writelines(f"{row['query']}\n" for row in rows)
        with _replacing(self.path / SETTINGS) as file:
            file.write(json.dumps(self._settings, indent=1) + "\n")
        (self.path / JOURNAL).unlink(missing_ok=True)
        return rows

    def _before(self) -> dict | None:
        """Gives the settings that the folder was rendered, or begun, with."""
        for name in (SETTINGS, JOURNAL):
            with contextlib.suppress(FileNotFoundError):
                text = (self.path / name).read_text(encoding="utf-8")
                with contextlib.suppress(ValueError):  # A first line torn by a kill: nothing done.
                    return json.loads(text if name == SETTINGS else text.split("\n", 1)[0])
        return None

    def _read_journal(self) -> dict[int, Rows]:
        done, whole = {}, 0
        with open(self.path / JOURNAL, "rb") as file:
            for count, line in enumerate(file):
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if entry is None:
                    break  # Torn: nothing after it counts.
                whole += len(line)
                if count and self._are_there(entry):
                    done[entry["number"]] = entry["rows"]
        os.truncate(self.path / JOURNAL, whole)
        return done

    def _are_there(self, entry: dict) -> bool:
        """Looks at sizes: a file may have been written, and lost with the power."""
        try:
            sizes = [os.path.getsize(self.path / row["query"]) for row in entry["rows"]]
        except FileNotFoundError:
            return False
        return sizes == entry["bytes"]

    def _clear(self) -> None:
        """Removes old queries: of another count or seed, they would be found beside the new ones."""
        for name in (SETTINGS, JOURNAL, EXPECTED, LIST):
            (self.path / name).unlink(missing_ok=True)
        for old in self.path.glob("*.wav"):
            old.unlink()

    def _open_journal(self) -> None:
        path = self.path / JOURNAL
        is_new = not path.exists() or not path.stat().st_size
        self._journal = open(path, "a", encoding="utf-8")  # noqa: SIM115 - until close()
        if is_new:
            self._line(self._settings)

    def _line(self, entry: Mapping[str, Any]) -> None:
        self._journal.write(json.dumps(entry) + "\n")
        self._journal.flush()


def digest(pieces: Sequence[material.Piece]) -> str:
    """Identifies what there is to draw from: other pieces would give other queries."""
    text = repr([tuple(piece) for piece in pieces])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if before.get("format") != now["format"]:
        return "rendered by an earlier version"
    changed = [key for key in now if before.get(key) != now[key]] or ["more was said before"]
    return "; ".join(f"{key}: {before.get(key)}, now {now.get(key)}" for key in changed[:3])


@contextlib.contextmanager
def _replacing(path: pathlib.Path):
    """Opens a file for writing that appears whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    with open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
