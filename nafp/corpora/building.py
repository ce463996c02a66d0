"""Builds a corpus folder: decodes in parallel, continues after a kill, and replaces each table as a whole."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from nafp import errors
from nafp.audio import loudness
from nafp.corpora import journal, manifest, parts, tracks_table
from nafp.jobs import plain_files, progress, whole_files, worker_processes

LOUDNESS, FINISHED = "loudness.npy", "corpus.json"
_RESPONSES = ("room", "microphone")
_FREE_BYTES = 64 << 20  # So much of the disk stays free.
# A file of fewer bytes a second holds nearly silence, or its length is not true: 4 kbit/s.
_LEAST_BYTES_PER_S = 500


def build(
    tracks: Sequence[manifest.Track],
    folder: str,
    *,
    sample_rate_hz: int,
    jobs: int,
    show: bool,
) -> bool:
    """Brings a folder up to date with the tracks. Returns whether anything had to be done."""
    _check(tracks, folder, sample_rate_hz)
    os.makedirs(folder, exist_ok=True)
    cell = tracks_table.cell_of(sample_rate_hz)
    with (
        journal.locked(folder),
        contextlib.closing(journal.CorpusJournal(folder, sample_rate_hz=sample_rate_hz, cell=cell)) as book,
    ):
        todo = _missing(tracks, book, sample_rate_hz)
        if not todo and _is_finished(folder, *_tables(folder, tracks, book, sample_rate_hz), book.n_samples // cell):
            return False
        _check_space(todo, tracks, folder, sample_rate_hz)
        _decode(todo, tracks, book, jobs, show)
        _finish(folder, *_tables(folder, tracks, book, sample_rate_hz), book.n_samples)
        book.drop_parts()
        return True


def is_corpus(folder: str | os.PathLike) -> bool:
    """Returns whether this is a corpus folder, finished or not."""
    names = (FINISHED, journal.JOURNAL)
    return any(os.path.isfile(os.path.join(folder, name)) for name in names)


def _check(tracks: Sequence[manifest.Track], folder: str, sample_rate_hz: int) -> None:
    if not tracks:
        raise errors.Invalid(f"{folder}: no tracks to build it from; nafp corpus scan finds some")
    if sample_rate_hz < 1000:
        raise errors.Invalid(f"sample_rate_hz {sample_rate_hz} given; 8000 is usual, 1000 the least")
    manifest.check_unique(tracks, folder)
    others = set(os.listdir(folder)) - {journal.LOCK, journal.PARTS} if os.path.isdir(folder) else ()
    if others and not is_corpus(folder):
        raise errors.Invalid(f"{folder}: holds other files and is no corpus; choose a new folder")


def _missing(tracks: Sequence[manifest.Track], book: journal.CorpusJournal, sample_rate_hz: int) -> list[parts.Job]:
    """Returns the tracks that are not decoded yet, or have changed since.

    A track that was decoded stays in the corpus when its file is gone.
    """
    folder, todo = os.path.join(book.folder, journal.PARTS), []
    for track in tracks:
        stamp, response = parts.stamp(track.path), track.kind in _RESPONSES
        entry = book.entries.get(track.path)
        is_decoded = entry is not None and entry.response == response
        if entry is not None and is_decoded:
            is_decoded = entry.stamp == stamp or (stamp is None and not entry.failure)
        if not is_decoded:
            todo.append(parts.Job(track.path, stamp, response, sample_rate_hz, folder))
    return todo


def _check_space(todo: list[parts.Job], tracks: Sequence[manifest.Track], folder: str, sample_rate_hz: int) -> None:
    """Raises errors.Invalid if the samples do not fit on the disk.

    A stated length that a file of its size cannot have is not counted in full.
    """
    seconds = {track.path: track.seconds for track in tracks}
    lengths = [min(seconds[job.path], (job.stamp or (0, 0))[0] / _LEAST_BYTES_PER_S) for job in todo]
    needed = int(2 * sample_rate_hz * sum(lengths))
    free = shutil.disk_usage(folder).free - _FREE_BYTES
    if needed > free:
        raise errors.Invalid(f"{folder}: needs {needed / 1e9:.1f} GB, {max(0, free) / 1e9:.1f} GB free on its disk")


def _decode(
    todo: list[parts.Job],
    tracks: Sequence[manifest.Track],
    book: journal.CorpusJournal,
    jobs: int,
    show: bool,
) -> None:
    """Decodes the tracks of `todo` and hands them to the journal in this order, which is that of the manifest."""
    outcomes = {job: parts.finished(job) for job in todo}  # A killed build may have left finished parts.
    undecoded = [job for job in todo if outcomes[job] is None]
    amount, total, unit = _amounts(tracks)
    done = total - sum(amount[job.path] for job in undecoded)
    with progress.Progress(total, unit, label="corpus", done=done, show=show) as bar:
        results = worker_processes.run(
            parts.pack, undecoded, jobs=jobs, done=lambda index: bar.add(amount[undecoded[index].path])
        )
        try:
            for job in todo:
                outcome = outcomes[job] or next(results)
                if isinstance(outcome, worker_processes.Crash):
                    outcome = parts.PartOutcome(failure=outcome.reason)
                book.take(job, outcome)
        except KeyboardInterrupt:
            bar.note(f"stopped; what is decoded stays in {book.folder}, the next build goes on")
            raise
        finally:
            results.close()
            book.commit()


def _amounts(tracks: Sequence[manifest.Track]) -> tuple[dict[str, float], float, str]:
    """Returns the amount of each path, their sum and the unit: minutes of audio if all are known, else tracks."""
    if all(track.seconds for track in tracks):
        amounts = {track.path: track.seconds / 60 for track in tracks}
        return amounts, sum(amounts.values()), "min of audio"
    return {track.path: 1 for track in tracks}, len(tracks), "tracks"


def _tables(
    folder: str, tracks: Sequence[manifest.Track], book: journal.CorpusJournal, sample_rate_hz: int
) -> tuple[list[tracks_table.CorpusTrack], dict[str, Any]]:
    """Returns the content of tracks.csv and of corpus.json."""
    entries = book.entries
    reasons = {path: entry.failure for path, entry in entries.items() if entry.failure}
    reasons |= dict(book.passing_failures)
    failed = [[track.path, reasons[track.path]] for track in tracks if track.path in reasons]
    decoded = [track for track in tracks if track.path not in reasons]
    if not decoded:
        examples = "; ".join(f"{path}: {reason}" for path, reason in failed[:3])
        raise errors.Invalid(f"{folder}: none of {len(tracks)} files can be decoded: {examples}")
    damaged = [[track.path, entries[track.path].damage] for track in decoded]
    about = {
        "format": journal.FORMAT,
        "sample_rate_hz": sample_rate_hz,
        "manifest_sha256": _digest(tracks),
        "failures": failed,
        "damaged": [row for row in damaged if row[1]],
    }
    return [_packed(track, entries[track.path]) for track in decoded], about


def _is_finished(folder: str, rows: list[tracks_table.CorpusTrack], about: dict[str, Any], n_cells: int) -> bool:
    """Returns whether the folder is finished and holds exactly these tables, and the loudness of all cells."""
    try:
        present = plain_files.json_object(os.path.join(folder, FINISHED))
        is_same = present == about and tracks_table.read(folder) == rows
        return is_same and len(_measured(folder, n_cells)) == n_cells
    except (FileNotFoundError, errors.Invalid):  # What is damaged is written anew.
        return False


def _finish(folder: str, rows: list[tracks_table.CorpusTrack], about: dict[str, Any], n_samples: int) -> None:
    """Writes loudness, table and corpus.json, each as a whole. corpus.json is last, because it means finished."""
    _extend_loudness(folder, n_samples, tracks_table.cell_of(about["sample_rate_hz"]))
    tracks_table.write(folder, rows)
    write_finished(folder, about)


def write_finished(folder: str, about: dict[str, Any]) -> None:
    """Writes corpus.json, which makes the folder a finished corpus."""
    with whole_files.opened(os.path.join(folder, FINISHED), encoding="utf-8") as file:
        json.dump(about, file, indent=1)


def _packed(track: manifest.Track, entry: journal.Entry) -> tracks_table.CorpusTrack:
    return tracks_table.CorpusTrack(
        track.path, track.kind, track.split, track.group, entry.first_sample, entry.n_samples
    )


def _extend_loudness(folder: str, n_samples: int, cell: int) -> None:
    """Measures the samples that the present table does not cover. Samples are only ever appended."""
    old = _measured(folder, n_samples // cell)
    samples = np.memmap(os.path.join(folder, journal.SAMPLES), "<i2", "r", shape=(n_samples,))
    new = loudness.measure(samples[len(old) * cell :], cell=cell)
    with whole_files.opened(os.path.join(folder, LOUDNESS), "wb") as file:
        np.save(file, np.concatenate([old, new]))


def _measured(folder: str, n_cells: int) -> np.ndarray:
    """Returns the loudness that is measured already, float16 [C], C at most n_cells. A damaged file holds none."""
    try:
        table = plain_files.array(os.path.join(folder, LOUDNESS))
    except (FileNotFoundError, errors.Invalid):
        return np.empty(0, np.float16)
    return table[:n_cells] if table.ndim == 1 and table.dtype == np.float16 else np.empty(0, np.float16)


def _digest(tracks: Sequence[manifest.Track]) -> str:
    rows = [(track.path, track.kind, track.split, track.group) for track in tracks]
    return hashlib.sha256(repr(rows).encode(errors="surrogateescape")).hexdigest()
