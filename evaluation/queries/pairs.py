"""Recordings become pairs of clean and degraded sound on disk, to train from (see nafp.corpora.static_pairs).

Every recording is rendered whole, several times over: the song_mine system's static method with
stretches of a second, AMG-Embedding's variants of a clip with stretches of 30. A stretch keeps one
condition, one noise, one room.
"""

import collections
import contextlib
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import static_pairs as stored
from nafp.jobs import progress

from . import conditions, excerpts, folder, material
from . import render as queries

_logger = logging.getLogger(__name__)
# Noise before or after the room, as in training; the last as the original has it, of one response.
CONDITIONS = ("n0~10.room.mic", "room.n0~10.mic", "n0~10.mic", "n0~10.room")
VARIANTS = 10  # AMG-Embedding's: nine and the clean one.
STRETCH_S = 30.0
SHORTEST_S = 1.0  # Of a recording, and of its last stretch: a segment.
QUIETEST = 1e-3  # RMS, -60 dB: a stretch below is silence, and stays as it is.


class Stretch(NamedTuple):
    number: int  # Of the recording.
    piece: material.Piece
    place: int  # Which stretch of it.
    n_places: int
    first_s: float
    seconds: float


class _Rendered(NamedTuple):
    """clean: int16 [S]; variants: int16 [V, S]; failure: why there is nothing."""

    clean: np.ndarray | None
    variants: list[np.ndarray]
    details: list[dict[str, str]]
    failure: str = ""


def render(
    source: material.Material,
    noise: material.Material,
    out: str | os.PathLike,
    *,
    splits: Sequence[str] = ("train",),
    names: Sequence[str] = CONDITIONS,
    count: int = 0,
    variants: int = VARIANTS,
    seconds: float = STRETCH_S,
    sample_rate_hz: int = 8000,
    seed: int = 0,
    jobs: int = 0,
    show: bool = False,
) -> str:
    """Renders `variants` degraded versions of every recording of the splits; says what is there.

    names: conditions that keep time; clip and variant take turns through them. count: at most so
    many recordings of a split, 0 for all. seconds: what keeps one condition. Noise and responses
    are of the recording's split, where it has them. Goes on with what an interruption left; recordings that cannot be
    decoded are named and left out. Raises ValueError before any work when something is missing.
    """
    if variants < 1 or seconds < SHORTEST_S:
        raise errors.Invalid(f"{variants} variants of {seconds:g} s given; at least 1 of {SHORTEST_S:g} s")
    chain = queries.parse(names, unshifted=True)
    around = _surroundings(noise, chain, splits)
    pieces = [piece for split in splits for piece in _chosen(source, split, count, seed)]
    if len({piece.name for piece in pieces}) < len(pieces):
        raise errors.Invalid(f"{source.path}: says no splits, or one name twice; give one --split")
    settings = {"names": list(names), "variants": variants, "seconds": seconds, "seed": seed}
    settings |= {"sample_rate_hz": sample_rate_hz, "pieces": folder.digest(pieces)}
    settings |= {"noise": folder.digest(noise.pieces), "source": os.path.abspath(source.path)}
    writer = stored.Writer(out, settings)
    if writer.is_finished:
        return _described(out)

    def one(stretch: Stretch) -> _Rendered:
        return _render(source, stretch, chain, around, variants, sample_rate_hz, seed)

    with contextlib.closing(writer):
        _fill(writer, pieces, one, seconds=seconds, jobs=jobs or os.cpu_count(), show=show)
        writer.finish()
    return _described(out)


def _surroundings(
    noise: material.Material, chain: Sequence[conditions.Condition], splits: Sequence[str]
) -> dict[str, material.Surroundings]:
    """Gives each split its own noise and responses, or, as training does, those of the first."""
    found = {splits[0]: queries.surroundings_of(noise, chain, splits[0])}
    for split in splits[1:]:
        try:
            found[split] = queries.surroundings_of(noise, chain, split)
        except ValueError as error:
            reason = str(error).partition("; it has")[0]
            _logger.warning("%s: takes those of %s", reason, splits[0])
            found[split] = found[splits[0]]
    return found


def _chosen(source: material.Material, split: str, count: int, seed: int) -> list[material.Piece]:
    music = source.select(kind="music", split=split)
    found = [p for p in music if p.n_samples >= SHORTEST_S * p.sample_rate_hz]
    if not found:
        raise errors.Invalid(
            f"{source.path}: {len(music)} tracks of music of split {split}, none of them as long as"
            f" {SHORTEST_S:g} s; choose another --split"
        )
    if not count or count >= len(found):
        return [piece._replace(split=split) for piece in found]
    kept = np.sort(np.random.default_rng([seed, len(found)]).permutation(len(found))[:count])
    return [found[i]._replace(split=split) for i in kept]


def _stretches(pieces: Sequence[material.Piece], done: Iterable[int], seconds: float) -> Iterator[Stretch]:
    for number, piece in enumerate(pieces):
        if number in done:
            continue
        total_s = piece.n_samples / piece.sample_rate_hz
        starts = np.arange(0, max(total_s - SHORTEST_S, 1e-9), seconds).tolist()
        # What is left too short at the end belongs to the stretch before.
        for place, (first_s, end_s) in enumerate(zip(starts, [*starts[1:], total_s])):
            yield Stretch(number, piece, place, len(starts), first_s, end_s - first_s)


def _fill(
    writer: stored.Writer,
    pieces: Sequence[material.Piece],
    one: Callable[[Stretch], _Rendered],
    *,
    seconds: float,
    jobs: int,
    show: bool,
) -> None:
    minutes = [piece.n_samples / piece.sample_rate_hz / 60 for piece in pieces]
    done = sum(minutes[number] for number in writer.done)
    trouble, details = "", []
    with progress.Progress(sum(minutes), "min of music", label="pairs", done=done, show=show) as bar:
        try:
            for stretch, made in _in_order(one, _stretches(pieces, writer.done, seconds), jobs):
                if not made.failure:
                    writer.append(made.clean, made.variants)
                    details += made.details
                elif not trouble:  # Once a recording: where a file is cut off, all after it is gone.
                    trouble = f"from {stretch.first_s:.0f} s on: {made.failure}"
                    _logger.warning("left out: %s %s", stretch.piece.name, trouble)
                bar.add(stretch.seconds / 60)
                if stretch.place == stretch.n_places - 1:
                    about = {"path": stretch.piece.name, "split": stretch.piece.split}
                    writer.close_track(stretch.number, **about, trouble=trouble, details=details)
                    trouble, details = "", []
        except KeyboardInterrupt:
            bar.note(f"stopped; what is done stays in {writer.folder}, the same command goes on")
            raise


def _in_order(
    one: Callable[[Stretch], _Rendered], stretches: Iterator[Stretch], jobs: int
) -> Iterator[tuple[Stretch, _Rendered]]:
    """Runs in threads, a few stretches ahead: a set of any size needs the memory of those."""
    pool = futures.ThreadPoolExecutor(jobs)
    waiting: collections.deque[tuple[Stretch, futures.Future]] = collections.deque()
    try:
        for stretch in stretches:
            waiting.append((stretch, pool.submit(one, stretch)))
            if len(waiting) > 2 * jobs:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _render(
    source: material.Material,
    stretch: Stretch,
    chain: Sequence[conditions.Condition],
    around: dict[str, material.Surroundings],
    variants: int,
    sample_rate_hz: int,
    seed: int,
) -> _Rendered:
    piece, rate = stretch.piece, stretch.piece.sample_rate_hz
    try:
        samples, begin_s = _read(source, stretch)
    except errors.Undecodable as error:
        return _Rendered(None, [], [], error.reason)
    n_samples = int(stretch.seconds * sample_rate_hz + 1e-6)
    head = segments.to_samples(stretch.first_s - begin_s, rate)
    there = segments.to_samples(stretch.seconds, rate)

    def cut(sound: np.ndarray) -> np.ndarray:
        sound = decode.resample(sound, from_hz=rate, to_hz=sample_rate_hz)
        first = segments.to_samples(stretch.first_s - begin_s, sample_rate_hz)
        kept = sound[first:][:n_samples]
        kept = np.pad(kept, (0, n_samples - len(kept)))
        return decode.to_int16(kept / np.float32(max(1.0, np.abs(kept).max(initial=0.0))))

    heard = samples[head : head + there]
    is_silent = np.sqrt(np.square(heard, dtype=np.float64).mean()) < QUIETEST
    made, details = [], []
    for variant in range(variants):
        condition = chain[(stretch.number + stretch.place + variant) % len(chain)]
        take = conditions.Take(samples, rate, head, there)
        with contextlib.suppress(errors.Silent):
            if not is_silent:
                keys = [seed, stretch.number, stretch.place, variant]
                rng = np.random.default_rng([*keys, zlib.crc32(condition.name.encode())])
                condition.settled(rng).apply(take, rng, around[piece.split])
        made.append(cut(take.samples))
        place = {"start_s": f"{stretch.first_s:g}", "variant": str(variant)}
        details.append({**place, "condition": "" if is_silent else condition.name, **take.notes})
    return _Rendered(cut(samples), made, details)


def _read(source: material.Material, stretch: Stretch) -> tuple[np.ndarray, int]:
    """Reads a stretch and what is heard before and after it; gives it and the second it begins.

    A whole second: there, samples of any two rates coincide, so that stretches join without a seam.
    """
    rate = stretch.piece.sample_rate_hz
    begin_s = max(0, int(stretch.first_s - excerpts.CONTEXT_S))
    end_s = stretch.first_s + stretch.seconds + excerpts.FLUSH_S
    first, last = begin_s * rate, segments.to_samples(end_s, rate)
    n_samples = min(last, stretch.piece.n_samples) - first
    samples = source.read(stretch.piece, first=first, n_samples=n_samples)
    if len(samples) <= segments.to_samples(stretch.first_s - begin_s, rate):
        raise errors.Undecodable(stretch.piece.name, "ends before")  # As its header did not say.
    return samples, begin_s


def _described(out: str | os.PathLike) -> str:
    made = stored.Pairs(out)
    return f"{out}: {made.corpus.summary()}, each in {len(made.variants)} degraded variants"
