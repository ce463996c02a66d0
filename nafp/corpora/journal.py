"""What has been decoded into a corpus so far: a record that kill -9 at any moment cannot spoil.

Samples are appended to samples.i16 and reach the disk before the journal, one JSON object a line,
names them; whatever lies behind the last sample named is cut off at the next start. A track starts
on a multiple of a cell (see `loudness`), with zeros before it.
"""

import contextlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from typing import NamedTuple

from nafp import errors
from nafp.corpora import parts

try:
    import fcntl
except ImportError:  # Windows: there, two builds of one folder are the user's to avoid.
    fcntl = None

FORMAT = "nafp-corpus-1"
SAMPLES, JOURNAL, PARTS = "samples.i16", "journal.jsonl", "parts"
_COMMIT_S = 2.0  # Between two waits for the disk.


class Entry(NamedTuple):
    path: str
    stamp: tuple[int, int] | None
    response: bool
    first_sample: int = 0
    n_samples: int = 0
    failure: str = ""
    damage: str = ""


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Keeps a second build out of the folder; the lock ends with the process, however it ends."""
    with open(os.path.join(folder, ".lock"), "w") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise errors.Invalid(f"{folder}: another process is building this corpus") from None
        yield


class Journal:
    """The journal of a folder, read and ready to go on.

    entries: the latest by path. passing_failures: path and reason of those that are not noted.
    """

    def __init__(self, folder: str, *, sample_rate_hz: int, cell: int):
        self.folder, self.n_samples = folder, 0
        self.entries: dict[str, Entry] = {}
        self.passing_failures: list[tuple[str, str]] = []
        self._cell, self._held, self._committed = cell, [], time.monotonic()
        os.makedirs(os.path.join(folder, PARTS), exist_ok=True)
        parts.tidy(os.path.join(folder, PARTS))
        lines, samples = os.path.join(folder, JOURNAL), os.path.join(folder, SAMPLES)
        good = self._read(lines, sample_rate_hz) if os.path.exists(lines) else 0
        there = os.path.getsize(samples) if os.path.exists(samples) else 0
        if there < 2 * self.n_samples:
            raise errors.Invalid(f"{folder}: {SAMPLES} is shorter than {JOURNAL} says; build it anew")
        self._lines, self._samples = (
            _append_after(lines, good),
            _append_after(samples, 2 * self.n_samples),
        )
        if not good:
            header = {"format": FORMAT, "sample_rate_hz": sample_rate_hz}
            self._lines.write(json.dumps(header).encode() + b"\n")

    def take(self, job: parts.Job, outcome: parts.Outcome) -> None:
        """Appends a part, and notes it; a failure that may go away is not noted."""
        if not outcome.failure:
            with open(f"{job.part}.i16", "rb") as part:
                shutil.copyfileobj(part, self._samples, 1 << 20)
            self._samples.write(bytes(2 * (-outcome.n_samples % self._cell)))
        elif not outcome.lasting:
            self.passing_failures.append((job.path, outcome.failure))
            parts.remove(job)
            return
        first = 0 if outcome.failure else self.n_samples
        what = (job.path, job.stamp, job.response, first, outcome.n_samples)
        entry = Entry(*what, outcome.failure, outcome.damage)
        self.n_samples += -(-outcome.n_samples // self._cell) * self._cell
        self.entries[entry.path] = entry
        self._held.append((entry, job))
        if time.monotonic() - self._committed > _COMMIT_S:
            self.commit()

    def commit(self) -> None:
        """Waits until all that was taken is on the disk: samples, then lines; then drops parts."""
        _sync(self._samples)
        for entry, _ in self._held:
            self._lines.write(json.dumps(entry._asdict()).encode() + b"\n")
        _sync(self._lines)
        for _, job in self._held:
            parts.remove(job)
        self._held, self._committed = [], time.monotonic()

    def close(self) -> None:
        self._lines.close()
        self._samples.close()

    def drop_parts(self) -> None:
        shutil.rmtree(os.path.join(self.folder, PARTS), ignore_errors=True)

    def _read(self, path: str, sample_rate_hz: int) -> int:
        """Reads the whole lines; returns how many bytes they are."""
        good = 0
        with open(path, "rb") as file:
            for line in file:
                try:
                    fields = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    fields = None
                if fields is None:  # Torn by a kill: nothing after it counts.
                    break
                self._learn(fields, sample_rate_hz)
                good += len(line)
        return good

    def _learn(self, fields: dict, sample_rate_hz: int) -> None:
        if "format" in fields:
            if fields["format"] != FORMAT:
                raise errors.Invalid(f"{self.folder}: format {fields['format']}, not {FORMAT}")
            if fields["sample_rate_hz"] != sample_rate_hz:
                had, asked = fields["sample_rate_hz"], sample_rate_hz
                raise errors.Invalid(f"{self.folder}: holds {had} Hz, {asked} Hz asked for; choose another folder")
            return
        stamp = fields["stamp"]
        entry = Entry(**{**fields, "stamp": None if stamp is None else tuple(stamp)})
        self.entries[entry.path] = entry
        end = entry.first_sample + -(-entry.n_samples // self._cell) * self._cell
        self.n_samples = max(self.n_samples, end)


def _append_after(path: str, n_bytes: int) -> io.BufferedWriter:
    """Opens a file for appending, without what follows these bytes; untouched if nothing does."""
    file = open(path, "ab")  # noqa: SIM115 - closed by the journal
    if file.tell() > n_bytes:
        file.truncate(n_bytes)
    return file


def _sync(file: io.BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())
