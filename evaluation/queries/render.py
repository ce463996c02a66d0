"""References and a seed become query files with ground truth, in a folder (see `rendered`).

The same settings give the same bytes, also after an interruption. Query number i is cut from the
same place under every condition, so that conditions compare in pairs. `time` is the second of
`answer` at which the query starts; `rate` the seconds of it that pass in one second of the query.
"""

import contextlib
import logging
import os
import pathlib
import zlib
from collections.abc import Callable, Sequence
from concurrent import futures

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.jobs import progress

from . import codecs, conditions, excerpts, material
from . import folder as rendered

SHIFT_S = 0.2  # A spliced second starts up to this much off its place (the original's).
_NAME_LENGTH = 60


def render(
    source: material.Material,
    noise: material.Material,
    out: str | os.PathLike,
    *,
    split: str = "test",
    names: Sequence[str] = ("clean",),
    count: int = 100,
    seconds: float = 10.0,
    seed: int = 0,
    spliced: bool = False,
    jobs: int = 0,
    show: bool = False,
    overwrite: bool = False,
) -> rendered.Rows:
    """Renders `count` excerpts under each of the named conditions; returns the expected rows.

    noise: where noise, speech and responses come from. spliced: each second has its own shift,
    noise and responses, as in the original's queries; otherwise a query is one piece.
    jobs: threads, 0 for one per processor. Goes on with what an interruption left; files that
    cannot be decoded are named and others take their place. Raises ValueError before any work when
    something is missing, FileExistsError when the folder holds queries of other settings.
    """
    chain = parse(names, unshifted=spliced)
    if count < 1 or seconds < 1:
        raise errors.Invalid(f"count {count} and seconds {seconds} given; both must be at least 1")
    surroundings = surroundings_of(noise, chain, split)
    chooser = excerpts.Chooser(
        source,
        split=split,
        seconds=seconds * max(condition.rate for condition in chain),
        before_s=SHIFT_S if spliced else excerpts.CONTEXT_S,
        after_s=SHIFT_S if spliced else excerpts.FLUSH_S,
        seed=seed,
    )
    settings = {"names": list(names), "count": count, "seconds": seconds, "split": split}
    settings |= {"seed": seed, "spliced": spliced, **_places(source, noise)}
    folder = rendered.Folder(out, settings, overwrite=overwrite)

    def one(i: int) -> rendered.Rows:
        cut = chooser.excerpt(i)
        rows = []
        for condition in chain:
            try:
                heard = degraded(cut, condition, surroundings, seconds, [seed, i], spliced)
            except errors.Silent as error:
                _left_out(f"query {i}, {condition.name}", error)
                continue
            name = f"q{i:04d}_{condition.name}_{material.stem(cut.piece.name)[:_NAME_LENGTH]}.wav"
            rows.append(_write(folder.path / name, heard, cut.piece, cut.first, condition))
        return rows

    return fill(folder, one, count, len(chain), jobs=jobs, show=show)


def render_aligned(
    source: material.Material,
    noise: material.Material,
    out: str | os.PathLike,
    *,
    split: str = "test",
    names: Sequence[str] = ("clean",),
    seed: int = 0,
    spliced: bool = False,
    jobs: int = 0,
    show: bool = False,
    overwrite: bool = False,
) -> rendered.Rows:
    """Degrades whole tracks in place: row i of a query is row i of its reference.

    The original's protocol. Files keep the name of their track; one condition at a time. Otherwise
    like `render`. Tracks that cannot be decoded, or are silent, are named and left out.
    """
    if len(names) != 1:
        raise errors.Invalid(f"aligned queries are of one condition; {len(names)} given: {names}")
    (condition,) = parse(names, unshifted=True)
    surroundings = surroundings_of(noise, [condition], split)
    pieces = source.select(kind="music", split=split)
    stems = [material.stem(piece.name) for piece in pieces]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise errors.Invalid(f"{source.path}: {len(twice)} names are not unique, such as {twice[0]}")
    if not pieces:
        raise errors.Invalid(f"{source.path}: no music of split {split}; choose another --split")
    settings = {"names": list(names), "split": split, "seed": seed, "spliced": spliced}
    settings |= {"aligned": True, **_places(source, noise)}
    folder = rendered.Folder(out, settings, overwrite=overwrite)

    def one(i: int) -> rendered.Rows:
        piece = pieces[i]
        try:
            cut = excerpts.Excerpt(piece, 0, source.read(piece), 0)
            seconds = len(cut.samples) / piece.sample_rate_hz
            heard = degraded(cut, condition, surroundings, seconds, [seed, i], spliced)
        except (errors.Undecodable, errors.Silent) as error:
            return _left_out(piece.name, error)
        return [_write(folder.path / f"{stems[i]}.wav", heard, piece, 0, condition)]

    return fill(folder, one, len(pieces), 1, jobs=jobs, show=show)


def parse(names: Sequence[str], *, unshifted: bool = False) -> list[conditions.Condition]:
    """Reads condition names; raises ValueError for what is unknown, twice there or not installed.

    unshifted: refuse those that move rows in time.
    """
    chain = [conditions.parse(name) for name in names]
    if twice := {name for name in names if list(names).count(name) > 1}:
        raise errors.Invalid(f"conditions {', '.join(sorted(twice))} are named twice")
    moved = [condition.name for condition in chain if not condition.keeps_time]
    if unshifted and moved:
        raise errors.Invalid(f"{', '.join(moved)} moves rows in time; spliced and aligned queries keep them in place")
    if any(condition.uses_ffmpeg for condition in chain):
        codecs.check({codec for condition in chain for codec in condition.codecs})
    return chain


def surroundings_of(
    noise: material.Material, chain: Sequence[conditions.Condition], split: str
) -> material.Surroundings:
    """Draws from the same split as the references; raises ValueError when a kind is missing."""
    surroundings = material.Surroundings(noise, split=split)
    for kind in sorted({kind for condition in chain for kind in condition.kinds}):
        surroundings.pieces(kind)
    return surroundings


def _places(source: material.Material, noise: material.Material) -> dict[str, str]:
    """Names the material, and identifies it: another corpus under this name gives other queries."""
    return {
        "source": os.path.abspath(source.path),
        "noise": os.path.abspath(noise.path),
        "pieces": rendered.digest([*source.pieces, *noise.pieces]),
    }


def degraded(
    cut: excerpts.Excerpt,
    condition: conditions.Condition,
    surroundings: material.Surroundings,
    seconds: float,
    seeds: list[int],
    spliced: bool,
) -> conditions.Take:
    """Puts an excerpt through a condition, whose draws depend on the seeds and its name only."""
    rng = np.random.default_rng([*seeds, zlib.crc32(condition.name.encode())])
    rate = cut.piece.sample_rate_hz
    n_samples = segments.to_samples(seconds, rate)
    if spliced:
        return _splice(cut, condition, surroundings, n_samples, rng)
    condition = condition.settled(rng)
    there = segments.to_samples(seconds * condition.rate, rate)
    take = conditions.Take(cut.samples, rate, cut.before, there)
    condition.apply(take, rng, surroundings)
    take.samples = take.samples[take.head :][:n_samples]
    return take


def _splice(
    cut: excerpts.Excerpt,
    condition: conditions.Condition,
    surroundings: material.Surroundings,
    n_samples: int,
    rng: np.random.Generator,
) -> conditions.Take:
    rate, parts, notes = cut.piece.sample_rate_hz, [], {}
    for at in range(0, n_samples, rate):
        wanted = min(rate, n_samples - at)
        shift = segments.to_samples(rng.uniform(-SHIFT_S, SHIFT_S), rate)
        first = min(max(0, cut.before + at + shift), len(cut.samples) - wanted)
        take = conditions.Take(cut.samples[first:][:wanted], rate, 0, wanted)
        if take.samples.any():  # A pause of a whole track has no power to set a ratio by.
            condition.settled(rng).apply(take, rng, surroundings)
        parts.append(take.samples)
        for key, value in take.notes.items():
            notes.setdefault(key, []).append(value)
    joined = {key: "|".join(dict.fromkeys(values)) for key, values in notes.items()}
    return conditions.Take(np.concatenate(parts), rate, 0, n_samples, notes=joined)


def write(path: pathlib.Path, take: conditions.Take, truth: dict[str, str]) -> dict[str, str]:
    """Writes a query, turned down where it would clip; returns its expected row."""
    loudest = np.abs(take.samples).max()
    samples = take.samples / np.float32(max(1.0, loudest * 32768 / 32767))
    decode.write_wav(path, samples, sample_rate_hz=take.sample_rate_hz)
    notes = {("reverb" if key == "room" else key): value for key, value in take.notes.items()}
    return (
        dict.fromkeys(rendered.COLUMNS, "")
        | notes
        | {
            "query": path.name,
            "seconds": f"{len(samples) / take.sample_rate_hz:g}",
            "rate": f"{take.rate:.6g}",
        }
        | truth
    )


def _write(
    path: pathlib.Path,
    take: conditions.Take,
    piece: material.Piece,
    first: int,
    condition: conditions.Condition,
) -> dict[str, str]:
    time = f"{first / piece.sample_rate_hz:.6f}"
    return write(path, take, {"answer": piece.name, "time": time, "condition": condition.name})


def _left_out(what: str, why: Exception) -> rendered.Rows:
    logging.getLogger(__name__).warning("left out: %s: %s", what, why)
    return []


def fill(
    folder: rendered.Folder,
    one: Callable[[int], rendered.Rows],
    count: int,
    each: int,
    *,
    jobs: int,
    show: bool,
) -> rendered.Rows:
    """Does the numbers below count that are not done, `each` queries at once; returns all rows.

    In threads: numpy, scipy and ffmpeg work outside the interpreter's lock.
    """
    if folder.is_finished:
        return folder.rows()
    left = [number for number in range(count) if number not in folder.done]
    done, total = each * (count - len(left)), each * count
    pool = futures.ThreadPoolExecutor(jobs or os.cpu_count())
    with (
        contextlib.closing(folder),
        progress.Progress(total, "queries", label="render", done=done, show=show) as bar,
    ):
        try:
            for number, rows in zip(left, pool.map(one, left), strict=True):
                if rows:
                    folder.note(number, rows)
                bar.add(each)
        except KeyboardInterrupt:
            bar.note(f"stopped; what is rendered stays in {folder.path}, the same command goes on")
            raise
        finally:  # Interrupted: what is queued is not begun.
            pool.shutdown(cancel_futures=True)
    if not folder.done:
        raise errors.Invalid(f"{folder.path}: not one query could be rendered; the reasons are above")
    return folder.finish(range(count))
