"""Renders pairs of clean and degraded recordings to train from (see nafp.corpora.static_pairs).

Every recording is rendered as a whole, several times. It is cut into parts, and each part keeps one condition, one
noise and one room. Parts of a second are the static method of the song_mine system; parts of 30 s are AMG-Embedding's
variants of a clip.
"""

import collections
import contextlib
import functools
import logging
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import static_pairs
from nafp.jobs import processors, progress

from . import conditions, excerpts, folder, material, rendering

_logger = logging.getLogger(__name__)
# The noise comes before or after the room, as in training. The last is the original's, with one response.
CONDITIONS = ("n0~10.room.mic", "room.n0~10.mic", "n0~10.mic", "n0~10.room")
VARIANTS = 10  # AMG-Embedding has nine and the clean one.
STRETCH_S = 30.0  # Length of a part.
SHORTEST_S = 1.0  # Of a recording, and of its last part: one segment.
QUIETEST = 1e-3  # RMS, -60 dB. A quieter part is silence and is not degraded.


class RecordingPart(NamedTuple):
    """Part `place` of the `n_places` parts of recording `number`."""

    number: int
    piece: material.Piece
    place: int
    n_places: int
    first_s: float
    seconds: float


class Clip(NamedTuple):
    """A stretch of a recording, from second start_s on, and its degraded versions.

    samples: int16 [1 + versions, S], the clean one first. failure: why there are none, "" if there are.
    """

    track: str
    start_s: float
    samples: np.ndarray
    failure: str = ""


class RenderedPart(NamedTuple):
    """A part and its degraded variants, int16 [S] each. failure: why there are none, "" if there are."""

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
    noise_split: str = "",
    names: Sequence[str] = CONDITIONS,
    count: int = 0,
    variants: int = VARIANTS,
    seconds: float = STRETCH_S,
    sample_rate_hz: int = 8000,
    seed: int = 0,
    jobs: int = 0,
    show: bool = False,
) -> str:
    """Renders `variants` degraded versions of every recording of the splits, and returns a summary to print.

    names: conditions that keep time; parts and variants take turns through them. count: largest number of recordings of
    a split, 0 for all. seconds: length of a part. Noise and responses are of `noise_split`, by default of the
    recording's split, if that has any. After an interruption, the rest is rendered. Recordings that cannot be decoded
    are logged and left out. Raises errors.Invalid before any work if something is missing.
    """
    if variants < 1 or seconds < SHORTEST_S:
        raise errors.Invalid(f"{variants} variants of {seconds:g} s given; at least 1 of {SHORTEST_S:g} s is needed")
    chain = rendering.parse(names, unshifted=True)
    surroundings = surroundings_by_split(noise, chain, splits, noise_split)
    pieces = [piece for split in splits for piece in chosen(source, split, count, seed)]
    if len({piece.name for piece in pieces}) < len(pieces):
        raise errors.Invalid(f"{source.path}: has no splits, or one name twice; give one --split")
    settings = {"names": list(names), "variants": variants, "seconds": seconds, "seed": seed}
    settings |= {"sample_rate_hz": sample_rate_hz, "pieces": folder.digest(pieces)}
    settings |= {"noise": folder.digest(noise.pieces), "source": os.path.abspath(source.path)}
    settings |= {"noise_split": noise_split} if noise_split else {}
    writer = static_pairs.PairsWriter(out, settings)
    if writer.is_finished:
        return _described(out)

    def rendered(part: RecordingPart) -> RenderedPart:
        return rendered_part(source, part, chain, surroundings[part.piece.split], variants, sample_rate_hz, seed)

    with contextlib.closing(writer):
        _fill(writer, pieces, rendered, seconds=seconds, jobs=jobs or processors.count(), show=show)
        writer.finish()
    return _described(out)


def clips(
    source: material.Material,
    noise: material.Material,
    *,
    split: str,
    noise_split: str = "",
    names: Sequence[str] = CONDITIONS,
    count: int = 0,
    per_track: int = 0,
    variants: int = VARIANTS - 1,
    seconds: float = STRETCH_S,
    sample_rate_hz: int = 8000,
    seed: int = 0,
    jobs: int = 0,
    done: Collection[tuple[str, float]] = (),
) -> tuple[int, Iterator[Clip]]:
    """Renders stretches of `seconds` in `variants` degraded versions, in memory. Returns their number and the clips.

    noise_split, names: as for `render`. count: number of clips, drawn among all, 0 for all. per_track: largest number
    of one recording's clips, evenly spaced, 0 for all. done: (track, start_s) of clips to leave out. Raises
    errors.Invalid if no recording of the split is long enough.
    """
    chain = rendering.parse(names, unshifted=True)
    surroundings = surroundings_by_split(noise, chain, [split], noise_split)[split]
    parts = [
        part
        for number, piece in enumerate(chosen(source, split, 0, seed))
        for part in _whole_parts(number, piece, seconds, per_track)
    ]
    if not parts:
        raise errors.Invalid(f"{source.path}: no music of split {split} is as long as {seconds:g} s; shorten --seconds")
    if count and count < len(parts):
        drawn = np.sort(np.random.default_rng([seed, len(parts)]).permutation(len(parts))[:count])
        parts = [parts[i] for i in drawn]
    left = [part for part in parts if (part.piece.name, part.first_s) not in done]

    def rendered(part: RecordingPart) -> RenderedPart:
        return rendered_part(source, part, chain, surroundings, variants, sample_rate_hz, seed)

    return len(parts), (_as_clip(*entry) for entry in _in_order(rendered, iter(left), jobs or processors.count()))


def clips_from(source: str, noise: str = "", **settings: Any) -> tuple[int, Iterator[Clip]]:
    """Calls `clips` on the material at two paths. Without `noise`, noise and responses are of the source, too."""
    opened = material.Material(source)
    return clips(opened, material.Material(noise, kind="noise") if noise else opened, **settings)


def _whole_parts(number: int, piece: material.Piece, seconds: float, most: int) -> list[RecordingPart]:
    """Returns the parts of a recording that are of full length, or `most` of them, evenly spaced."""
    n = int(piece.n_samples / piece.sample_rate_hz / seconds + 1e-9)
    places = range(n) if not most or n <= most else [int((i + 0.5) * n / most) for i in range(most)]
    return [RecordingPart(number, piece, place, n, place * seconds, seconds) for place in places]


def _as_clip(part: RecordingPart, result: RenderedPart) -> Clip:
    failure = result.failure
    if not failure and result.details and not result.details[0]["condition"]:
        failure = "silence"
    samples = np.zeros((0, 0), np.int16) if result.clean is None else np.stack([result.clean, *result.variants])
    return Clip(part.piece.name, part.first_s, samples, failure)


def surroundings_by_split(
    noise: material.Material, chain: Sequence[conditions.Condition], splits: Sequence[str], noise_split: str
) -> dict[str, material.Surroundings]:
    """Returns the surroundings of each split: its own, or, as in training, those of the first split.

    noise_split: the split to take for all of them, "" for none.
    """
    if noise_split:
        return dict.fromkeys(splits, rendering.surroundings_of(noise, chain, noise_split))
    surroundings = {splits[0]: rendering.surroundings_of(noise, chain, splits[0])}
    for split in splits[1:]:
        try:
            surroundings[split] = rendering.surroundings_of(noise, chain, split)
        except errors.Invalid as error:
            reason = str(error).partition("; it has")[0]
            _logger.warning("%s: takes those of %s", reason, splits[0])
            surroundings[split] = surroundings[splits[0]]
    return surroundings


def chosen(source: material.Material, split: str, count: int, seed: int) -> list[material.Piece]:
    """Draws `count` recordings of a split, in the order of the source."""
    music = source.select(kind="music", split=split)
    pieces = [p for p in music if p.n_samples >= SHORTEST_S * p.sample_rate_hz]
    if not pieces:
        raise errors.Invalid(
            f"{source.path}: {len(music)} tracks of music of split {split}, none of them as long as"
            f" {SHORTEST_S:g} s; choose another --split"
        )
    if not count or count >= len(pieces):
        return [piece._replace(split=split) for piece in pieces]
    drawn = np.sort(np.random.default_rng([seed, len(pieces)]).permutation(len(pieces))[:count])
    return [pieces[i]._replace(split=split) for i in drawn]


def _parts(pieces: Sequence[material.Piece], done: Iterable[int], seconds: float) -> Iterator[RecordingPart]:
    """Yields the parts of all recordings that are not done, in order."""
    for number, piece in enumerate(pieces):
        if number in done:
            continue
        total_s = piece.n_samples / piece.sample_rate_hz
        starts = np.arange(0, max(total_s - SHORTEST_S, 1e-9), seconds).tolist()
        # A rest that is too short belongs to the part before it.
        for place, (first_s, end_s) in enumerate(zip(starts, [*starts[1:], total_s])):
            yield RecordingPart(number, piece, place, len(starts), first_s, end_s - first_s)


def _fill(
    writer: static_pairs.PairsWriter,
    pieces: Sequence[material.Piece],
    rendered: Callable[[RecordingPart], RenderedPart],
    *,
    seconds: float,
    jobs: int,
    show: bool,
) -> None:
    """Renders and writes all parts in order, and closes each recording after its last part."""
    minutes = [piece.n_samples / piece.sample_rate_hz / 60 for piece in pieces]
    done = sum(minutes[number] for number in writer.done)
    trouble: str = ""
    details: list[dict[str, str]] = []
    with progress.Progress(sum(minutes), "min of music", label="pairs", done=done, show=show) as bar:
        try:
            for part, result in _in_order(rendered, _parts(pieces, writer.done, seconds), jobs):
                if result.clean is not None:
                    writer.append(result.clean, result.variants)
                    details += result.details
                elif not trouble:  # Once per recording: after the end of a cut-off file, every part fails.
                    trouble = f"from {part.first_s:.0f} s on: {result.failure}"
                    _logger.warning("left out: %s %s", part.piece.name, trouble)
                bar.add(part.seconds / 60)
                if part.place == part.n_places - 1:
                    writer.close_track(
                        part.number, path=part.piece.name, split=part.piece.split, trouble=trouble, details=details
                    )
                    trouble, details = "", []
        except KeyboardInterrupt:
            bar.note(f"stopped; {writer.folder} keeps what is done, and the same command continues")
            raise


def _in_order(
    rendered: Callable[[RecordingPart], RenderedPart], parts: Iterator[RecordingPart], jobs: int
) -> Iterator[tuple[RecordingPart, RenderedPart]]:
    """Yields parts and their results in order. Threads work a few parts ahead, which bounds the memory."""
    pool = futures.ThreadPoolExecutor(jobs)
    waiting: collections.deque[tuple[RecordingPart, futures.Future]] = collections.deque()
    try:
        for part in parts:
            waiting.append((part, pool.submit(rendered, part)))
            if len(waiting) > 2 * jobs:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def rendered_part(
    source: material.Material,
    part: RecordingPart,
    chain: Sequence[conditions.Condition],
    surroundings: material.Surroundings,
    variants: int,
    sample_rate_hz: int,
    seed: int,
) -> RenderedPart:
    """Renders one part and its variants."""
    rate = part.piece.sample_rate_hz
    try:
        samples, begin_s = _read(source, part)
    except errors.Undecodable as error:
        return RenderedPart(None, [], [], error.reason)
    head = segments.to_samples(part.first_s - begin_s, rate)
    length = segments.to_samples(part.seconds, rate)
    cut = functools.partial(_cut, part=part, begin_s=begin_s, rate=rate, sample_rate_hz=sample_rate_hz)
    is_silent = np.sqrt(np.square(samples[head : head + length], dtype=np.float64).mean()) < QUIETEST
    degraded, details = [], []
    for variant in range(variants):
        condition = chain[(part.number + part.place + variant) % len(chain)]
        take = conditions.Take(samples, rate, head, length, name=part.piece.name)
        with contextlib.suppress(errors.Silent):
            if not is_silent:
                keys = [seed, part.number, part.place, variant]
                rng = np.random.default_rng([*keys, zlib.crc32(condition.name.encode())])
                condition.settled(rng).apply(take, rng, surroundings)
        degraded.append(cut(take.samples))
        place = {"start_s": f"{part.first_s:g}", "variant": str(variant)}
        details.append({**place, "condition": "" if is_silent else condition.name, **take.notes})
    return RenderedPart(cut(samples), degraded, details)


def _cut(samples: np.ndarray, *, part: RecordingPart, begin_s: int, rate: int, sample_rate_hz: int) -> np.ndarray:
    """Resamples samples that begin at second begin_s, and cuts the part out: int16 [S]."""
    samples = decode.resample(samples, from_hz=rate, to_hz=sample_rate_hz)
    n_samples = int(part.seconds * sample_rate_hz + 1e-6)
    samples = samples[segments.to_samples(part.first_s - begin_s, sample_rate_hz) :][:n_samples]
    samples = np.pad(samples, (0, n_samples - len(samples)))
    return decode.to_int16(samples / np.float32(max(1.0, np.abs(samples).max(initial=0.0))))


def _read(source: material.Material, part: RecordingPart) -> tuple[np.ndarray, int]:
    """Reads a part with context before and after it. Returns the samples and the second at which they begin.

    That is a whole second: there, samples of any two rates coincide, so that parts join without a seam.
    """
    rate = part.piece.sample_rate_hz
    begin_s = max(0, int(part.first_s - excerpts.CONTEXT_S))
    end_s = part.first_s + part.seconds + excerpts.FLUSH_S
    first, last = begin_s * rate, segments.to_samples(end_s, rate)
    n_samples = min(last, part.piece.n_samples) - first
    samples = source.read(part.piece, first=first, n_samples=n_samples)
    if len(samples) <= segments.to_samples(part.first_s - begin_s, rate):
        raise errors.Undecodable(part.piece.name, "ends before")  # The header promises more than there is.
    return samples, begin_s


def _described(out: str | os.PathLike) -> str:
    finished = static_pairs.Pairs(out)
    return f"{out}: {finished.corpus.summary()}, each in {len(finished.variants)} degraded variants"
