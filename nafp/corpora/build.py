"""Builds a corpus folder: decodes in parallel, goes on after a kill, replaces its tables as a whole."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence

import numpy as np

from nafp import errors
from nafp.audio import loudness
from nafp.corpora import journal, manifest, tracks_table
from nafp.corpora import parts as packing
from nafp.jobs import progress, worker_processes

LOUDNESS, FINISHED = "loudness.npy", "corpus.json"
_RESPONSES = ("room", "microphone")
_FREE_BYTES = 64 << 20  # Left on the disk.


def build(
    tracks: Sequence[manifest.Track],
    folder: str,
    *,
    sample_rate_hz: int,
    jobs: int,
    show: bool,
) -> bool:
    """Brings a folder up to date with the tracks; returns whether anything had to be done."""
    _check(tracks, folder, sample_rate_hz)
    os.makedirs(folder, exist_ok=True)
    cell = tracks_table.cell_of(sample_rate_hz)
    with (
        journal.locked(folder),
        contextlib.closing(journal.Journal(folder, sample_rate_hz=sample_rate_hz, cell=cell)) as book,
    ):
        todo = _missing(tracks, book, sample_rate_hz)
        if not todo and _stands(folder, *_tables(folder, tracks, book, sample_rate_hz)):
            return False
        _check_space(todo, tracks, folder, sample_rate_hz)
        _decode(todo, tracks, book, jobs, show)
        _finish(folder, *_tables(folder, tracks, book, sample_rate_hz), book.n_samples)
        book.drop_parts()
        return True


def is_corpus(folder: str | os.PathLike) -> bool:
    """Tells whether this is a corpus folder, finished or not."""
    names = (FINISHED, journal.JOURNAL)
    return any(os.path.isfile(os.path.join(folder, name)) for name in names)


def _check(tracks: Sequence[manifest.Track], folder: str, sample_rate_hz: int) -> None:
    if not tracks:
        raise errors.Invalid(f"{folder}: no tracks to build it from; nafp corpus scan finds some")
    if sample_rate_hz < 1000:
        raise errors.Invalid(f"sample_rate_hz {sample_rate_hz} given; 8000 is usual, 1000 the least")
    manifest.check_unique(tracks, folder)
    others = set(os.listdir(folder)) - {".lock", journal.PARTS} if os.path.isdir(folder) else ()
    if others and not is_corpus(folder):
        raise errors.Invalid(f"{folder}: holds other files and is no corpus; choose a new folder")


def _missing(tracks: Sequence[manifest.Track], book: journal.Journal, sample_rate_hz: int) -> list[packing.Job]:
    """Lists what is not decoded yet, or has changed since.

    A file that is gone but was decoded stays: the corpus may outlive what it was made of.
    """
    parts, todo = os.path.join(book.folder, journal.PARTS), []
    for track in tracks:
        stamp, response = packing.stamp(track.path), track.kind in _RESPONSES
        known = book.entries.get(track.path)
        same = known and known.response == response and known.stamp == stamp
        kept = known and known.response == response and stamp is None and not known.failure
        if not (same or kept):
            todo.append(packing.Job(track.path, stamp, response, sample_rate_hz, parts))
    return todo


def _check_space(todo: list[packing.Job], tracks: Sequence[manifest.Track], folder: str, sample_rate_hz: int) -> None:
    seconds = {track.path: track.seconds for track in tracks}
    needed = int(2 * sample_rate_hz * sum(seconds[job.path] for job in todo))
    free = shutil.disk_usage(folder).free - _FREE_BYTES
    if needed > free:
        raise errors.Invalid(f"{folder}: needs {needed / 1e9:.1f} GB, {max(0, free) / 1e9:.1f} GB free on its disk")


def _decode(
    todo: list[packing.Job],
    tracks: Sequence[manifest.Track],
    book: journal.Journal,
    jobs: int,
    show: bool,
) -> None:
    """Decodes what is missing and hands it to the journal in the order of the manifest."""
    outcomes = {job: packing.finished(job) for job in todo}  # Parts of a killed build.
    fresh = [job for job in todo if outcomes[job] is None]
    amount, total, unit = _amounts(tracks)
    before = total - sum(amount[job.path] for job in fresh)
    with progress.Progress(total, unit, label="corpus", done=before, show=show) as bar:
        results = worker_processes.run(
            packing.pack, fresh, jobs=jobs, done=lambda index: bar.add(amount[fresh[index].path])
        )
        try:
            for job in todo:
                outcome = outcomes[job] or next(results)
                if isinstance(outcome, worker_processes.Crash):
                    outcome = packing.Outcome(failure=outcome.reason)
                book.take(job, outcome)
        except KeyboardInterrupt:
            bar.note(f"stopped; what is decoded stays in {book.folder}, the next build goes on")
            raise
        finally:
            results.close()
            book.commit()


def _amounts(tracks: Sequence[manifest.Track]) -> tuple[dict[str, float], float, str]:
    """Chooses what progress counts: minutes of audio where all are known, else tracks."""
    if all(track.seconds for track in tracks):
        amounts = {track.path: track.seconds / 60 for track in tracks}
        return amounts, sum(amounts.values()), "min of audio"
    return {track.path: 1 for track in tracks}, len(tracks), "tracks"


def _tables(
    folder: str, tracks: Sequence[manifest.Track], book: journal.Journal, sample_rate_hz: int
) -> tuple[list[tracks_table.CorpusTrack], dict]:
    """Says what belongs into tracks.csv and into corpus.json."""
    entries = book.entries
    reasons = {path: entry.failure for path, entry in entries.items() if entry.failure}
    reasons |= dict(book.passing_failures)
    failed = [[track.path, reasons[track.path]] for track in tracks if track.path in reasons]
    kept = [track for track in tracks if track.path not in reasons]
    if not kept:
        some = "; ".join(f"{path}: {reason}" for path, reason in failed[:3])
        raise errors.Invalid(f"{folder}: none of {len(tracks)} files can be decoded: {some}")
    damaged = [[track.path, entries[track.path].damage] for track in kept]
    about = {
        "format": journal.FORMAT,
        "sample_rate_hz": sample_rate_hz,
        "manifest_sha256": _digest(tracks),
        "failures": failed,
        "damaged": [row for row in damaged if row[1]],
    }
    return [_packed(track, entries[track.path]) for track in kept], about


def _stands(folder: str, rows: list[tracks_table.CorpusTrack], about: dict) -> bool:
    """Tells whether the folder is finished with just these tables."""
    try:
        with open(os.path.join(folder, FINISHED), encoding="utf-8") as file:
            return json.load(file) == about and tracks_table.read(folder) == rows
    except FileNotFoundError:
        return False


def _finish(folder: str, rows: list[tracks_table.CorpusTrack], about: dict, n_samples: int) -> None:
    """Writes loudness, table and corpus.json, in this order, each as a whole."""
    _extend_loudness(folder, n_samples, tracks_table.cell_of(about["sample_rate_hz"]))
    tracks_table.write(folder, rows)
    _replace(os.path.join(folder, FINISHED), json.dumps(about, indent=1).encode())


def _packed(track: manifest.Track, entry: journal.Entry) -> tracks_table.CorpusTrack:
    place = (entry.first_sample, entry.n_samples)
    return tracks_table.CorpusTrack(track.path, track.kind, track.split, track.group, *place)


def _extend_loudness(folder: str, n_samples: int, cell: int) -> None:
    """Measures what the present table does not cover; samples are only ever appended."""
    path = os.path.join(folder, LOUDNESS)
    known = np.load(path) if os.path.exists(path) else np.empty(0, np.float16)
    samples = np.memmap(os.path.join(folder, journal.SAMPLES), "<i2", "r", shape=(n_samples,))
    new = loudness.measure(samples[len(known) * cell :], cell=cell)
    with open(path + ".part", "wb") as file:
        np.save(file, np.concatenate([known, new])[: n_samples // cell])
    os.replace(path + ".part", path)


def _digest(tracks: Sequence[manifest.Track]) -> str:
    rows = [(track.path, track.kind, track.split, track.group) for track in tracks]
    return hashlib.sha256(repr(rows).encode(errors="surrogateescape")).hexdigest()


def _replace(path: str, data: bytes) -> None:
    with open(path + ".part", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".part", path)
