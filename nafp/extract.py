"""Checkpoint + corpus -> store: resumable, and shared by several processes where there are several.

A track is written when its last row is there. What is finished survives a kill; the next start goes on after it.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from nafp import processes, streaming
from nafp.audio import corpus, progress
from nafp.models import network
from nafp.search import store


class Report(NamedTuple):
    """What an extraction did. failures, damaged: (track, reason) of files that gave nothing, or less than promised."""

    n_tracks: int
    n_rows: int
    seconds: float
    failures: list[tuple[str, str]]
    damaged: list[tuple[str, str]]


def extract(
    extractor: network.Extractor,
    source: str,
    folder: str,
    *,
    name: str,
    identity: dict[str, Any],
    split: str | None = None,
    overwrite: bool = False,
) -> Report:
    """Fingerprints every track of `source` into STORE/name; see `nafp extract --help` for what a source may be.

    Goes on with an unfinished store of the same model. Under jax.distributed every process calls this and does its
    share; process 0 makes the one store of it, and has the report of all. Raises FileExistsError for a finished store
    unless `overwrite`, ValueError when there is nothing to fingerprint or the unfinished store is of something else.
    """
    tracks = _listed(source, extractor.sample_rate_hz, split)
    about = dict(
        dim=extractor.dim, meta=store_meta(extractor.config, identity), overwrite=overwrite
    )
    job = _Job(extractor, source, tracks, pathlib.Path(folder), name, about)
    return _with_others(job) if jax.process_count() > 1 else _alone(job)


def store_meta(config: ml_collections.ConfigDict, identity: dict[str, Any]) -> dict[str, Any]:
    """Returns what a store says of itself: rate, hop, the model's identity, the whole configuration."""
    return {
        "sample_rate_hz": config.audio.sample_rate_hz,
        "segment_s": config.audio.segment_s,
        "hop_s": config.audio.hop_s,
        "model": identity,
        "config": config.to_dict(),
    }


def describe(report: Report, folder: str | pathlib.Path, name: str, *, wall_s: float) -> str:
    """Closing lines: what is there, how fast it was done, and which files gave nothing, or less than promised."""
    there = store.Store.open(folder, name)
    now = f", {report.n_tracks} tracks now" if report.n_tracks < len(there.tracks) else ""
    lines = [
        f"{folder}/{name}: {len(there.tracks)} tracks, {len(there)} fingerprints{now}; {report.seconds:.0f} s of audio "
        f"in {wall_s:.1f} s ({report.seconds / max(wall_s, 1e-9):.0f} x real time)"
    ]
    for what, files in (("skipped", report.failures), ("damaged", report.damaged)):
        if files:
            lines.append(f"{len(files)} {what}:")
            lines += [f"  {track}: {reason}" for track, reason in files[:20]]
        if len(files) > 20:
            lines.append(f"  and {len(files) - 20} more, named above")
    return "\n".join(lines)


class _Job(NamedTuple):
    """What is to be done. about: how its stores are opened for writing."""

    extractor: network.Extractor
    source: str
    tracks: list[corpus.Source]
    folder: pathlib.Path
    name: str
    about: dict[str, Any]

    @property
    def parts(self) -> pathlib.Path:
        """Where several processes leave their shares of the store."""
        return self.folder / f"{self.name}.parts"

    def open(self, path: pathlib.Path) -> store.Writer:
        """Opens an unfinished store, new or begun; raises ValueError when it was begun with another source."""
        writer = store.Writer(path.parent, path.name, **self.about)
        strangers = writer.done - {track.name for track in self.tracks}
        if not strangers:
            return writer
        writer.close()
        raise ValueError(
            f"{path}: was begun with another source: {len(strangers)} of its tracks are not in {self.source}, such as "
            f"{min(strangers)}; finish it with that source, write under another name, or remove {path}.journal"
        )


def _listed(source: str, sample_rate_hz: int, split: str | None) -> list[corpus.Source]:
    """Lists the tracks, each once: playlists repeat themselves, stores do not."""
    tracks = corpus.sources(source, sample_rate_hz=sample_rate_hz, split=split)
    once = list({track.name: track for track in tracks}.values())
    if len(once) < len(tracks):
        print(f"{source}: {len(tracks) - len(once)} of {len(tracks)} tracks are repetitions")
    return once


def _alone(job: _Job) -> Report:
    where = job.folder / job.name
    with job.open(where) as writer:
        report = _fill(writer, job.tracks, job.extractor, where)
        _finish(writer, report, job)
    return report


def _fill(
    writer: store.Writer,
    tracks: list[corpus.Source],
    extractor: network.Extractor,
    where: pathlib.Path,
) -> Report:
    """Adds those tracks that the store has not."""
    left = [track for track in tracks if track.name not in writer.done]
    if len(left) < len(tracks):
        print(f"{where}: goes on; {len(tracks) - len(left)} of {len(tracks)} tracks are there")
    seconds = {track.name: track.seconds for track in tracks}
    total_s, left_s = sum(seconds.values()), sum(track.seconds for track in left)
    reports = []
    with progress.Progress(total_s, "s of audio", done=total_s - left_s) as shown:
        for outcome in streaming.fingerprints(left, extractor):
            if not outcome.reason:
                writer.append(outcome.name, outcome.seconds, outcome.vectors)
            for what, why in (("skipped", outcome.reason), ("damaged", outcome.damage)):
                if why:
                    shown.note(f"{what} {outcome.name}: {why}")
            shown.add(seconds[outcome.name])
            reports.append(_told(outcome))
    return _total(reports)


def _told(outcome: streaming.Outcome) -> Report:
    if outcome.reason:
        return Report(0, 0, 0.0, [(outcome.name, outcome.reason)], [])
    damaged = [(outcome.name, outcome.damage)] if outcome.damage else []
    return Report(1, len(outcome.vectors), outcome.seconds, [], damaged)


def _total(reports: Sequence[Report]) -> Report:
    return Report(
        sum(report.n_tracks for report in reports),
        sum(report.n_rows for report in reports),
        sum(report.seconds for report in reports),
        [tuple(failure) for report in reports for failure in report.failures],
        [tuple(damage) for report in reports for damage in report.damaged],
    )


def _finish(writer: store.Writer, report: Report, job: _Job) -> None:
    if not writer.n_rows:
        reasons = "; ".join(f"{track}: {reason}" for track, reason in report.failures[:5])
        raise ValueError(
            f"{job.source}: none of its {len(job.tracks)} tracks gave a fingerprint. {reasons}"
        )
    writer.finish()
    shutil.rmtree(job.parts, ignore_errors=True)


def _with_others(job: _Job) -> Report:
    """Does this process' share into STORE/NAME.parts; process 0 then makes STORE/NAME of the shares.

    The store is the one that a single process would have written, row for row. Killed, it is resumed by as many
    processes as before. All must see the same folder.
    """
    me, n = jax.process_index(), jax.process_count()
    shares = [job.parts / f"{i}-of-{n}" for i in range(n)]
    with contextlib.ExitStack() as opened:
        with processes.together("begin"):  # Before the work: whether the store may be written.
            whole = opened.enter_context(job.open(job.folder / job.name)) if me == 0 else None
            part = opened.enter_context(job.open(shares[me]))
        with processes.together("extract"):
            report = _fill(part, job.tracks[me::n], job.extractor, shares[me])
            part.close()
            shares[me].with_suffix(".json").write_text(json.dumps(report))
        with processes.together("put together"):
            if whole is not None:
                told = [json.loads(share.with_suffix(".json").read_text()) for share in shares]
                report = _total([Report(*each) for each in told])
                _put_together(whole, shares, job)
                _finish(whole, report, job)
    return report


def _put_together(whole: store.Writer, shares: list[pathlib.Path], job: _Job) -> None:
    """Copies the tracks out of the shares, which are unfinished stores, in their order in the source."""
    found = {}
    for share in shares:
        with job.open(share) as part:
            rows = np.zeros((0, job.extractor.dim), np.float32)
            if part.n_rows:  # An empty file cannot be mapped.
                shape = (part.n_rows, job.extractor.dim)
                rows = np.memmap(f"{share}.mm.part", "<f4", "r", shape=shape)
            found |= {track.track: (track, rows) for track in part.tracks}
    for track, rows in (found[track.name] for track in job.tracks if track.name in found):
        if track.track not in whole.done:
            vectors = rows[track.first_row : track.first_row + track.n_rows]
            whole.append(track.track, track.seconds, vectors)
