"""Audio files become tracks of a database: decoded in parallel, fingerprinted in batches, safe one by one.

Audio that the database holds is skipped. The same file, unchanged, is not even opened. The same bytes under another
name are not decoded. The same audio in another container or with other tags is not written.

Audio decides what a track is, and its name follows: a track whose file no longer holds its audio gets the name of the
file that does.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, tags
from nafp.corpora import building, corpus, list_text, manifest
from nafp.database import writer
from nafp.fingerprints import stream
from nafp.jobs import progress
from nafp.models import protocol

_READ_BYTES = 2**20


@dataclasses.dataclass
class AddReport:
    """What adding recordings did.

    added: names of new tracks. n_rows, seconds: their fingerprints and audio. unchanged: how many recordings were in
    the database from the same file. replaced: names of tracks whose file has other audio than before. known: (path,
    track with the same audio). renamed: (name before, name now) of tracks whose audio is in another file than before.
    described: names of tracks that were there and got other metadata. failures, damaged: (path, reason) of files that
    gave nothing, or less than promised.
    """

    added: list[str] = dataclasses.field(default_factory=list)
    n_rows: int = 0
    seconds: float = 0.0
    unchanged: int = 0
    replaced: list[str] = dataclasses.field(default_factory=list)
    known: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    renamed: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    described: list[str] = dataclasses.field(default_factory=list)
    failures: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    damaged: list[tuple[str, str]] = dataclasses.field(default_factory=list)


class NewRecording(NamedTuple):
    """A recording to add.

    is_file: whether its name is the path of the file that holds its audio. metadata: the columns of a CSV list.
    """

    source: corpus.Source
    is_file: bool
    metadata: Mapping[str, str]


def add(
    into: writer.DatabaseWriter,
    open_network: Callable[[], protocol.Network],
    recordings: Sequence[NewRecording],
    *,
    metadata: Mapping[str, str] | None = None,
    threads: int | None = None,
    show: bool = True,
) -> AddReport:
    """Adds recordings. Each track is safe once it is reported as done. Stopped at any time, the same call goes on.

    open_network: called once, and only if there is something to fingerprint. recordings: as `listed` returns them.
    metadata: for all of them; it outranks the columns of a CSV list, and these outrank the tags of a file. threads: how
    many decode, None for one per processor. show: whether to show progress.
    """
    adding = _Adding(into, dict(metadata or {}), show)
    missing = [recording for recording in recordings if not adding.is_known(recording)]
    adding.rename()
    if missing:
        adding.run(missing, open_network(), threads)
    return adding.report


def listed(names: Sequence[str], *, sample_rate_hz: int) -> list[NewRecording]:
    """Lists the recordings behind names, each once.

    names: files, folders, lists (.txt .m3u .csv), corpus folders, patterns such as "*.mp3", or "-" as `matching` has
    it. A list that cannot be read is a recording that fails, beside others. Raises errors.Invalid for a name that is
    none of these, and if nothing is left.
    """
    recordings: dict[str, NewRecording] = {}
    refused: dict[str, errors.Error] = {}
    for path in matching(names):
        try:
            for recording in _behind(path, sample_rate_hz):
                recordings.setdefault(recording.source.name, recording)
        except errors.Error as error:
            refused[path] = error
    if refused and not recordings:
        raise next(iter(refused.values()))
    failing = [NewRecording(corpus.refused(path, str(error)), False, {}) for path, error in refused.items()]
    return [*recordings.values(), *failing]


def _behind(path: str, sample_rate_hz: int) -> Iterator[NewRecording]:
    """Yields the recordings behind a path."""
    is_file = not (os.path.isdir(path) and building.is_corpus(path))
    columns = _columns(path) if path.lower().endswith(".csv") else {}
    for source in corpus.sources(path, sample_rate_hz=sample_rate_hz):
        yield NewRecording(source, is_file, columns.get(source.name, {}))


def matching(names: Sequence[str]) -> list[str]:
    """Returns the paths behind names and patterns. "-" reads names from standard input, one a line.

    Raises errors.Invalid for a name that matches nothing.
    """
    lines = _from_stdin() if "-" in names else []
    paths = []
    for name in [name for name in (*names, *lines) if name not in ("-", "")]:
        matches = [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True))
        if not matches:
            raise errors.Invalid(f"{name}: no such file, folder, list or pattern of audio; nothing was added")
        paths += matches
    return paths


def _from_stdin() -> list[str]:
    """Reads names from standard input as `list_text` reads a list: file names are bytes, in any encoding."""
    stream = getattr(sys.stdin, "buffer", None)
    data = stream.read() if stream else sys.stdin.read().encode(errors="surrogateescape")
    return list_text.names(list_text.text(data, "standard input"), "standard input", os.getcwd())


class _Adding:
    """One run, with what is known of each file on its way through decoder, network and database."""

    def __init__(self, into: writer.DatabaseWriter, metadata: dict[str, str], show: bool):
        self.report = AddReport()
        self._writer, self._metadata, self._show = into, metadata, show
        self._renamed: dict[str, str] = {}  # New name by present name, until `rename`.
        self._notes: list[tuple[writer.SourceFile, str]] = []  # Files and their tracks, until `rename`.
        self._files: dict[str, writer.SourceFile] = {}
        self._decoded: dict[str, tuple[str, dict[str, str]]] = {}  # Name -> digest of the audio, metadata.

    def is_known(self, recording: NewRecording) -> bool:
        """Returns whether the database holds a recording, by name or by the bytes of its file, and notes it if so."""
        book, name = self._writer.catalogue, recording.source.name
        metadata = dict(recording.metadata) | self._metadata
        if not recording.is_file:
            return self._note_known(None, name, name, metadata) if book.has_name(name) else False
        stamp = _stamp(name)
        if stamp is None:
            return False
        if track := book.by_source(name, *stamp):
            return self._note_known(None, name, track, metadata, is_noted=True)
        if not book.has_size(stamp[0]):
            return False
        file = self._files[name] = _read_through(name, stamp)
        track = book.by_content(file.n_bytes, file.digest)
        return self._note_known(file, name, track, metadata) if track else False

    def rename(self) -> None:
        """Renames all tracks that were found in other files than before, after these files.

        Files are noted after that: until then, what was noted before says which track had which name.
        """
        if self._renamed:
            self.report.replaced += self._writer.rename(self._renamed)
            self.report.renamed += self._renamed.items()
        for file, track in self._notes:
            self._writer.note_source(file, self._renamed.get(track, track))
        self._renamed, self._notes = {}, []

    def run(self, recordings: Sequence[NewRecording], network: protocol.Network, threads: int | None) -> None:
        """Fingerprints recordings and adds each as soon as it is done."""
        by_name = {recording.source.name: recording for recording in recordings}
        sources = [
            recording.source._replace(blocks=functools.partial(self._blocks, recording)) for recording in recordings
        ]
        total_s = sum(source.seconds for source in sources)
        with progress.Progress(total_s, "s of audio", label="add", show=self._show) as shown:
            try:
                for outcome in stream.fingerprints(
                    sources, network, threads=threads, with_peaks=self._writer.peak_bytes > 0
                ):
                    remark = self._take(outcome)
                    if remark:
                        shown.note(f"{outcome.name}: {remark}")
                    shown.add(by_name[outcome.name].source.seconds)
            except KeyboardInterrupt:
                shown.note(f"stopped; {len(self.report.added)} tracks were added, the same command goes on")
                raise

    def _note_known(
        self,
        file: writer.SourceFile | None,
        name: str,
        track: str,
        metadata: Mapping[str, str],
        *,
        is_noted: bool = False,
    ) -> bool:
        """Notes that the audio of a track is in a file, whose name the track gets if it lost its own. Returns True.

        metadata: what is known of the recording now, which replaces what was known before. is_noted: whether an earlier
        run has noted that the file holds this audio.
        """
        if file:
            self._notes.append((file, track))
        if track != name and track not in self._renamed and not self._is_there(track):
            self._renamed[track] = name
        if track == name:
            self.report.unchanged += 1
            self._describe(track, metadata)
        elif self._renamed.get(track) == name:
            self._describe(track, metadata)
        elif is_noted:
            self.report.unchanged += 1
        else:
            self.report.known.append((name, track))
        return True

    def _is_there(self, track: str) -> bool:
        """Returns whether the file that a track is named after still holds its audio.

        A name that was never seen as a file here, such as one from a merge, counts as there.
        """
        noted, stamp = self._writer.catalogue.source(track), _stamp(track)
        if noted is None:
            return True
        if stamp is None or stamp[0] != noted[0]:
            return False
        return stamp[1] == noted[1] or _read_through(track, stamp).digest == noted[2]

    def _describe(self, track: str, metadata: Mapping[str, str]) -> None:
        """Writes metadata of a track that is there, if they differ from what is known of it."""
        if not metadata:
            return
        known = self._writer.catalogue.track(track).metadata
        if any(known.get(key, "") != str(value) for key, value in metadata.items()):
            self._writer.describe(track, metadata)
            self.report.described.append(track)

    def _blocks(self, recording: NewRecording) -> Iterator[np.ndarray]:
        """Digests the audio on its way to the network. Runs in a thread of its own for each file."""
        name = recording.source.name
        digest = hashlib.sha256()
        stamp = _stamp(name) if recording.is_file else None
        noted = self._files.get(name)
        if stamp and (noted is None or (noted.n_bytes, noted.changed_ns) != stamp):
            self._files[name] = _read_through(name, stamp)
        for block in recording.source.blocks():
            digest.update(decode.to_int16(block).tobytes())
            yield block
        if stamp and _stamp(name) != stamp:
            self._files.pop(name)  # Its bytes may be others than those that were heard: the next call reads it anew.
        own_tags = tags.read(name) if stamp else {}
        self._decoded[name] = digest.hexdigest(), own_tags | dict(recording.metadata) | self._metadata

    def _take(self, outcome: stream.TrackOutcome) -> str:
        """Adds a fingerprinted recording, and returns a remark about it or ""."""
        name, file = outcome.name, self._files.pop(outcome.name, None)
        digest, metadata = self._decoded.pop(name, ("", {}))
        if outcome.reason:
            self.report.failures.append((name, outcome.reason))
            return f"skipped: {outcome.reason}"
        if track := self._writer.catalogue.by_digest(digest):
            self._note_known(file, name, track, metadata)
            is_here = name in (track, self._renamed.get(track))
            self.rename()
            return "" if is_here else f"there already, the same audio as {track}"
        replaces = self._writer.catalogue.has_name(name)
        self._writer.append(
            name,
            outcome.seconds,
            outcome.vectors,
            peaks=outcome.peaks,
            digest=digest,
            metadata=metadata,
            damage=outcome.damage,
            source=file,
            replace=True,
        )
        return self._note_added(outcome, replaces)

    def _note_added(self, outcome: stream.TrackOutcome, replaces: bool) -> str:
        report = self.report
        report.added.append(outcome.name)
        report.n_rows += len(outcome.vectors)
        report.seconds += outcome.seconds
        if replaces:
            report.replaced.append(outcome.name)
        if outcome.damage:
            report.damaged.append((outcome.name, outcome.damage))
        return f"damaged: {outcome.damage}" if outcome.damage else ""


def _columns(path: str) -> dict[str, dict[str, str]]:
    """Reads the further columns of a CSV list: metadata by path."""
    tracks = manifest.read(path)
    return {track.path: {key: value for key, value in track.extra if value} for track in tracks}


def _stamp(path: str) -> tuple[int, int] | None:
    """Returns the size of a file in bytes and the time of its last change in ns.

    None if it is missing or empty, and for a pipe or a device: /proc/kmsg looks empty and waits for ever.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return None
    return status.st_size, status.st_mtime_ns


def _read_through(path: str, stamp: tuple[int, int]) -> writer.SourceFile:
    """Digests the bytes of a file, which its decoder then finds in memory. The decoder reports unreadable files."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except OSError:
        return writer.SourceFile(path, *stamp, "")
    return writer.SourceFile(path, *stamp, digest.hexdigest())
