"""Files of audio -> tracks of a database: decoded in parallel, fingerprinted in batches, safe one by one.

What is there is skipped: the same file unchanged without opening it, the same bytes under another name without
decoding them, the same audio (another container, other tags) before it is written.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, tags
from nafp.corpora import build, corpus, manifest
from nafp.database import database
from nafp.database import writer as writing
from nafp.fingerprints import stream
from nafp.jobs import progress
from nafp.weights import sources as trained

_NUMPY_BATCH = 32  # What nafp.models.numpy_network takes at once.
_READ_BYTES = 2**20


class Report(NamedTuple):
    """What adding did. added: names; seconds, n_rows: of those. unchanged: how many were there from the same file.

    replaced: names whose audio was another before. known: (path, track with the same audio). failures, damaged:
    (path, reason) of files that gave nothing, or less than promised.
    """

    added: list[str]
    n_rows: int
    seconds: float
    unchanged: int
    replaced: list[str]
    known: list[tuple[str, str]]
    failures: list[tuple[str, str]]
    damaged: list[tuple[str, str]]


class Input(NamedTuple):
    """A recording to be added. is_file: its name is a file's, and its audio that file's; metadata: from a list."""

    source: corpus.Source
    is_file: bool
    metadata: Mapping[str, str]


def add(
    opened: database.Database,
    named: Sequence[str],
    *,
    metadata: Mapping[str, str] | None = None,
    runtime: str = "auto",
    batch_size: int = 0,
    threads: int | None = None,
    show: bool = True,
) -> Report:
    """Adds recordings: files, folders, lists (.txt .m3u .csv), corpus folders, patterns such as "*.mp3".

    metadata: for all of them; beside it count a CSV list's own columns, and the files' tags. threads: that decode; None
    for one per processor. Each track is safe once it is reported as done; stopped at any time, the same call goes on.
    Raises ValueError before work starts for what is no audio, errors.Locked while another process writes.
    """
    inputs = listed(named, sample_rate_hz=opened.about["sample_rate_hz"])
    with opened.writer() as writer:
        adding = _Adding(writer, dict(metadata or {}), show)
        left = adding.unknown(inputs)
        try:
            if left:
                network = opened.network(runtime=runtime, batch_size=batch_size)
                adding.run(left, network, threads)
        finally:
            opened.refresh()
    return adding.report


def listed(named: Sequence[str], *, sample_rate_hz: int) -> list[Input]:
    """Lists the recordings behind names, each once. Raises ValueError for a name that is nothing."""
    found: dict[str, Input] = {}
    for path in matching(named):
        is_file = not (os.path.isdir(path) and build.is_corpus(path))
        extra = _columns(path) if path.lower().endswith(".csv") else {}
        for source in corpus.sources(path, sample_rate_hz=sample_rate_hz):
            found.setdefault(source.name, Input(source, is_file, extra.get(source.name, {})))
    return list(found.values())


def matching(named: Sequence[str]) -> list[str]:
    """Gives the paths behind names and patterns; "-" reads them from standard input, one a line.

    Raises ValueError for what matches nothing.
    """
    lines = (line.rstrip("\n") for line in sys.stdin) if "-" in named else ()
    found = []
    for name in [each for each in (*named, *lines) if each not in ("-", "")]:
        paths = [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True))
        if not paths:
            raise errors.Invalid(f"{name}: no such file, folder, list or pattern of audio; nothing was added")
        found += paths
    return found


def parsed(tags: Sequence[str]) -> dict[str, str]:
    """Reads metadata given as KEY=VALUE. Raises ValueError for anything else."""
    pairs = [tag.partition("=") for tag in tags]
    for key, equals, value in pairs:
        if not key or not equals:
            raise errors.Invalid(f"--tag={key}{value}: KEY=VALUE is needed, such as --tag=artist=Somebody")
    return {key: value for key, _, value in pairs}


def describe(report: Report, folder: str | os.PathLike, *, n_tracks: int, wall_s: float) -> str:
    """Closing lines: what was added and how fast, what was there, which files gave nothing or less than promised."""
    speed = f", {report.seconds / max(wall_s, 1e-9):.0f} x real time" if report.seconds else ""
    lines = [
        f"{folder}: {len(report.added)} tracks added ({report.seconds:.0f} s of audio in {wall_s:.1f} s{speed}); "
        f"{n_tracks} tracks"
    ]
    if report.unchanged:
        lines.append(f"{report.unchanged} were there already")
    known = [(path, f"the same audio as {track}") for path, track in report.known]
    replaced = [(name, "has other audio than before") for name in report.replaced]
    parts = (
        ("there under another name", known),
        ("replaced", replaced),
        ("skipped", report.failures),
        ("damaged", report.damaged),
    )
    for what, files in parts:
        if files:
            lines.append(f"{len(files)} {what}:")
            lines += [f"  {path}: {why}" for path, why in files[:20]]
        if len(files) > 20:
            lines.append(f"  and {len(files) - 20} more")
    return "\n".join(lines)


class _Adding:
    """One run: what is known of each file on its way through decoder, network and database."""

    def __init__(self, writer: writing.Writer, metadata: dict[str, str], show: bool):
        self.report = Report([], 0, 0.0, 0, [], [], [], [])
        self._writer, self._metadata, self._show = writer, metadata, show
        self._files: dict[str, writing.SourceFile] = {}
        self._heard: dict[str, tuple[str, dict[str, str]]] = {}  # Digest of the audio, tags.

    def unknown(self, inputs: list[Input]) -> list[Input]:
        """Leaves out what is there by name or by the bytes of its file."""
        return [each for each in inputs if not self._is_there(each)]

    def run(self, inputs: list[Input], network: Any, threads: int | None) -> None:
        """Fingerprints recordings and adds each as soon as it is through."""
        by_name = {each.source.name: each for each in inputs}
        sources = [each.source._replace(blocks=functools.partial(self._blocks, each)) for each in inputs]
        total_s = sum(source.seconds for source in sources)
        with progress.Progress(total_s, "s of audio", label="add", show=self._show) as shown:
            try:
                for outcome in stream.fingerprints(sources, network, threads=threads):
                    said = self._take(outcome, by_name[outcome.name])
                    if said:
                        shown.note(f"{outcome.name}: {said}")
                    shown.add(by_name[outcome.name].source.seconds)
            except KeyboardInterrupt:
                shown.note(f"stopped; {len(self.report.added)} tracks were added, the same command goes on")
                raise

    def _is_there(self, one: Input) -> bool:
        book, name = self._writer.catalogue, one.source.name
        if not one.is_file:
            return self._count_unchanged(name) if book.has_name(name) else False
        stamp = _stamp(name)
        if stamp is None:
            return False
        if track := book.by_source(name, *stamp):
            return self._count_unchanged(track)
        if not book.has_size(stamp[0]):
            return False
        file = self._files[name] = _read_through(name, stamp)
        track = book.by_content(file.n_bytes, file.digest)
        if track and (track == name or not book.has_name(name)):
            self._note_known(file, name, track)
            return True
        return False

    def _count_unchanged(self, track: str) -> bool:
        self.report = self.report._replace(unchanged=self.report.unchanged + 1)
        if self._metadata:
            self._writer.describe(track, self._metadata)
        return True

    def _note_known(self, file: writing.SourceFile | None, name: str, track: str) -> None:
        if file:
            self._writer.note_source(file, track)
        if track == name:
            self._count_unchanged(track)
        else:
            self.report.known.append((name, track))

    def _blocks(self, one: Input) -> Iterator[np.ndarray]:
        """Listens to the audio on its way to the network; runs in a thread of its own for each file."""
        name = one.source.name
        heard = hashlib.sha256()
        stamp = _stamp(name) if one.is_file else None
        if stamp and name not in self._files:
            self._files[name] = _read_through(name, stamp)
        for block in one.source.blocks():
            heard.update(decode.to_int16(block).tobytes())
            yield block
        found = tags.read(name) if stamp else {}
        self._heard[name] = heard.hexdigest(), found | dict(one.metadata) | self._metadata

    def _take(self, outcome: stream.TrackOutcome, one: Input) -> str:
        """Adds what became of a recording; returns what there is to say about it."""
        name, file = outcome.name, self._files.pop(outcome.name, None)
        digest, metadata = self._heard.pop(name, ("", {}))
        if outcome.reason:
            self.report.failures.append((name, outcome.reason))
            return f"skipped: {outcome.reason}"
        if track := self._writer.catalogue.by_digest(digest):
            self._note_known(file, name, track)
            return "" if track == name else f"there already, the same audio as {track}"
        replaces = self._writer.catalogue.has_name(name)
        self._writer.append(
            name,
            outcome.seconds,
            outcome.vectors,
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
        self.report = report._replace(
            n_rows=report.n_rows + len(outcome.vectors), seconds=report.seconds + outcome.seconds
        )
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
    """Gives size and time of change of a file in ns; None when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _read_through(path: str, stamp: tuple[int, int]) -> writing.SourceFile:
    """Reads the bytes of a file, which its decoder then finds in memory; unreadable ones are for that to report."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except OSError:
        return writing.SourceFile(path, *stamp, "")
    return writing.SourceFile(path, *stamp, digest.hexdigest())


def open_or_create(
    folder: str | os.PathLike, *, checkpoint: str | None = None, storage: str | None = None, hop_s: float | None = None
) -> database.Database:
    """Opens a database, or makes one with this network ("small" by default), storage and hop.

    Raises ValueError when one that is there is of another network, storage or hop.
    """
    if not (Path(folder) / database.catalogue.FILE).exists():
        return database.Database.create(
            folder, network=checkpoint or "small", storage=storage or "float16", hop_s=hop_s
        )
    opened = database.Database.open(folder)
    about = opened.about
    for what, asked, there in (
        ("storage", storage, about.get("wanted") or about["storage"]),
        ("hop_s", hop_s, about["hop_s"]),
    ):
        if asked is not None and asked != there:
            raise errors.Invalid(
                f"{folder}: its {what} is {there}, not {asked}: leave the flag out, or name a new folder"
            )
    if checkpoint is not None:
        asked = trained.load(checkpoint).identity["sha256"]
        if asked != about["network"]["sha256"]:
            raise errors.Invalid(
                f"{folder}: was made with {about['network']['source']}, not with {checkpoint}: fingerprints of two "
                "networks cannot be compared. Leave --checkpoint out, or name a new folder"
            )
    return opened
