"""One long recording in which songs play in a known order: made, or one's own, cut into queries.

The benchmark system's protocol: a microphone records fifteen songs played one after another; within
each song the recording is cut without overlap into queries of each length.

    OUT/recording.wav   made here: the songs in one room, through one microphone
    OUT/plan.csv        song,start_s,seconds
"""

import csv
import json
import logging
import os
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.jobs import progress

from . import conditions, excerpts, material
from . import folder as rendered
from . import render as queries

PLAN, SOUND, SETTINGS = "plan.csv", "recording.wav", "recording.json"


class Played(NamedTuple):
    song: str  # As the database calls it.
    start_s: float  # In the recording.
    seconds: float


class Taken(NamedTuple):
    """Recordings of the same songs, and when each plays. files: (label, path)."""

    files: list[tuple[str, str]]
    plan: list[Played]


def render(
    source: material.Material,
    noise: material.Material,
    out: str | os.PathLike,
    *,
    split: str,
    songs: int,
    song_s: float = 0.0,
    through: str = "room.mic",
    seed: int = 0,
    overwrite: bool = False,
) -> Taken:
    """Plays songs of a split one after another in one room, and records them with one microphone.

    song_s: of each song, 0 for all of it. The same settings give the same bytes. Raises ValueError
    when there are fewer songs.
    """
    (condition,) = queries.parse([through], unshifted=True)
    around = queries.surroundings_of(noise, [condition], split)
    music = source.select(kind="music", split=split)
    pieces = [p for p in music if p.n_samples >= max(song_s, 1.0) * p.sample_rate_hz]
    if len(pieces) < songs:
        raise errors.Invalid(f"{source.path}: {len(pieces)} songs of split {split} are long enough, {songs} asked for")
    order = np.random.default_rng([seed, songs]).permutation(len(pieces))[:songs]
    chosen = [pieces[i] for i in order]
    settings = {"songs": songs, "song_s": song_s, "through": through, "seed": seed}
    settings |= {"split": split, "pieces": rendered.digest([*chosen, *noise.pieces])}
    folder = pathlib.Path(out)
    files = [("", str(folder / SOUND))]
    if _is_made(folder, settings, overwrite):
        return Taken(files, read_plan(folder / PLAN, source, split=split))
    folder.mkdir(parents=True, exist_ok=True)
    rate = max(piece.sample_rate_hz for piece in chosen)
    plan, parts, at = [], [], 0
    with progress.Progress(songs, "songs", label="recording", show=songs > 20) as bar:
        for piece in chosen:
            sound = _played(source, piece, song_s, condition, around, rate, seed)
            plan.append(Played(piece.name, at / rate, len(sound) / rate))
            parts.append(sound)
            at += len(sound)
            bar.add()
    whole = np.concatenate(parts)
    whole /= np.float32(max(1.0, np.abs(whole).max() * 32768 / 32767))
    decode.write_wav(folder / SOUND, whole, sample_rate_hz=rate)
    with open(folder / PLAN, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Played._fields)
        writer.writerows((p.song, f"{p.start_s:.6f}", f"{p.seconds:.6f}") for p in plan)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")  # Last: it is whole.
    return Taken(files, plan)


def given(recording: Sequence[str], plan: str, source: material.Material, *, split: str) -> Taken:
    """Takes one's own recordings, LEVEL=FILE or FILE each, and the plan of what plays in them."""
    files = []
    for one in recording:
        label, sign, path = one.partition("=")
        files.append((label, path) if sign else ("", one))
    for _, path in files:
        decode.probe(path)  # Raises Undecodable, naming it.
    if len({label for label, _ in files}) < len(files):
        raise errors.Invalid(f"--recording={','.join(recording)}: name each, such as low=FILE,high=FILE")
    if not plan:
        raise errors.Invalid(
            "--recording needs --plan: a CSV song,start_s,seconds, or a list of the songs in the"
            " order they play, one a line"
        )
    return Taken(files, read_plan(plan, source, split=split))


def read_plan(path: str | os.PathLike, source: material.Material, *, split: str) -> list[Played]:
    """Reads a CSV song,start_s,seconds, or a bare list: songs in order, each at its true length.

    Songs are found in the source by their path, or their base name with or without extension.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
    names: dict[str, material.Piece] = {}
    for piece in source.select(kind="music", split=split):
        for name in (piece.name, os.path.basename(piece.name), material.stem(piece.name)):
            names.setdefault(name, piece)

    def find(song: str) -> material.Piece:
        for name in (song, os.path.basename(song), material.stem(song)):
            if name in names:
                return names[name]
        raise errors.Invalid(f"{path}: {song} is not among the references of split {split}")

    if lines and lines[0].split(",")[:3] == list(Played._fields):
        rows = csv.DictReader(lines)
        return [Played(find(r["song"]).name, float(r["start_s"]), float(r["seconds"])) for r in rows]
    plan, at = [], 0.0
    for line in lines:
        piece = find(line.strip())
        seconds = piece.n_samples / piece.sample_rate_hz
        plan.append(Played(piece.name, at, seconds))
        at += seconds
    if not plan:
        raise errors.Invalid(f"{path}: names no song")
    return plan


def cut(
    taken: Taken,
    noise: material.Material,
    out: str | os.PathLike,
    *,
    split: str,
    levels: Sequence[str],
    lengths_s: Sequence[float],
    trials: int,
    seed: int = 0,
    jobs: int = 0,
    show: bool = False,
    overwrite: bool = False,
) -> rendered.Rows:
    """Cuts recordings into queries of each length, at each level, in each trial.

    levels: conditions that keep time, added to the recording. Trial t begins t / trials of a length
    into a song, and adds its own noise. `time` is the second of the song.
    """
    chain = queries.parse(levels, unshifted=True)
    around = queries.surroundings_of(noise, chain, split)
    if trials < 1 or min(lengths_s) < 1:
        raise errors.Invalid(f"{trials} trials of {min(lengths_s):g} s given; both are at least 1")
    about = {"levels": list(levels), "lengths_s": list(lengths_s), "trials": trials, "seed": seed}
    sizes = [os.path.getsize(path) for _, path in taken.files]
    about |= {"files": taken.files, "bytes": sizes, "plan": taken.plan}
    about |= {"noise": rendered.digest(noise.pieces)}
    folder = rendered.Folder(out, about, overwrite=overwrite)
    cuts = list(_cuts(taken, lengths_s, trials))
    if not cuts:
        raise errors.Invalid(f"{out}: no song plays for {min(lengths_s):g} s: nothing to cut")

    def one(number: int) -> rendered.Rows:
        return _query(number, *cuts[number], chain, around, folder.path, seed)

    return queries.fill(folder, one, len(cuts), len(chain), jobs=jobs, show=show)


class _Cut(NamedTuple):
    label: str
    path: str
    played: Played
    trial: int
    length_s: float
    into_s: float  # Of the song.


def _cuts(taken: Taken, lengths_s: Sequence[float], trials: int) -> Iterator[_Cut]:
    """Lists every query: whole ones only, of one song each; says when a recording ends early."""
    for label, path in taken.files:
        there_s = decode.probe(path).seconds
        planned_s = max(played.start_s + played.seconds for played in taken.plan)
        if there_s < planned_s - 1:
            logging.getLogger(__name__).warning(
                "%s: ends at %.0f s, the plan at %.0f s: do they belong together?",
                path,
                there_s,
                planned_s,
            )
        for trial in range(trials):
            for length_s in lengths_s:
                for played in taken.plan:
                    heard_s = min(played.seconds, there_s - played.start_s)
                    first_s, last_s = trial * length_s / trials, heard_s - length_s
                    for into_s in np.arange(first_s, last_s + 1e-6, length_s).tolist():
                        yield _Cut(label, path, played, trial, length_s, into_s)


def _query(
    number: int,
    label: str,
    path: str,
    played: Played,
    trial: int,
    length_s: float,
    into_s: float,
    chain: Sequence[conditions.Condition],
    around: material.Surroundings,
    folder: pathlib.Path,
    seed: int,
) -> rendered.Rows:
    rate = decode.probe(path).sample_rate_hz
    at_s = played.start_s + into_s
    before_s = min(excerpts.CONTEXT_S, at_s)
    wanted_s = before_s + length_s + excerpts.FLUSH_S
    samples = decode.load(path, sample_rate_hz=rate, start_s=at_s - before_s, seconds=wanted_s)
    n_samples, head = (segments.to_samples(s, rate) for s in (length_s, before_s))
    rows = []
    for condition in chain:
        keys = [seed, number, trial, zlib.crc32(condition.name.encode())]
        take = conditions.Take(samples, rate, head, n_samples)
        rng = np.random.default_rng(keys)
        condition.settled(rng).apply(take, rng, around)
        take.samples = take.samples[take.head :][:n_samples]
        added = "" if label and condition.name == "clean" else condition.name
        level = "+".join(filter(None, [label, added]))
        name = f"q{number:05d}_{level}.wav"
        truth = {"answer": played.song, "time": f"{into_s:.6f}", "condition": level}
        truth |= {"trial": str(trial), "cut_s": f"{length_s:g}"}
        rows.append(queries.write(folder / name, take, truth))
    return rows


def _played(
    source: material.Material,
    piece: material.Piece,
    song_s: float,
    condition: conditions.Condition,
    around: material.Surroundings,
    rate: int,
    seed: int,
) -> np.ndarray:
    """Plays one song. The draws are the same for all: one room, one microphone."""
    n_samples = segments.to_samples(song_s, piece.sample_rate_hz) if song_s else piece.n_samples
    samples = source.read(piece, n_samples=n_samples)
    samples = decode.resample(samples, from_hz=piece.sample_rate_hz, to_hz=rate)
    take = conditions.Take(samples, rate, 0, len(samples))
    rng = np.random.default_rng([seed, zlib.crc32(condition.name.encode())])
    condition.settled(rng).apply(take, rng, around)
    return take.samples


def _is_made(folder: pathlib.Path, settings: dict, overwrite: bool) -> bool:
    path = folder / SETTINGS
    if not path.exists() or overwrite:
        return False
    before = json.loads(path.read_text())
    if before != json.loads(json.dumps(settings)):
        changed = [key for key in settings if before.get(key) != settings[key]]
        raise errors.AlreadyExists(
            f"{folder}: holds a recording of other settings ({', '.join(changed)} differ); --overwrite makes it anew"
        )
    return True
