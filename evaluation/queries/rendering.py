"""Renders references into a folder of query files with their truth (see `folder`).

The same settings give the same bytes, also after an interruption. Query i is cut from the same place under every
condition, so that conditions compare in pairs. In the truth, `time` is the second of `answer` at which the query
starts, and `rate` is how many seconds of `answer` pass in one second of the query.
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
from nafp.jobs import processors, progress

from . import codecs, conditions, excerpts, folder, material

COUNT, SECONDS = 100, 10.0  # Queries per condition, and their length.
SHIFT_S = 0.2  # A spliced second starts at most this far from its place, as in the original.
_NAME_LENGTH = 60  # Characters of a track's name in the name of a query.
_FILE_BYTES = 235  # Of the name of a query. File systems end at 255, and a file has a longer name until it is whole.


def render(
    source: material.Material,
    noise: material.Material,
    out: str | os.PathLike,
    *,
    split: str = "test",
    noise_split: str = "",
    names: Sequence[str] = ("clean",),
    count: int = COUNT,
    seconds: float = SECONDS,
    seed: int = 0,
    spliced: bool = False,
    jobs: int = 0,
    show: bool = False,
    overwrite: bool = False,
) -> folder.Rows:
    """Renders `count` excerpts of `seconds` under each of the named conditions, and returns the rows of expected.csv.

    noise: where noise, speech and responses come from. noise_split: their split, "" for that of the music. spliced:
    whether each second has its own shift, noise and responses, as in the original's queries; otherwise a query is one
    piece. jobs: the number of threads, 0 for one per processor. After an interruption, the rest is rendered. A file
    that cannot be decoded is named in the log, and another takes its place. Before any work, raises errors.Invalid if
    something is missing, and errors.AlreadyExists if the folder holds queries of other settings.
    """
    chain = parse(names, unshifted=spliced)
    if count < 1 or seconds < 1:
        raise errors.Invalid(f"count {count} and seconds {seconds} given; both must be at least 1")
    surroundings = surroundings_of(noise, chain, noise_split or split)
    chooser = chooser_of(source, chain, split=split, seconds=seconds, seed=seed, spliced=spliced)
    settings = {"names": list(names), "count": count, "seconds": seconds, "split": split}
    settings |= {"seed": seed, "spliced": spliced, **_places(source, noise, split, noise_split)}
    out_folder = folder.Folder(out, settings, overwrite=overwrite)

    def query(i: int) -> folder.Rows:
        excerpt = chooser.excerpt(i)
        rows = []
        for condition in chain:
            try:
                take = degraded(excerpt, condition, surroundings, seconds, [seed, i], spliced)
            except errors.Silent as error:
                _left_out(f"query {i}, {condition.name}", error)
                continue
            name = _file_name(f"q{i:04d}_{condition.name}_", material.stem(excerpt.piece.name))
            rows.append(_write(out_folder.path / name, take, excerpt.piece, excerpt.first, condition))
        return rows

    return fill(out_folder, query, count, len(chain), jobs=jobs, show=show)


def render_aligned(
    source: material.Material,
    noise: material.Material,
    out: str | os.PathLike,
    *,
    split: str = "test",
    noise_split: str = "",
    names: Sequence[str] = ("clean",),
    seed: int = 0,
    spliced: bool = False,
    jobs: int = 0,
    show: bool = False,
    overwrite: bool = False,
) -> folder.Rows:
    """Degrades whole tracks in place under one condition: row i of a query is row i of its reference.

    This is the original's protocol. Files keep the names of their tracks. Tracks that cannot be decoded or are silent
    are named in the log and left out. Everything else is as in `render`.
    """
    if len(names) != 1:
        raise errors.Invalid(f"aligned queries are of one condition, and {len(names)} are given: {names}")
    (condition,) = parse(names, unshifted=True)
    surroundings = surroundings_of(noise, [condition], noise_split or split)
    pieces = source.select(kind="music", split=split)
    material.require_unique(source, pieces)
    if not pieces:
        raise errors.Invalid(f"{source.path}: no music of split {split}; choose another --split")
    settings = {"names": list(names), "split": split, "seed": seed, "spliced": spliced}
    settings |= {"aligned": True, **_places(source, noise, split, noise_split)}
    out_folder = folder.Folder(out, settings, overwrite=overwrite)

    def query(i: int) -> folder.Rows:
        piece = pieces[i]
        try:
            whole = excerpts.Excerpt(piece, 0, source.read(piece), 0)
            seconds = len(whole.samples) / piece.sample_rate_hz
            take = degraded(whole, condition, surroundings, seconds, [seed, i], spliced)
        except (errors.Undecodable, errors.Silent) as error:
            _left_out(piece.name, error)
            return []
        return [_write(out_folder.path / f"{material.stem(piece.name)}.wav", take, piece, 0, condition)]

    return fill(out_folder, query, len(pieces), 1, jobs=jobs, show=show)


def chooser_of(
    source: material.Material,
    chain: Sequence[conditions.Condition],
    *,
    split: str,
    seconds: float,
    seed: int,
    spliced: bool,
) -> excerpts.Chooser:
    """Returns what cuts the excerpts of queries, long enough for the fastest of the conditions."""
    return excerpts.Chooser(
        source,
        split=split,
        seconds=seconds * max(condition.rate for condition in chain),
        before_s=SHIFT_S if spliced else excerpts.CONTEXT_S,
        after_s=SHIFT_S if spliced else excerpts.FLUSH_S,
        seed=seed,
    )


def parse(names: Sequence[str], *, unshifted: bool = False) -> list[conditions.Condition]:
    """Returns the conditions of these names.

    unshifted: whether conditions that move rows in time are refused. Raises errors.Invalid for a name that is unknown
    or given twice, and if ffmpeg is needed and missing.
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
    """Returns the source of noise and responses, of one split. Raises errors.Invalid if a kind of them is missing."""
    surroundings = material.Surroundings(noise, split=split)
    for kind in sorted({kind for condition in chain for kind in condition.kinds}):
        surroundings.pieces(kind)
    return surroundings


def _places(source: material.Material, noise: material.Material, split: str, noise_split: str) -> dict[str, str]:
    """Returns settings that identify the material: another corpus under the same name gives other queries."""
    return {
        "source": os.path.abspath(source.path),
        "noise": os.path.abspath(noise.path),
        "pieces": folder.digest([*source.pieces, *noise.pieces]),
        # Folders from before this setting do not have it.
        **({"noise_split": noise_split} if noise_split not in ("", split) else {}),
    }


def degraded(
    excerpt: excerpts.Excerpt,
    condition: conditions.Condition,
    surroundings: material.Surroundings,
    seconds: float,
    seeds: list[int],
    spliced: bool,
) -> conditions.Take:
    """Puts an excerpt through a condition, and returns the query of `seconds`.

    All that is drawn depends only on the seeds and the condition's name.
    """
    rng = np.random.default_rng([*seeds, zlib.crc32(condition.name.encode())])
    rate = excerpt.piece.sample_rate_hz
    n_samples = segments.to_samples(seconds, rate)
    if spliced:
        return _splice(excerpt, condition, surroundings, n_samples, rng)
    condition = condition.settled(rng)
    n_before = segments.to_samples(seconds * condition.rate, rate)  # Before a change of speed.
    take = conditions.Take(excerpt.samples, rate, excerpt.before, n_before, name=excerpt.piece.name)
    condition.apply(take, rng, surroundings)
    take.samples = take.samples[take.head :][:n_samples]
    return take


def _splice(
    excerpt: excerpts.Excerpt,
    condition: conditions.Condition,
    surroundings: material.Surroundings,
    n_samples: int,
    rng: np.random.Generator,
) -> conditions.Take:
    """Degrades each second on its own, from a place that is shifted by up to SHIFT_S."""
    rate = excerpt.piece.sample_rate_hz
    parts: list[np.ndarray] = []
    notes: dict[str, list[str]] = {}
    for at in range(0, n_samples, rate):
        length = min(rate, n_samples - at)
        shift = segments.to_samples(rng.uniform(-SHIFT_S, SHIFT_S), rate)
        first = min(max(0, excerpt.before + at + shift), len(excerpt.samples) - length)
        take = conditions.Take(excerpt.samples[first:][:length], rate, 0, length, name=excerpt.piece.name)
        if take.samples.any():  # A silent second has no power to set a signal-to-noise ratio by.
            condition.settled(rng).apply(take, rng, surroundings)
        parts.append(take.samples)
        for key, value in take.notes.items():
            notes.setdefault(key, []).append(value)
    joined = {key: "|".join(dict.fromkeys(values)) for key, values in notes.items()}
    return conditions.Take(np.concatenate(parts), rate, 0, n_samples, notes=joined)


def write(path: pathlib.Path, take: conditions.Take, truth: dict[str, str]) -> dict[str, str]:
    """Writes a query, turned down if it would clip, and returns its row of expected.csv.

    truth: the columns that the samples do not tell, such as answer, time and condition.
    """
    loudest = np.abs(take.samples).max()
    samples = take.samples / np.float32(max(1.0, loudest * 32768 / 32767))
    decode.write_wav(path, samples, sample_rate_hz=take.sample_rate_hz)
    notes = {("reverb" if key == "room" else key): value for key, value in take.notes.items()}
    return (
        dict.fromkeys(folder.COLUMNS, "")
        | notes
        | {
            "query": path.name,
            "seconds": f"{len(samples) / take.sample_rate_hz:g}",
            "rate": f"{take.rate:.6g}",
        }
        | truth
    )


def _file_name(beginning: str, track: str) -> str:
    """Returns the name of a query's file. Letters outside of ASCII have up to four bytes each."""
    track = track[:_NAME_LENGTH]
    while track and len(os.fsencode(f"{beginning}{track}.wav")) > _FILE_BYTES:
        track = track[:-1]
    return f"{beginning}{track}.wav"


def _write(
    path: pathlib.Path,
    take: conditions.Take,
    piece: material.Piece,
    first: int,
    condition: conditions.Condition,
) -> dict[str, str]:
    time = f"{first / piece.sample_rate_hz:.6f}"
    return write(path, take, {"answer": piece.name, "time": time, "condition": condition.name})


def _left_out(what: str, why: Exception) -> None:
    logging.getLogger(__name__).warning("left out: %s: %s", what, why)


def fill(
    out_folder: folder.Folder,
    query: Callable[[int], folder.Rows],
    count: int,
    n_each: int,
    *,
    jobs: int,
    show: bool,
) -> folder.Rows:
    """Renders the numbers below `count` that are not done, in threads, and returns the rows of all.

    query: renders one number, and returns its rows. n_each: the number of queries that a number stands for. Threads
    suffice: numpy, scipy and ffmpeg work outside the interpreter's lock.
    """
    if out_folder.is_finished:
        return out_folder.rows()
    numbers = [number for number in range(count) if number not in out_folder.done]
    done, total = n_each * (count - len(numbers)), n_each * count
    pool = futures.ThreadPoolExecutor(jobs or processors.count())
    with (
        contextlib.closing(out_folder),
        progress.Progress(total, "queries", label="render", done=done, show=show) as bar,
    ):
        try:
            for number, rows in zip(numbers, pool.map(query, numbers), strict=True):
                if rows:
                    out_folder.note(number, rows)
                bar.add(n_each)
        except KeyboardInterrupt:
            bar.note(f"stopped; {out_folder.path} keeps what is rendered, and the same command continues")
            raise
        finally:  # After an interruption, nothing that waits is begun.
            pool.shutdown(cancel_futures=True)
    if not out_folder.done:
        raise errors.Invalid(f"{out_folder.path}: not one query could be rendered; the reasons are above")
    return out_folder.finish(range(count))
