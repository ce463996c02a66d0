"""Renders hours-long recordings with their truth from tracks and a seed: sets, broadcasts, radio.

    OUT/crossfade_0.wav   ...
    OUT/truth.csv         mix,style,track,start_s,end_s,track_start_s,track_end_s,speed,known
    OUT/unknown.txt       tracks that must not be in the database, one a line
    OUT/mixes.json        the settings; written last

Every stretch of music is one line of truth.csv, from the first sample of its fade-in to the last of its fade-out.
Stretches overlap where tracks cross-fade. speed: seconds of the track that pass in one second of the mix. Unknown music
is listed too, with known=0. The same settings give the same bytes.
"""

import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.jobs import choices, progress

from . import folder, material

COLUMNS = ("mix", "style", "track", "start_s", "end_s", "track_start_s", "track_end_s", "speed", "known")
TRUTH, UNKNOWN, SETTINGS = "truth.csv", "unknown.txt", "mixes.json"
_BEGUN = "mixes.begun"  # There while mixes are rendered: the WAV files beside it are ours.
SHORTEST_S = 12.0  # Shorter tracks are jingles and are not played.
_RMS = 0.08  # -22 dBFS: the level of music before a change of level is drawn.
_SPEED_STEPS = 10_000  # Speeds are multiples of 1/10,000, so that resampling goes from one whole rate to another.


@dataclasses.dataclass(frozen=True)
class MixStyle:
    """How tracks are mixed. A pair of numbers is a range to draw from evenly."""

    play_s: tuple[float, float] = (30.0, 150.0)
    fade_s: tuple[float, float] = (4.0, 10.0)  # Length of a cross-fade of equal power.
    level_db: tuple[float, float] = (-3.0, 3.0)
    speed: tuple[float, float] = (1.0, 1.0)
    repeats: float = 0.15  # Share of known tracks that have been played before in the same mix.
    unknown: float = 0.0  # Share of music that is not in the database.
    pauses: float = 0.0  # Share of transitions that are silence instead of a cross-fade.
    pause_s: tuple[float, float] = (4.0, 20.0)
    talk_every_s: tuple[float, float] | None = None  # Time between two stretches of talk; None: no talk.
    talk_s: tuple[float, float] = (3.0, 15.0)
    talk_db: tuple[float, float] = (0.0, 10.0)  # Level of speech above music.
    noise_db: float | None = None  # Level of music above background noise; None: no noise.


STYLES = {
    "crossfade": MixStyle(),
    "talk": MixStyle(talk_every_s=(5.0, 30.0), noise_db=12.0, pauses=0.2),
    "speed": MixStyle(speed=(0.97, 1.03)),
    "speed6": MixStyle(speed=(0.94, 1.06)),
    "unknown": MixStyle(unknown=0.5, pauses=0.2),
    "broadcast": MixStyle(speed=(0.99, 1.02), unknown=0.3, pauses=0.3, talk_every_s=(20.0, 60.0), noise_db=20.0),
}


class Play(NamedTuple):
    """A stretch of music in a mix. The fields are columns of truth.csv."""

    piece: material.Piece
    start_s: float
    end_s: float
    track_start_s: float
    speed: float
    known: bool

    @property
    def track_end_s(self) -> float:
        """The second of the track at which the stretch ends."""
        return self.track_start_s + (self.end_s - self.start_s) * self.speed


def render(
    source: material.Material,
    noise: material.Material,
    out: str | os.PathLike,
    *,
    split: str = "test",
    styles: Sequence[str] = tuple(STYLES),
    count: int = 1,
    minutes: float = 25.0,
    unknown_share: float = 0.25,
    seed: int = 0,
    show: bool = False,
    overwrite: bool = False,
) -> list[dict[str, str]]:
    """Renders `count` mixes of each style, and returns the rows of truth.csv.

    unknown_share: share of the split's tracks that only serve as unknown music; the others are the known ones. Before
    any work, raises errors.Invalid if a style or a kind of material is missing, and errors.AlreadyExists if the folder
    holds mixes.
    """
    chosen = {name: _style(name) for name in styles}
    surroundings = material.Surroundings(noise, split=split)
    for kind, needed in (("speech", "talk_every_s"), ("noise", "noise_db")):
        if any(getattr(style, needed) is not None for style in chosen.values()):
            surroundings.pieces(kind)
    if not 60 * minutes > SHORTEST_S:
        raise errors.Invalid(f"minutes={minutes:g}: a mix lasts longer than {SHORTEST_S:g} s")
    known, unknown = _divided(source, split, unknown_share, seed)
    if strange := [name for name, style in chosen.items() if style.unknown and not unknown]:
        raise errors.Invalid(
            f"style {strange[0]} plays unknown music; give unknown_share, {unknown_share:g} leaves none"
        )
    settings = {"split": split, "styles": list(styles), "count": count, "minutes": minutes}
    settings |= {"unknown_share": unknown_share, "seed": seed, "source": source.path}
    place = _fresh(out, overwrite)
    rows = []
    with progress.Progress(count * len(chosen), "mixes", label="render", show=show) as bar:
        for number, (name, style) in enumerate(chosen.items()):
            for i in range(count):
                rng = np.random.default_rng([seed, number, i])
                plays = plan(known, unknown, style, seconds=60 * minutes, rng=rng)
                path = place / f"{name}_{i}.wav"
                rate = plays[0].piece.sample_rate_hz
                decode.write_wav(path, _sound(source, surroundings, plays, style, rng), sample_rate_hz=rate)
                rows += [_row(path.name, name, play) for play in plays]
                bar.add()
    _finish(place, rows, [piece.name for piece in unknown], settings)
    return rows


def plan(
    known: Sequence[material.Piece],
    unknown: Sequence[material.Piece],
    style: MixStyle,
    *,
    seconds: float,
    rng: np.random.Generator,
) -> list[Play]:
    """Draws which piece is played when, until the mix lasts `seconds`. All pieces have one sample rate."""
    plays: list[Play] = []
    at_s = 0.0
    played: set[str] = set()
    while at_s < seconds - SHORTEST_S:
        is_known = rng.random() >= style.unknown
        earlier = [play for play in plays[:-1] if play.known]
        if earlier and is_known and rng.random() < style.repeats:
            piece = earlier[rng.integers(len(earlier))].piece
        else:
            pool = known if is_known else unknown
            fresh = [piece for piece in pool if piece.name not in played] or list(pool)
            piece = fresh[rng.integers(len(fresh))]
        played.add(piece.name)
        speed = round(rng.uniform(*style.speed) * _SPEED_STEPS) / _SPEED_STEPS
        total_s = piece.n_samples / piece.sample_rate_hz / speed
        play_s = min(rng.uniform(*style.play_s), total_s, seconds - at_s)
        first_s = 0.0 if rng.random() < 0.5 else rng.uniform(0, total_s - play_s)
        plays.append(Play(piece, at_s, at_s + play_s, first_s * speed, speed, bool(is_known)))
        if rng.random() < style.pauses:
            at_s += play_s + rng.uniform(*style.pause_s)
        else:
            at_s += play_s - min(rng.uniform(*style.fade_s), play_s / 3)
    return plays


def _style(name: str) -> MixStyle:
    if name not in STYLES:
        raise errors.Invalid(f"no style {name!r}; there are {', '.join(STYLES)}.{choices.closest(name, STYLES)}")
    return STYLES[name]


def _divided(
    source: material.Material, split: str, unknown_share: float, seed: int
) -> tuple[list[material.Piece], list[material.Piece]]:
    """Divides the tracks of a split into known and unknown ones."""
    music = [
        piece
        for piece in source.select(kind="music", split=split)
        if piece.n_samples >= SHORTEST_S * piece.sample_rate_hz
    ]
    rates = sorted({piece.sample_rate_hz for piece in music})
    if len(rates) > 1:
        raise errors.Invalid(
            f"{source.path}: tracks of {', '.join(map(str, rates))} Hz cannot be mixed; build a "
            "corpus, which has one rate, or name one with --sample_rate_hz"
        )
    n_unknown = round(unknown_share * len(music))
    if len(music) - n_unknown < 2:
        raise errors.Invalid(
            f"{source.path}: {len(music)} tracks of {SHORTEST_S:g} s or more of split {split}; too "
            "few to mix: choose another split, or lower the share of unknown ones"
        )
    order = np.random.default_rng([seed, 99]).permutation(len(music))
    return [music[i] for i in order[n_unknown:]], [music[i] for i in order[:n_unknown]]


def _sound(
    source: material.Material,
    surroundings: material.Surroundings,
    plays: Sequence[Play],
    style: MixStyle,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns the mix of music, talk and noise: float32 [S], with a peak of at most 0.9."""
    rate = plays[0].piece.sample_rate_hz
    mixed = np.zeros(segments.to_samples(plays[-1].end_s, rate) + 1, np.float32)
    for play, before, after in zip(plays, [None, *plays], [*plays[1:], None]):
        samples = _played(source, play)
        samples *= np.float32(10 ** (rng.uniform(*style.level_db) / 20))
        head = before.end_s - play.start_s if before else 0.0
        tail = play.end_s - after.start_s if after else 0.0
        _fade(samples, segments.to_samples(max(head, 0.5), rate), slice(None))
        _fade(samples, segments.to_samples(max(tail, 0.5), rate), slice(None, None, -1))
        first = segments.to_samples(play.start_s, rate)
        samples = samples[: len(mixed) - first]
        mixed[first : first + len(samples)] += samples
    if style.talk_every_s is not None:
        _talk(mixed, surroundings, style, style.talk_every_s, rng, rate)
    if style.noise_db is not None:
        _noise(mixed, surroundings, style.noise_db, rng, rate)
    return mixed * np.float32(min(1.0, 0.9 / max(1e-9, float(np.abs(mixed).max()))))


def _played(source: material.Material, play: Play) -> np.ndarray:
    """Returns the samples of a play at its speed. All plays have the same loudness."""
    rate = play.piece.sample_rate_hz
    first = segments.to_samples(play.track_start_s, rate)
    last = min(segments.to_samples(play.track_end_s, rate), play.piece.n_samples)
    samples = source.read(play.piece, first=first, n_samples=last - first)
    samples = decode.resample(samples, from_hz=round(play.speed * _SPEED_STEPS), to_hz=_SPEED_STEPS).astype(np.float32)
    return samples * np.float32(_RMS / max(_rms(samples), 1e-4))


def _fade(samples: np.ndarray, n_samples: int, direction: slice) -> None:
    """Fades samples in, in place, or out if `direction` is backwards. A cross-fade keeps the power."""
    n = min(n_samples, len(samples))
    samples[direction][:n] *= np.sin(np.linspace(0, np.pi / 2, n, dtype=np.float32))


def _talk(
    mixed: np.ndarray,
    surroundings: material.Surroundings,
    style: MixStyle,
    every_s: tuple[float, float],
    rng: np.random.Generator,
    rate: int,
) -> None:
    """Adds stretches of talk to the mix, in place. every_s: range of the time between two of them."""
    at = segments.to_samples(rng.uniform(*every_s), rate)
    while at < len(mixed):
        n = min(segments.to_samples(rng.uniform(*style.talk_s), rate), len(mixed) - at)
        talk = _speech(surroundings, n, rng, rate)
        music = _rms(mixed[at : at + n]) or _RMS
        talk *= np.float32(music * 10 ** (rng.uniform(*style.talk_db) / 20) / _rms(talk))
        mixed[at : at + n] += talk
        at += n + segments.to_samples(rng.uniform(*every_s), rate)


def _speech(surroundings: material.Surroundings, n_samples: int, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Returns speech without pauses, float32 [n_samples]."""
    parts, n = [], 0
    while n < n_samples:
        length = segments.to_samples(1.5, rate)
        part = surroundings.noise(rng, kind="speech", n_samples=length, sample_rate_hz=rate)
        parts.append(part.samples / np.float32(_rms(part.samples)))
        n += length
    return np.concatenate(parts)[:n_samples]


def _noise(
    mixed: np.ndarray, surroundings: material.Surroundings, snr_db: float, rng: np.random.Generator, rate: int
) -> None:
    """Adds noise to the whole mix, in place. Every half minute another noise is drawn."""
    block = 30 * rate
    level = np.float32(_RMS * 10 ** (-snr_db / 20))
    for at in range(0, len(mixed), block):
        n = min(block, len(mixed) - at)
        drawn = surroundings.noise(rng, kind="noise", n_samples=n, sample_rate_hz=rate).samples
        mixed[at : at + n] += drawn * (level / np.float32(_rms(drawn)))


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean())) if len(samples) else 0.0


def _row(mix: str, style: str, play: Play) -> dict[str, str]:
    times = {name: f"{getattr(play, name):.3f}" for name in COLUMNS[3:7]}
    names = {"mix": mix, "style": style, "track": play.piece.name}
    return {**names, **times, "speed": f"{play.speed:.4f}", "known": str(int(play.known))}


def _fresh(out: str | os.PathLike, overwrite: bool) -> pathlib.Path:
    """Creates the folder, or removes the mixes that are in it, also those that an interrupted rendering left."""
    place = pathlib.Path(out)
    if (place / SETTINGS).exists() and not overwrite:
        raise errors.AlreadyExists(f"{place} holds mixes already; --overwrite replaces them")
    is_ours = (place / SETTINGS).exists() or (place / _BEGUN).exists()
    if not is_ours and next(place.glob("*.wav"), None):
        raise errors.AlreadyExists(f"{place} holds WAV files, and no {SETTINGS} that says they are mixes")
    place.mkdir(parents=True, exist_ok=True)
    (place / _BEGUN).touch()
    (place / SETTINGS).unlink(missing_ok=True)
    for old in place.glob("*.wav"):
        old.unlink()
    return place


def _finish(place: pathlib.Path, rows: list[dict], unknown: list[str], settings: dict) -> None:
    with folder.opened(place / TRUTH) as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with folder.opened(place / UNKNOWN) as file:
        file.writelines(f"{name}\n" for name in unknown)
    with folder.opened(place / SETTINGS) as file:
        file.write(json.dumps({"format": 1, **settings}, indent=1) + "\n")
    (place / _BEGUN).unlink()
