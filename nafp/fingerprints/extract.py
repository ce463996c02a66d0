"""Checkpoint + corpus -> store: resumable, and shared by several processes where there are several.

A track is written when its last row is there. What is finished survives a kill; the next start goes on after it.
"""

from __future__ import annotations

import contextlib
import copy
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from nafp import errors
from nafp.corpora import build, corpus
from nafp.fingerprints import hosts, stream
from nafp.identify import asking
from nafp.jobs import progress
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
    extractor: network.JaxNetwork,
    source: str,
    folder: str,
    *,
    name: str,
    split: str | None = None,
    overwrite: bool = False,
    speed: float = 1.0,
    shifts: int = 1,
) -> Report:
    """Fingerprints every track of `source` into STORE/name; see `nafp extract --help` for what a source may be.

    speed, shifts: for queries. Of speed 1.04 the tracks are taken to play 4 % too fast, which is undone; with shifts 2
    there are two rows for each one of a database. At a speed below 1 row 0 is what a clip of one segment gives: not a
    segment once its speed is undone, and filled up with silence. The track begins at row meta["brief_rows"].

    Goes on with an unfinished store of the same model. Under jax.distributed every process calls this and does its
    share; process 0 makes the one store of it, and has the report of all. Raises FileExistsError for a finished store
    unless `overwrite`, ValueError when there is nothing to fingerprint or the unfinished store is of something else.
    """
    tracks = _listed(source, _heard_at_hz(source, extractor.sample_rate_hz, speed), split)
    meta = store_meta(extractor.config, extractor.identity)
    if speed != 1:
        meta["speed"] = speed
    if shifts > 1:
        meta["hop_s"] /= shifts
        extractor = copy.copy(extractor)
        extractor.hop //= shifts
    if asking.is_filled(round(extractor.segment * speed), segment=extractor.segment):
        meta["brief_rows"] = -(-extractor.segment // extractor.hop)
        brief = dict(n_heard=round(extractor.segment * speed), n_samples=meta["brief_rows"] * extractor.hop)
        tracks = [_after_its_beginning(track, **brief) for track in tracks]
    about = dict(dim=extractor.dim, meta=meta, overwrite=overwrite)
    job = _Job(extractor, source, tracks, pathlib.Path(folder), name, about)
    return _with_others(job) if jax.process_count() > 1 else _alone(job)


def at_speeds(
    extractor: network.JaxNetwork, source: str, folder: str, *, name: str, speeds: Sequence[str], **settings: Any
) -> Iterator[tuple[str, Report]]:
    """Calls `extract` for each speed and yields (name of the store, report): `query`, `query@0.97` ...

    speeds: numbers in words; "auto" for the clip's own and those that `nafp identify` hears. Of several, finished ones
    are left as they are unless `overwrite`.
    """
    wanted = {name_at(name, speed): speed for speed in _numbers(speeds)}
    there = [each for each in wanted if (pathlib.Path(folder) / f"{each}.json").exists()]
    left = wanted
    if there and len(there) < len(wanted) and not settings.get("overwrite"):
        print(f"{folder}: {', '.join(there)} are there")
        left = {each: speed for each, speed in wanted.items() if each not in there}
    for each, speed in left.items():
        yield each, extract(extractor, source, folder, name=each, speed=speed, **settings)


def _numbers(speeds: Sequence[str]) -> list[float]:
    if list(speeds) == ["auto"]:
        return [1.0, *asking.SPEEDS]
    try:
        return [float(speed) for speed in speeds]
    except ValueError:
        raise errors.Invalid(f"speeds {','.join(speeds)}: auto, or numbers such as 1,0.97,1.03") from None


def store_meta(config: ml_collections.ConfigDict, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a store says of itself: rate, hop, the model's identity, the whole configuration."""
    return {
        "sample_rate_hz": config.audio.sample_rate_hz,
        "segment_s": config.audio.segment_s,
        "hop_s": config.audio.hop_s,
        "model": dict(identity),
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

    extractor: network.JaxNetwork
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
        raise errors.Invalid(
            f"{path}: was begun with another source: {len(strangers)} of its tracks are not in {self.source}, such as "
            f"{min(strangers)}; finish it with that source, write under another name, or remove {path}.journal"
        )


def name_at(name: str, speed: float) -> str:
    """Names the store of a query heard at a speed: `query@0.97`, and `query` at its own."""
    return name if speed == 1 else f"{name}@{speed:g}"


def _heard_at_hz(source: str, sample_rate_hz: int, speed: float) -> int:
    """Gives the rate at which audio is decoded to be played at another: that undoes the speed."""
    if not 0.5 <= speed <= 2:
        raise errors.Invalid(f"speed {speed:g}: 0.5 to 2; 1.04 undoes a clip that plays 4 % too fast")
    if speed != 1 and build.is_corpus(source):
        raise errors.Invalid(
            f"{source}: is a corpus, decoded already; at other speeds only files can be heard, such as those of "
            "nafp queries render (--source=QUERIES/list.txt)"
        )
    return round(sample_rate_hz * speed)


def _after_its_beginning(track: corpus.Source, *, n_heard: int, n_samples: int) -> corpus.Source:
    """Puts the first n_heard samples of a track before it, filled up with silence to n_samples, if it has that many."""

    def blocks() -> Iterator[np.ndarray]:
        rest, held = track.blocks(), []
        while sum(map(len, held)) < n_heard and (block := next(rest, None)) is not None:
            held.append(block)
        beginning = np.concatenate([*held, np.empty(0, np.float32)])[:n_heard]
        if len(beginning) == n_heard:
            yield np.pad(beginning, (0, n_samples - n_heard))
        yield from held
        yield from rest

    return track._replace(blocks=blocks)


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
    extractor: network.JaxNetwork,
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
        for outcome in stream.fingerprints(left, extractor):
            if not outcome.reason:
                writer.append(outcome.name, outcome.seconds, outcome.vectors)
            for what, why in (("skipped", outcome.reason), ("damaged", outcome.damage)):
                if why:
                    shown.note(f"{what} {outcome.name}: {why}")
            shown.add(seconds[outcome.name])
            reports.append(_told(outcome))
    return _total(reports)


def _told(outcome: stream.Outcome) -> Report:
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
        raise errors.Invalid(f"{job.source}: none of its {len(job.tracks)} tracks gave a fingerprint. {reasons}")
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
        with hosts.together("begin"):  # Before the work: whether the store may be written.
            whole = opened.enter_context(job.open(job.folder / job.name)) if me == 0 else None
            part = opened.enter_context(job.open(shares[me]))
        with hosts.together("extract"):
            report = _fill(part, job.tracks[me::n], job.extractor, shares[me])
            part.close()
            shares[me].with_suffix(".json").write_text(json.dumps(report))
        with hosts.together("put together"):
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
