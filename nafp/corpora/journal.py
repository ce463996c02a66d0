"""The record of what has been decoded into a corpus. kill -9 at any moment cannot spoil it.

Samples are appended to samples.i16. The journal holds one JSON object a line, and names samples only after they have
reached the disk. The next start cuts off everything behind the last sample that the journal names. A track starts on a
multiple of a cell (see `loudness`). Zeros fill the last cell of the track before.
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
from nafp.jobs import locks, plain_files, whole_files

FORMAT = "nafp-corpus-1"
SAMPLES, JOURNAL, PARTS, LOCK = "samples.i16", "journal.jsonl", "parts", ".lock"
FILES = (SAMPLES, JOURNAL)  # A build appends to these.
_COMMIT_S = 2.0  # Seconds between two waits for the disk.


class Entry(NamedTuple):
    """A line of the journal: a track, its input (see `parts.Job`) and its outcome (see `parts.PartOutcome`)."""

    path: str
    stamp: tuple[int, int] | None
    response: bool
    first_sample: int = 0
    n_samples: int = 0
    failure: str = ""
    damage: str = ""


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Keeps other processes from building the corpus in this folder during the block.

    Raises errors.Invalid, which names the process that is building it.
    """
    path = os.path.join(folder, LOCK)
    try:
        lock = locks.take(path)
    except BlockingIOError:
        raise errors.Invalid(f"{folder}: another process is building this corpus ({locks.holder(path)})") from None
    with lock:
        yield


class CorpusJournal:
    """The journal of a corpus folder, read and open for appending. Only for the holder of `locked`.

    entries: the latest entry of each path. passing_failures: path and reason of the failures that may go away, which
    are not in the journal.
    """

    def __init__(self, folder: str, *, sample_rate_hz: int, cell: int):
        self.folder, self.n_samples = folder, 0
        self.entries: dict[str, Entry] = {}
        self.passing_failures: list[tuple[str, str]] = []
        self._cell, self._committed = cell, time.monotonic()
        self._uncommitted: list[tuple[Entry, parts.Job]] = []
        for name in FILES:
            plain_files.require_plain(os.path.join(folder, name))
        if os.path.islink(os.path.join(folder, PARTS)):
            raise errors.Invalid(
                f"{folder}/{PARTS}: is a symbolic link; nafp writes into its own folders only: remove it"
            )
        os.makedirs(os.path.join(folder, PARTS), exist_ok=True)
        for place in (folder, os.path.join(folder, PARTS)):
            whole_files.tidy(place)
        lines, samples = os.path.join(folder, JOURNAL), os.path.join(folder, SAMPLES)
        n_bytes = self._read(lines, sample_rate_hz) if os.path.exists(lines) else 0
        n_present = os.path.getsize(samples) if os.path.exists(samples) else 0
        if n_present < 2 * self.n_samples:
            raise errors.Invalid(f"{folder}: {SAMPLES} is shorter than {JOURNAL} says; build it anew")
        self._lines = _append_after(lines, n_bytes)
        self._samples = _append_after(samples, 2 * self.n_samples)
        if not n_bytes:
            header = {"format": FORMAT, "sample_rate_hz": sample_rate_hz}
            self._lines.write(json.dumps(header).encode() + b"\n")

    def take(self, job: parts.Job, outcome: parts.PartOutcome) -> None:
        """Appends the samples of a part and its entry. A failure that may go away gets no entry."""
        if not outcome.failure:
            with open(f"{job.part}.i16", "rb") as part:
                shutil.copyfileobj(part, self._samples, 1 << 20)
            self._samples.write(bytes(2 * (-outcome.n_samples % self._cell)))
        elif not outcome.lasting:
            self.passing_failures.append((job.path, outcome.failure))
            parts.remove(job)
            return
        first = 0 if outcome.failure else self.n_samples
        entry = Entry(job.path, job.stamp, job.response, first, outcome.n_samples, outcome.failure, outcome.damage)
        self.n_samples += -(-outcome.n_samples // self._cell) * self._cell
        self.entries[entry.path] = entry
        self._uncommitted.append((entry, job))
        if time.monotonic() - self._committed > _COMMIT_S:
            self.commit()

    def commit(self) -> None:
        """Waits until the samples and then the lines of all taken parts are on the disk. Then removes the parts."""
        _sync(self._samples)
        for entry, _ in self._uncommitted:
            self._lines.write(json.dumps(entry._asdict()).encode() + b"\n")
        _sync(self._lines)
        for _, job in self._uncommitted:
            parts.remove(job)
        self._uncommitted, self._committed = [], time.monotonic()

    def close(self) -> None:
        """Closes the files without a commit."""
        self._lines.close()
        self._samples.close()

    def drop_parts(self) -> None:
        """Removes the folder of the parts."""
        shutil.rmtree(os.path.join(self.folder, PARTS), ignore_errors=True)

    def _read(self, path: str, sample_rate_hz: int) -> int:
        """Reads the entries of all whole lines. Returns the number of bytes of these lines."""
        n_bytes = 0
        with open(path, "rb") as file:
            for line in file:
                try:
                    fields = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    fields = None
                if fields is None:  # A kill tore this line. What follows does not count.
                    break
                try:
                    self._add(fields, sample_rate_hz)
                except (KeyError, TypeError, AttributeError) as error:
                    raise errors.Invalid(
                        f"{path}: is damaged ({error!r}); build the corpus in another folder"
                    ) from None
                n_bytes += len(line)
        return n_bytes

    def _add(self, fields: dict, sample_rate_hz: int) -> None:
        if "format" in fields:
            if fields["format"] != FORMAT:
                raise errors.Invalid(f"{self.folder}: format {fields['format']}, not {FORMAT}")
            if fields["sample_rate_hz"] != sample_rate_hz:
                rates = f"holds {fields['sample_rate_hz']} Hz, {sample_rate_hz} Hz asked for"
                raise errors.Invalid(f"{self.folder}: {rates}; choose another folder")
            return
        stamp = fields["stamp"]
        entry = Entry(**{**fields, "stamp": None if stamp is None else tuple(stamp)})
        self.entries[entry.path] = entry
        end = entry.first_sample + -(-entry.n_samples // self._cell) * self._cell
        self.n_samples = max(self.n_samples, end)


def _append_after(path: str, n_bytes: int) -> io.BufferedWriter:
    """Opens a file for appending after its first n_bytes. What follows them is cut off."""
    file = open(path, "ab")  # noqa: SIM115 - closed by the journal
    if file.tell() > n_bytes:
        file.truncate(n_bytes)
    return file


def _sync(file: io.BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())
