"""References and a seed become query files with ground truth.

    OUT/q0000_n5_TRACK.wav   ...
    OUT/expected.csv         query,answer,time,snr,reverb (pfann's) and what else happened to it
    OUT/list.txt             the files, one a line
    OUT/queries.json         the settings; written last

The same settings give the same bytes. Query number i is cut from the same place under every
condition, so that conditions compare in pairs. `time` is the second of `answer` at which the query
starts; `rate` the seconds of it that pass in one second of the query.
"""

import csv
import json
import logging
import os
import pathlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures

import numpy as np

from nafp.audio import decode, progress, segments

from . import codecs, conditions, excerpts, material

# fmt: off
COLUMNS = (
    "query", "answer", "time", "snr", "reverb",
    "condition", "seconds", "rate", "noise", "speech", "microphone", "codec",
)
# fmt: on
EXPECTED, LIST, SETTINGS = "expected.csv", "list.txt", "queries.json"
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
) -> list[dict[str, str]]:
    """Renders `count` excerpts under each of the named conditions; returns the expected rows.

    noise: where noise, speech and responses come from. spliced: each second has its own shift,
    noise and responses, as in the original's queries; otherwise a query is one piece.
    jobs: threads, 0 for one per processor. Raises ValueError before any work when something is
    missing or the folder holds queries already.
    """
    chain = _parse(names, unshifted=spliced)
    if count < 1 or seconds < 1:
        raise ValueError(f"count {count} and seconds {seconds} given; both must be at least 1")
    surroundings = _surroundings(noise, chain, split)
    chooser = excerpts.Chooser(
        source,
        split=split,
        seconds=seconds * max(condition.rate for condition in chain),
        before_s=SHIFT_S if spliced else excerpts.CONTEXT_S,
        after_s=SHIFT_S if spliced else excerpts.FLUSH_S,
        seed=seed,
    )
    folder = _fresh(out, overwrite)

    def one(i: int) -> list[dict[str, str]]:
        cut = chooser.excerpt(i)
        rows = []
        for condition in chain:
            heard = _degrade(cut, condition, surroundings, seconds, [seed, i], spliced)
            name = f"q{i:04d}_{condition.name}_{material.stem(cut.piece.name)[:_NAME_LENGTH]}.wav"
            rows.append(_write(folder / name, heard, cut.piece, cut.first, condition))
        return rows

    rows = _all(one, range(count), len(chain), jobs=jobs, show=show)
    settings = {"names": names, "count": count, "seconds": seconds}
    settings |= {"split": split, "seed": seed, "spliced": spliced}
    _finish(folder, rows, source=source.path, noise=noise.path, **settings)
    return rows


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
) -> list[dict[str, str]]:
    """Degrades whole tracks in place: row i of a query is row i of its reference.

    The original's protocol. Files keep the name of their track; one condition at a time. Otherwise
    like `render`. Tracks that cannot be decoded are named and left out.
    """
    if len(names) != 1:
        raise ValueError(f"aligned queries are of one condition; {len(names)} given: {names}")
    (condition,) = _parse(names, unshifted=True)
    surroundings = _surroundings(noise, [condition], split)
    pieces = source.select(kind="music", split=split)
    stems = [material.stem(piece.name) for piece in pieces]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise ValueError(f"{source.path}: {len(twice)} names are not unique, such as {twice[0]}")
    if not pieces:
        raise ValueError(f"{source.path}: no music of split {split}; choose another --split")
    folder = _fresh(out, overwrite)

    def one(i: int) -> list[dict[str, str]]:
        piece = pieces[i]
        try:
            cut = excerpts.Excerpt(piece, 0, source.read(piece), 0)
        except decode.Undecodable as error:
            return logging.getLogger(__name__).warning("%s", error) or []
        seconds = len(cut.samples) / piece.sample_rate_hz
        heard = _degrade(cut, condition, surroundings, seconds, [seed, i], spliced)
        return [_write(folder / f"{stems[i]}.wav", heard, piece, 0, condition)]

    rows = _all(one, range(len(pieces)), 1, jobs=jobs, show=show)
    settings = {"names": names, "split": split, "seed": seed, "spliced": spliced}
    _finish(folder, rows, source=source.path, noise=noise.path, aligned=True, **settings)
    return rows


def names_of(names: Sequence[str] | None, *, snr_db: Sequence[str] = ()) -> list[str]:
    """Lists condition names: those given, and n<SNR>.room.mic for each SNR; by default twelve."""
    wanted = [f"n{snr}.room.mic" for snr in snr_db]
    return [*(names or ([] if wanted else conditions.ROBUSTNESS)), *wanted]


def _parse(names: Sequence[str], *, unshifted: bool) -> list[conditions.Condition]:
    chain = [conditions.parse(name) for name in names]
    if twice := {name for name in names if list(names).count(name) > 1}:
        raise ValueError(f"conditions {', '.join(sorted(twice))} are named twice")
    moved = [condition.name for condition in chain if condition.rate != 1]
    if unshifted and moved:
        raise ValueError(
            f"{', '.join(moved)} moves rows in time; spliced and aligned queries keep them in place"
        )
    if any(condition.uses_ffmpeg for condition in chain):
        codecs.check()
    return chain


def _surroundings(
    noise: material.Material, chain: list[conditions.Condition], split: str
) -> material.Surroundings:
    """Draws from the same split as the references: none of it was trained with."""
    surroundings = material.Surroundings(noise, split=split)
    for kind in sorted({kind for condition in chain for kind in condition.kinds}):
        surroundings.pieces(kind)
    return surroundings


def _fresh(out: str | os.PathLike, overwrite: bool) -> pathlib.Path:
    folder = pathlib.Path(out)
    if (folder / SETTINGS).exists() and not overwrite:
        raise FileExistsError(f"{folder}: holds queries already; --overwrite replaces them")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).unlink(missing_ok=True)
    for old in folder.glob("*.wav"):
        old.unlink()  # Of another count or seed: they would be found beside the new ones.
    return folder


def _degrade(
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
            condition.apply(take, rng, surroundings)
        parts.append(take.samples)
        for key, value in take.notes.items():
            notes.setdefault(key, []).append(value)
    joined = {key: "|".join(dict.fromkeys(values)) for key, values in notes.items()}
    return conditions.Take(np.concatenate(parts), rate, 0, n_samples, notes=joined)


def _write(
    path: pathlib.Path,
    take: conditions.Take,
    piece: material.Piece,
    first: int,
    condition: conditions.Condition,
) -> dict[str, str]:
    loudest = np.abs(take.samples).max()
    samples = take.samples / np.float32(max(1.0, loudest * 32768 / 32767))
    decode.write_wav(path, samples, sample_rate_hz=take.sample_rate_hz)
    notes = {("reverb" if key == "room" else key): value for key, value in take.notes.items()}
    return (
        dict.fromkeys(COLUMNS, "")
        | notes
        | {
            "query": path.name,
            "answer": piece.name,
            "time": f"{first / piece.sample_rate_hz:.6f}",
            "condition": condition.name,
            "seconds": f"{len(samples) / take.sample_rate_hz:g}",
            "rate": f"{condition.rate:g}",
        }
    )


def _all(
    one: Callable[[int], list[dict[str, str]]],
    numbers: Iterable[int],
    each: int,
    *,
    jobs: int,
    show: bool,
) -> list[dict[str, str]]:
    """Runs in threads: numpy, scipy and ffmpeg work outside the interpreter's lock."""
    numbers = list(numbers)
    with (
        futures.ThreadPoolExecutor(jobs or os.cpu_count()) as pool,
        progress.Progress(len(numbers) * each, "queries", label="render", show=show) as bar,
    ):
        rows = []
        for some in pool.map(one, numbers):
            rows += some
            bar.add(len(some))
    return rows


def _finish(folder: pathlib.Path, rows: list[dict[str, str]], **settings: object) -> None:
    with open(folder / EXPECTED, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (folder / LIST).write_text("".join(f"{row['query']}\n" for row in rows))
    (folder / SETTINGS).write_text(json.dumps({"format": 1, **settings}, indent=1) + "\n")
