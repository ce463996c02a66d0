"""Long recordings in which songs play in a known order, cut into queries.

This is the benchmark system's protocol: a microphone records fifteen songs that play one after another. Within each
song the recording is cut without overlap into queries of each length. A recording is rendered here, or is the user's
own.

    OUT/recording.wav   rendered: the songs in one room, through one microphone
    OUT/plan.csv        song,start_s,seconds
"""

import csv
import itertools
import json
import logging
import os
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import list_text
from nafp.jobs import plain_files, progress

from . import conditions, excerpts, folder, material, rendering

PLAN, SOUND, SETTINGS = "plan.csv", "recording.wav", "recording.json"


class PlannedSong(NamedTuple):
    """When a song plays in a recording."""

    song: str  # Its name in the database.
    start_s: float  # Seconds of the recording.
    seconds: float


class LongRecordings(NamedTuple):
    """Long recordings of the same songs, and the plan that all of them follow. files: (label, path) of each."""

    files: list[tuple[str, str]]
    plan: list[PlannedSong]


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
) -> LongRecordings:
    """Renders one recording of songs of a split, played one after another through the condition `through`.

    songs: number of songs. song_s: seconds of each song, 0 for all of it. The same settings give the same bytes. Raises
    errors.Invalid if the split has fewer songs.
    """
    (condition,) = rendering.parse([through], unshifted=True)
    surroundings = rendering.surroundings_of(noise, [condition], split)
    music = source.select(kind="music", split=split)
    pieces = [p for p in music if p.n_samples >= max(song_s, 1.0) * p.sample_rate_hz]
    if songs < 1:
        raise errors.Invalid(f"songs={songs}: a recording needs at least 1")
    if len(pieces) < songs:
        raise errors.Invalid(f"{source.path}: {len(pieces)} songs of split {split} are long enough, {songs} are needed")
    order = np.random.default_rng([seed, songs]).permutation(len(pieces))[:songs]
    chosen = [pieces[i] for i in order]
    settings = {"songs": songs, "song_s": song_s, "through": through, "seed": seed}
    settings |= {"split": split, "pieces": folder.digest([*chosen, *noise.pieces])}
    place = pathlib.Path(out)
    files = [("", str(place / SOUND))]
    if _is_rendered(place, settings, overwrite):
        return LongRecordings(files, read_plan(place / PLAN, source, split=split))
    place.mkdir(parents=True, exist_ok=True)
    rate = max(piece.sample_rate_hz for piece in chosen)
    plan, sounds, at = [], [], 0
    with progress.Progress(songs, "songs", label="recording", show=songs > 20) as bar:
        for piece in chosen:
            sound = _song(source, piece, song_s, condition, surroundings, rate, seed)
            plan.append(PlannedSong(piece.name, at / rate, len(sound) / rate))
            sounds.append(sound)
            at += len(sound)
            bar.add()
    whole = np.concatenate(sounds)
    whole /= np.float32(max(1.0, np.abs(whole).max() * 32768 / 32767))
    decode.write_wav(place / SOUND, whole, sample_rate_hz=rate)
    with folder.opened(place / PLAN) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PlannedSong._fields)
        writer.writerows((p.song, f"{p.start_s:.6f}", f"{p.seconds:.6f}") for p in plan)
    with folder.opened(place / SETTINGS) as file:  # Written last: all else is complete.
        file.write(json.dumps(settings, indent=1) + "\n")
    return LongRecordings(files, plan)


def given(recording: Sequence[str], plan: str, source: material.Material, *, split: str) -> LongRecordings:
    """Returns the user's own recordings. recording: LEVEL=FILE or FILE each. plan: the file of what plays in them."""
    files = []
    for argument in recording:
        label, sign, path = argument.partition("=")
        is_labelled = sign and not os.path.exists(argument)  # A file may have "=" in its name.
        files.append((label, path) if is_labelled else ("", argument))
    for label, path in files:
        if os.path.basename(label) != label:
            raise errors.Invalid(f"--recording={label}={path}: a level is a word without slashes, such as low=FILE")
        decode.probe(path)  # Raises errors.Undecodable, which names the file.
    if len({label for label, _ in files}) < len(files):
        raise errors.Invalid(f"--recording={','.join(recording)}: name each, such as low=FILE,high=FILE")
    if not plan:
        raise errors.Invalid(
            "--recording needs --plan: a CSV song,start_s,seconds, or a list of the songs in the"
            " order they play, one a line"
        )
    return LongRecordings(files, read_plan(plan, source, split=split))


def read_plan(path: str | os.PathLike, source: material.Material, *, split: str) -> list[PlannedSong]:
    """Reads a CSV file song,start_s,seconds, or a list of the songs in order, each played in full.

    A song is found in the source by its path, or by its file name with or without extension. Raises errors.Invalid for
    a file that cannot be read, that names no song or a song that the source does not have, and for a time that is none.
    """
    lines = [line for line in list_text.read(path).split("\n") if line.strip()]
    names: dict[str, material.Piece] = {}
    for piece in source.select(kind="music", split=split):
        for name in (piece.name, os.path.basename(piece.name), material.stem(piece.name)):
            names.setdefault(name, piece)

    def find(song: str) -> material.Piece:
        for name in (song, os.path.basename(song), material.stem(song)):
            if name in names:
                return names[name]
        raise errors.Invalid(f"{path}: {song} is not among the references of split {split}")

    plan, at_s = [], 0.0
    if lines and lines[0].split(",")[:3] == list(PlannedSong._fields):
        for row in list_text.table(path, set(PlannedSong._fields)):
            plan.append(
                PlannedSong(find(row["song"]).name, *(_time(row, name, path) for name in ("start_s", "seconds")))
            )
    else:
        for piece in (find(line.strip()) for line in lines):
            seconds = piece.n_samples / piece.sample_rate_hz
            plan.append(PlannedSong(piece.name, at_s, seconds))
            at_s += seconds
    if not plan:
        raise errors.Invalid(f"{path}: names no song")
    return plan


def _time(row: Mapping[str, str], name: str, path: str | os.PathLike) -> float:
    """Returns the seconds in a column of a plan. Raises errors.Invalid unless they are a number of at least 0."""
    try:
        seconds = float(row[name])
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise errors.Invalid(f"{path}: {row['song']!r} has {name} {row[name]!r}; a number of at least 0 is needed")
    return seconds


def cut(
    recordings: LongRecordings,
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
) -> folder.Rows:
    """Cuts recordings into queries of each length, at each level, in each trial.

    levels: conditions that keep time, which are added to the recording. Trial t begins t / trials of a length into a
    song, and adds its own noise. Column `time` of the truth is the second of the song.
    """
    chain = rendering.parse(levels, unshifted=True)
    surroundings = rendering.surroundings_of(noise, chain, split)
    if trials < 1 or min(lengths_s) < 1:
        raise errors.Invalid(f"{trials} trials of {min(lengths_s):g} s given; both are at least 1")
    settings = {"levels": list(levels), "lengths_s": list(lengths_s), "trials": trials, "seed": seed}
    sizes = [os.path.getsize(path) for _, path in recordings.files]
    settings |= {"files": recordings.files, "bytes": sizes, "plan": recordings.plan}
    settings |= {"noise": folder.digest(noise.pieces)}
    out_folder = folder.Folder(out, settings, overwrite=overwrite)
    cuts = list(_cuts(recordings, lengths_s, trials))
    if not cuts:
        raise errors.Invalid(f"{out}: no song plays for {min(lengths_s):g} s: nothing to cut")

    def query(number: int) -> folder.Rows:
        return _query(number, cuts[number], chain, surroundings, out_folder.path, seed)

    return rendering.fill(out_folder, query, len(cuts), len(chain), jobs=jobs, show=show)


class _Cut(NamedTuple):
    """Where a query is cut. label, path: of the recording. into_s: seconds of the song before the query."""

    label: str
    path: str
    song: PlannedSong
    trial: int
    length_s: float
    into_s: float


def _cuts(recordings: LongRecordings, lengths_s: Sequence[float], trials: int) -> Iterator[_Cut]:
    """Yields the queries that lie completely within one song. Warns of a recording that ends before its plan."""
    planned_s = max(song.start_s + song.seconds for song in recordings.plan)
    for label, path in recordings.files:
        total_s = decode.measured_s(path)
        if total_s < planned_s - 1:
            logging.getLogger(__name__).warning(
                "%s: ends at %.0f s, the plan at %.0f s: do they belong together?", path, total_s, planned_s
            )
        for trial, length_s, song in itertools.product(range(trials), lengths_s, recordings.plan):
            heard_s = min(song.seconds, total_s - song.start_s)
            first_s, last_s = trial * length_s / trials, heard_s - length_s
            for into_s in np.arange(first_s, last_s + 1e-6, length_s).tolist():
                yield _Cut(label, path, song, trial, length_s, into_s)


def _query(
    number: int,
    cut: _Cut,
    chain: Sequence[conditions.Condition],
    surroundings: material.Surroundings,
    place: pathlib.Path,
    seed: int,
) -> folder.Rows:
    """Renders one query under each condition."""
    rate = decode.probe(cut.path).sample_rate_hz
    at_s = cut.song.start_s + cut.into_s
    before_s = min(excerpts.CONTEXT_S, at_s)
    read_s = before_s + cut.length_s + excerpts.FLUSH_S
    samples = decode.load(cut.path, sample_rate_hz=rate, start_s=at_s - before_s, seconds=read_s)
    n_samples, head = (segments.to_samples(s, rate) for s in (cut.length_s, before_s))
    rows = []
    for condition in chain:
        keys = [seed, number, cut.trial, zlib.crc32(condition.name.encode())]
        take = conditions.Take(samples, rate, head, n_samples, name=cut.song.song)
        rng = np.random.default_rng(keys)
        condition.settled(rng).apply(take, rng, surroundings)
        take.samples = take.samples[take.head :][:n_samples]
        added = "" if cut.label and condition.name == "clean" else condition.name
        level = "+".join(filter(None, [cut.label, added]))
        truth = {"answer": cut.song.song, "time": f"{cut.into_s:.6f}", "condition": level}
        truth |= {"trial": str(cut.trial), "cut_s": f"{cut.length_s:g}"}
        rows.append(rendering.write(place / f"q{number:05d}_{level}.wav", take, truth))
    return rows


def _song(
    source: material.Material,
    piece: material.Piece,
    song_s: float,
    condition: conditions.Condition,
    surroundings: material.Surroundings,
    rate: int,
    seed: int,
) -> np.ndarray:
    """Renders one song, float32 [S]. All songs get the same draws: one room and one microphone."""
    n_samples = segments.to_samples(song_s, piece.sample_rate_hz) if song_s else piece.n_samples
    samples = source.read(piece, n_samples=n_samples)
    samples = decode.resample(samples, from_hz=piece.sample_rate_hz, to_hz=rate)
    take = conditions.Take(samples, rate, 0, len(samples), name=piece.name)
    rng = np.random.default_rng([seed, zlib.crc32(condition.name.encode())])
    condition.settled(rng).apply(take, rng, surroundings)
    return take.samples


def _is_rendered(place: pathlib.Path, settings: dict, overwrite: bool) -> bool:
    """Returns whether the recording is rendered. Raises errors.AlreadyExists if it has other settings."""
    path = place / SETTINGS
    if not path.exists() or overwrite:
        return False
    try:
        before = plain_files.json_object(path)
    except errors.Invalid:
        return False  # A power cut has torn it.
    if before != json.loads(json.dumps(settings)):
        changed = [key for key in settings if before.get(key) != settings[key]]
        raise errors.AlreadyExists(
            f"{place} holds a recording of other settings ({', '.join(changed)} differ); --overwrite renders it again"
        )
    return True
