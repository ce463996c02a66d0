"""Fingerprints the tracks of a source into a store: resumable, and shared by several processes where there are several.

A track is written when its last row is computed. Finished tracks survive a kill, and the next start goes on after them.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from nafp import errors
from nafp.corpora import corpus
from nafp.fingerprints import heard, hosts, shares, stream
from nafp.identify import asking
from nafp.jobs import progress, shown
from nafp.models import protocol
from nafp.search import store

_MOST_NAMED = 20  # Files of each kind that `describe` names.


class ExtractionReport(NamedTuple):
    """Counts of an extraction: tracks and rows written now, and seconds of their audio.

    failures: (track, reason) of files that gave no fingerprint. damaged: (track, reason) of files that held less than
    their headers promise.
    """

    n_tracks: int
    n_rows: int
    seconds: float
    failures: list[tuple[str, str]]
    damaged: list[tuple[str, str]]


def extract(
    extractor: protocol.Network,
    source: str,
    folder: str,
    *,
    name: str,
    split: str | None = None,
    overwrite: bool = False,
    speed: float = 1.0,
    shifts: int = 1,
    hop_s: float | None = None,
    short: str = "auto",
    share: tuple[int, int] | None = None,
    join: bool = False,
) -> ExtractionReport:
    """Fingerprints every track of `source` into STORE/name, and goes on with an unfinished store of the same network.

    source: a corpus, a folder, a list or a file; see `nafp extract --help`. folder: STORE. split: of a corpus or
    manifest, to take only these tracks. overwrite: whether a finished store may be replaced.
    speed: for queries. 1.04 takes the tracks to play 4 % too fast, and undoes it. At a speed below 1 a clip of one
    segment is less than a segment then. So row 0 of each track is what that clip gives once it is filled up with
    silence, and the track itself begins at row meta["brief_rows"].
    shifts: for queries, the number of rows for each row of a database. hop_s: seconds between rows, None for those of
    the network. short: what becomes of tracks of less than a segment, see `heard.filled_up`.

    share: (number, of how many), to do this share alone, at any time and on any machine that sees the folder. A later
    call with the same parameters and `join` makes one store of all shares, and computes nothing.

    Under jax.distributed every process calls this function and does its share. Process 0 makes one store of the shares
    and returns the report of all. Raises FileExistsError for a finished store unless `overwrite`, ValueError if there
    is nothing to fingerprint, the unfinished store is of something else, or shares are missing or of something else.
    """
    extractor = heard.at_hop(extractor, hop_s)
    tracks = heard.listed(source, heard.rate_at(source, extractor.sample_rate_hz, speed), split)
    tracks = heard.filled_up(tracks, short=short, n_samples=extractor.segment)
    meta = store_meta(extractor.config, extractor.identity)
    if hop_s:
        meta["hop_s"] = hop_s
    if short == "pad":
        meta["short"] = short
    if speed != 1:
        meta["speed"] = speed
    if shifts > 1:
        asking.require_shifts(shifts, hop=extractor.hop)
        meta["hop_s"] /= shifts
        extractor = extractor.at_hop(extractor.hop // shifts)
    if asking.is_filled(round(extractor.segment * speed), segment=extractor.segment):
        n_rows, n_heard = -(-extractor.segment // extractor.hop), round(extractor.segment * speed)
        meta["brief_rows"] = n_rows
        places = {"n_heard": n_heard, "n_samples": n_rows * extractor.hop}
        tracks = [heard.after_its_beginning(track, **places) for track in tracks]
    job = _Job(extractor, source, tracks, pathlib.Path(folder), name, meta, overwrite)
    if join:
        return _joined(job)
    if share:
        return _share(job, shares.Share(*share))
    return _with_others(job) if jax.process_count() > 1 else _alone(job)


def at_speeds(
    extractor: protocol.Network,
    source: str,
    folder: str,
    *,
    name: str,
    speeds: Sequence[str],
    split: str | None = None,
    overwrite: bool = False,
    shifts: int = 1,
    hop_s: float | None = None,
    short: str = "auto",
    share: tuple[int, int] | None = None,
    join: bool = False,
) -> Iterator[tuple[str, ExtractionReport]]:
    """Calls `extract` for each speed and yields (name of the store, report): `query`, `query@0.97` ...

    speeds: numbers in words, or "auto" for 1 and the speeds at which `nafp identify` hears a clip. If some of several
    stores are finished, these are left as they are unless `overwrite`. Other parameters: as of `extract`.
    """
    wanted = {name_at(name, speed): speed for speed in _numbers(speeds)}
    finished = [store_name for store_name in wanted if (pathlib.Path(folder) / f"{store_name}.json").exists()]
    left = wanted
    if finished and len(finished) < len(wanted) and not overwrite:
        print(shown.plain(f"{folder}: {', '.join(finished)} are there"))
        left = {store_name: speed for store_name, speed in wanted.items() if store_name not in finished}
    for store_name, speed in left.items():
        yield (
            store_name,
            extract(
                extractor,
                source,
                folder,
                name=store_name,
                speed=speed,
                split=split,
                overwrite=overwrite,
                shifts=shifts,
                hop_s=hop_s,
                short=short,
                share=share,
                join=join,
            ),
        )


def require(*, name: str, speeds: Sequence[str]) -> None:
    """Raises errors.Invalid for a name and for speeds that no extraction can have, before a network is opened."""
    store.require_name(name)
    for speed in _numbers(speeds):
        heard.require_speed(speed)


def _numbers(speeds: Sequence[str]) -> list[float]:
    if list(speeds) == ["auto"]:
        return [1.0, *asking.SPEEDS]
    try:
        return [float(speed) for speed in speeds]
    except ValueError:
        raise errors.Invalid(f"speeds {','.join(speeds)}: auto, or numbers such as 1,0.97,1.03") from None


def store_meta(config: ml_collections.ConfigDict, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metadata of a store: rate, segment, hop, the network's identity, the whole configuration."""
    return {
        "sample_rate_hz": config.audio.sample_rate_hz,
        "segment_s": config.audio.segment_s,
        "hop_s": config.audio.hop_s,
        "model": dict(identity),
        "config": config.to_dict(),
    }


def describe(report: ExtractionReport, folder: str | pathlib.Path, name: str, *, wall_s: float) -> str:
    """Returns the closing lines: size of the store, speed of the extraction, files that failed or are damaged.

    wall_s: seconds that the extraction took.
    """
    finished = store.Store.open(folder, name)
    now = f", {report.n_tracks} tracks now" if report.n_tracks < len(finished.tracks) else ""
    line = f"{folder}/{name}: {len(finished.tracks)} tracks, {len(finished)} fingerprints{now}; {pace(report, wall_s)}"
    return shown.lines([line, *troubles(report)])


def describe_share(report: ExtractionReport, share: tuple[int, int], name: str, *, wall_s: float) -> str:
    """Returns the closing lines of a share that was done alone, as `describe` does for a store."""
    line = f"{shares.Share(*share)} of {name}: {report.n_tracks} tracks, {report.n_rows} fingerprints now"
    return shown.lines([f"{line}; {pace(report, wall_s)}", *troubles(report)])


def pace(report: ExtractionReport, wall_s: float) -> str:
    """Returns how much audio was fingerprinted in how much time."""
    speed = report.seconds / max(wall_s, 1e-9)
    return f"{report.seconds:.0f} s of audio in {wall_s:.1f} s ({speed:.0f} x real time)"


def troubles(report: ExtractionReport) -> list[str]:
    """Returns lines that name the files that failed or are damaged, the first ones if there are many."""
    lines = []
    for what, files in (("skipped", report.failures), ("damaged", report.damaged)):
        if files:
            lines.append(f"{len(files)} {what}:")
            lines += [f"  {track}: {reason}" for track, reason in files[:_MOST_NAMED]]
        if len(files) > _MOST_NAMED:
            lines.append(f"  and {len(files) - _MOST_NAMED} more, named above")
    return lines


class _Job(NamedTuple):
    """An extraction that is to be done: which tracks, with which network, into which store."""

    extractor: protocol.Network
    source: str
    tracks: list[corpus.Source]
    folder: pathlib.Path
    name: str
    meta: dict[str, Any]
    overwrite: bool

    @property
    def parts(self) -> pathlib.Path:
        """The folder where several processes leave their shares of the store."""
        return self.folder / f"{self.name}.parts"

    def open(self, path: pathlib.Path) -> store.Writer:
        """Opens an unfinished store, new or begun. Raises ValueError if it was begun with another source."""
        writer = store.Writer(path.parent, path.name, dim=self.extractor.dim, meta=self.meta, overwrite=self.overwrite)
        strangers = writer.done - {track.name for track in self.tracks}
        if not strangers:
            return writer
        writer.close()
        raise errors.Invalid(
            f"{path}: was begun with another source: {len(strangers)} of its tracks are not in {self.source}, such as "
            f"{min(strangers)}; finish it with that source, write under another name, or remove {path}.journal"
        )


def name_at(name: str, speed: float) -> str:
    """Returns the name of the store of queries heard at a speed: `query@0.97`, or `query` at their own."""
    return name if speed == 1 else f"{name}@{speed:g}"


def _alone(job: _Job) -> ExtractionReport:
    where = job.folder / job.name
    with job.open(where) as writer:
        report = _fill(writer, job.tracks, job.extractor, where)
        _finish(writer, report, job)
    return report


def _fill(
    writer: store.Writer,
    tracks: list[corpus.Source],
    extractor: protocol.Network,
    where: pathlib.Path,
) -> ExtractionReport:
    """Adds the tracks that the store does not have yet."""
    left = [track for track in tracks if track.name not in writer.done]
    if len(left) < len(tracks):
        print(shown.plain(f"{where}: goes on; {len(tracks) - len(left)} of {len(tracks)} tracks are finished"))
    seconds = {track.name: track.seconds for track in tracks}
    total_s, left_s = sum(seconds.values()), sum(track.seconds for track in left)
    reports = []
    with progress.Progress(total_s, "s of audio", done=total_s - left_s) as bar:
        for outcome in stream.fingerprints(left, extractor):
            if not outcome.reason:
                writer.append(outcome.name, outcome.seconds, outcome.vectors)
            for what, why in (("skipped", outcome.reason), ("damaged", outcome.damage)):
                if why:
                    bar.note(f"{what} {outcome.name}: {why}")
            bar.add(seconds[outcome.name])
            reports.append(counted(outcome))
    return total(reports)


def counted(outcome: stream.TrackOutcome) -> ExtractionReport:
    """Returns the report of one track."""
    if outcome.reason:
        return ExtractionReport(0, 0, 0.0, [(outcome.name, outcome.reason)], [])
    damaged = [(outcome.name, outcome.damage)] if outcome.damage else []
    return ExtractionReport(1, len(outcome.vectors), outcome.seconds, [], damaged)


def total(reports: Sequence[ExtractionReport]) -> ExtractionReport:
    return ExtractionReport(
        sum(report.n_tracks for report in reports),
        sum(report.n_rows for report in reports),
        sum(report.seconds for report in reports),
        [(track, reason) for report in reports for track, reason in report.failures],
        [(track, reason) for report in reports for track, reason in report.damaged],
    )


def _finish(writer: store.Writer, report: ExtractionReport, job: _Job) -> None:
    if not writer.n_rows:
        reasons = "; ".join(f"{track}: {reason}" for track, reason in report.failures[:5])
        raise errors.Invalid(f"{job.source}: none of its {len(job.tracks)} tracks gave a fingerprint. {reasons}")
    writer.finish()
    shutil.rmtree(job.parts, ignore_errors=True)


def _with_others(job: _Job) -> ExtractionReport:
    """Writes this process' share into STORE/NAME.parts. Process 0 then makes STORE/NAME of the shares.

    The store is the one that a single process would have written, row for row. After a kill the same number of
    processes must resume it. All processes must see the same folder.
    """
    me, n = jax.process_index(), jax.process_count()
    everyone, mine = shares.all_of(n), shares.Share(me, n)
    with contextlib.ExitStack() as opened:
        with hosts.together("begin"):  # The store may turn out not to be writable: better before the work.
            whole = opened.enter_context(job.open(job.folder / job.name)) if me == 0 else None
            part = opened.enter_context(job.open(mine.path(job.parts)))
        with hosts.together("extract"):
            report = _fill_share(part, job, mine)
        with hosts.together("put together"):
            if whole is not None:
                report = _put_together(whole, _collected(everyone, job), job)
    return report


def _share(job: _Job, mine: shares.Share) -> ExtractionReport:
    """Writes one share into STORE/NAME.parts, without the others. Raises FileExistsError if the store is finished."""
    store.require_unfinished(job.folder, job.name, overwrite=job.overwrite)
    with job.open(mine.path(job.parts)) as part:
        return _fill_share(part, job, mine)


def _fill_share(part: store.Writer, job: _Job, mine: shares.Share) -> ExtractionReport:
    mine.begin(job.parts)
    report = _fill(part, list(mine.own(job.tracks)), job.extractor, mine.path(job.parts))
    part.close()
    mine.end(job.parts, report)
    return report


def _joined(job: _Job) -> ExtractionReport:
    """Makes STORE/NAME of shares that were done one by one. The store is the one of a single process, row for row."""
    store.require_unfinished(job.folder, job.name, overwrite=job.overwrite)
    collected = _collected(shares.done(job.parts), job)  # Before anything is written.
    with job.open(job.folder / job.name) as whole:
        return _put_together(whole, collected, job)


class _Collected(NamedTuple):
    """What shares hold: their report together, and of each track its entry and the rows of its share."""

    report: ExtractionReport
    tracks: dict[str, tuple[store.TrackRows, np.ndarray]]


def _collected(everyone: list[shares.Share], job: _Job) -> _Collected:
    """Opens the shares, which are unfinished stores. Raises errors.Invalid for one that is not of this job."""
    tracks: dict[str, tuple[store.TrackRows, np.ndarray]] = {}
    reports = [ExtractionReport(*share.read(job.parts)) for share in everyone]
    for share, report in zip(everyone, reports):
        with job._replace(overwrite=False).open(share.path(job.parts)) as part:  # What is of another job stays.
            own = [track.name for track in share.own(job.tracks)]
            shares.require_own(share, own=own, has=part.done, failed=[name for name, _ in report.failures])
            rows = np.zeros((0, job.extractor.dim), np.float32)
            if part.n_rows:  # An empty file cannot be mapped.
                shape = (part.n_rows, job.extractor.dim)
                rows = np.memmap(f"{share.path(job.parts)}.mm.part", "<f4", "r", shape=shape)
            tracks |= {track.track: (track, rows) for track in part.tracks}
    return _Collected(total(reports), tracks)


def _put_together(whole: store.Writer, collected: _Collected, job: _Job) -> ExtractionReport:
    """Copies the tracks out of the shares, in the order of the source."""
    report, tracks = collected
    for track, rows in (tracks[source.name] for source in job.tracks if source.name in tracks):
        if track.track not in whole.done:
            vectors = rows[track.first_row : track.first_row + track.n_rows]
            whole.append(track.track, track.seconds, vectors)
    _finish(whole, report, job)
    return report
