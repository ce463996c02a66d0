"""Conditions: the name of what happens to a query -> the steps that do it.

    clean                       nothing
    n5 n0 n-6  speech5  song0   background noise, a voice, or another recording, this many dB below the music
    room mic speaker            the response of a room, of a microphone, of a phone's loudspeaker
    phone                       a room, noise at 5 dB, clipped peaks, 300 to 3400 Hz
    mp3 opus aac mp3@16         coded at 32, 12, 24 (or the given) kbit/s
    codec                       mp3 or opus, drawn at random
    rate4                       resampled to this many kHz and back
    speed+4 tempo+10 pitch+1    percent faster and higher, percent faster, semitones higher
    band lowpass1500 highpass1800    300 to 3400 Hz, below 1500 Hz, above 1800 Hz
    gain-20                     louder by this many dB
    clipped clipped3            peaks cut off 6 (or the given) dB above the RMS
    compressed echo150          dynamic range narrowed; repeated after this many ms

Dots chain steps in the order in which they happen: n5.room.mic is a noisy room through a microphone, the query set of
pfann. A number may be a range, as in n0~10: each query draws its own.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.jobs import choices

from . import codecs, degrade, material

_ADDED = ("n10", "n5", "n0", "room", "phone")
# The set that the published systems were compared on; the protocol `robustness` names the same.
ROBUSTNESS = ("clean", *_ADDED, "codec", "speed+4", "speed-4", "tempo+10", "pitch+1", "gain-20")
_ALIASES = {"reverb": "room", "microphone": "mic"}
_telephone = functools.partial(degrade.band, low_hz=300.0, high_hz=3400.0)  # The band of a telephone line.
_NUMBER = r"([+-]?\d+(?:\.\d+)?)"
_PART = re.compile(rf"(mp3@|[a-z]+@?){_NUMBER}(?:~{_NUMBER})?")


@dataclasses.dataclass
class Take:
    """A stretch of a recording between the steps of a condition.

    The query is samples[heard]. The samples around it are context, which is cut off at the end.
    """

    samples: np.ndarray  # float32 [S]
    sample_rate_hz: int
    head: int  # Number of samples before the query.
    n_samples: int  # Length of the query.
    rate: float = 1.0  # Seconds of the recording that pass in one second of the query.
    name: str = ""  # Of the recording.
    notes: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def heard(self) -> slice:
        """The place of the query in the samples."""
        return slice(self.head, self.head + self.n_samples)


_Rng = np.random.Generator
_Around = material.Surroundings
_Change = Callable[..., np.ndarray]  # (samples, *, sample_rate_hz, ...) -> samples
Step = Callable[[Take, _Rng, _Around], None]


class _Part(NamedTuple):
    """What one part of a name, between two dots, stands for. The fields are those of `Condition`."""

    steps: tuple[Step, ...] = ()
    rate: float = 1.0
    kinds: tuple[str, ...] = ()
    ffmpeg: bool = False
    codecs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Condition:
    """A name and the steps that it stands for."""

    name: str
    steps: tuple[Step, ...]
    rate: float  # As in Take; of a range, the fastest.
    kinds: frozenset[str]  # Kinds of surroundings to draw from: noise, speech, music, room, microphone.
    uses_ffmpeg: bool
    codecs: frozenset[str]
    keeps_time: bool  # Whether a second of the query is a second of the recording.

    def settled(self, rng: np.random.Generator) -> "Condition":
        """Returns the condition with a number drawn evenly from each range in its name."""
        if "~" not in self.name:
            return self
        return parse(_PART.sub(lambda match: _drawn(match, rng), self.name))

    def apply(self, take: Take, rng: np.random.Generator, surroundings: material.Surroundings) -> Take:
        """Takes `take` through all steps, changing it, and returns it."""
        for step in self.steps:
            step(take, rng, surroundings)
        return take


def parse(name: str) -> Condition:
    """Returns the condition of this name. Raises errors.Invalid with a guess at what was meant."""
    # A dot between digits is a decimal point.
    parts = [_ALIASES.get(part, part) for part in re.split(r"\.(?!\d)|(?<!\d)\.", name)]
    read = [_read(part, name) for part in parts]
    return Condition(
        name=name,
        steps=tuple(step for part in read for step in part.steps),
        rate=float(np.prod([part.rate for part in read])),
        kinds=frozenset(kind for part in read for kind in part.kinds),
        uses_ffmpeg=any(part.ffmpeg for part in read),
        codecs=frozenset(codec for part in read for codec in part.codecs),
        keeps_time=not any(part.startswith(("speed", "tempo")) for part in parts),
    )


def _read(part: str, name: str) -> _Part:
    if part in _FIXED:
        return _FIXED[part]
    match = _PART.fullmatch(part)
    if not match or match[1] not in _NUMBERED:
        words = [*_FIXED, *(f"{word}N" for word in _NUMBERED)]
        hint = f"there are {' '.join(words)}.{choices.closest(part, words)}"
        raise errors.Invalid(f"condition {name!r}: no {part!r}; {hint}")
    ends = [float(end) for end in match.groups()[1:] if end]
    if ends != sorted(ends):
        raise errors.Invalid(f"condition {name!r}: {part!r} is a range from high to low")
    bound = _ABOVE.get(match[1], -np.inf)
    if ends[0] <= bound:
        raise errors.Invalid(f"condition {name!r}: {part!r}; the number must be above {bound:g}")
    return _NUMBERED[match[1]](ends[-1])


def _drawn(match: re.Match, rng: np.random.Generator) -> str:
    if not match[3]:
        return match[0]
    return f"{match[1]}{rng.uniform(float(match[2]), float(match[3])):+.3f}"


def _noise(take: Take, rng: _Rng, surroundings: _Around, *, snr_db: float, kind: str = "noise") -> None:
    n_samples, rate = len(take.samples), take.sample_rate_hz
    drawn = surroundings.noise(rng, kind=kind, n_samples=n_samples, sample_rate_hz=rate, but=take.name)
    take.samples = degrade.mix(take.samples, drawn.samples, snr_db=snr_db, over=take.heard)
    take.notes |= {"snr": f"{snr_db:g}", kind: drawn.name}


def _response(take: Take, rng: _Rng, surroundings: _Around, *, kind: str) -> None:
    drawn = surroundings.response(rng, kind=kind, sample_rate_hz=take.sample_rate_hz)
    take.samples = degrade.convolve(take.samples, drawn.samples, direct=drawn.direct)
    take.notes[kind] = drawn.name


def _clip(take: Take, rng: _Rng, surroundings: _Around, **crest: float) -> None:
    take.samples = degrade.clip(take.samples, over=take.heard, **crest)


def _filter(take: Take, rng: _Rng, surroundings: _Around, *, change: _Change, **settings: float) -> None:
    """Applies a change that leaves the query in its place."""
    take.samples = change(take.samples, sample_rate_hz=take.sample_rate_hz, **settings)


def _gain(take: Take, rng: _Rng, surroundings: _Around, *, gain_db: float) -> None:
    take.samples = degrade.gain(take.samples, gain_db=gain_db)


def _codec(take: Take, rng: _Rng, surroundings: _Around, *, among: tuple[str, ...], kbit_s: float = 0) -> None:
    codec = among[rng.integers(len(among))]
    take.samples = codecs.round_trip(take.samples, codec=codec, sample_rate_hz=take.sample_rate_hz, kbit_s=kbit_s)
    take.notes["codec"] = f"{codec}@{kbit_s:g}" if kbit_s else codec


def _speed(take: Take, rng: _Rng, surroundings: _Around, *, factor: float) -> None:
    take.samples = codecs.change_speed(take.samples, factor=factor)
    _faster(take, factor)


def _tempo(take: Take, rng: _Rng, surroundings: _Around, *, factor: float) -> None:
    rate = take.sample_rate_hz
    take.samples = codecs.change_tempo(take.samples, factor=factor, sample_rate_hz=rate)
    _faster(take, factor)


def _faster(take: Take, factor: float) -> None:
    take.head, take.n_samples = round(take.head / factor), round(take.n_samples / factor)
    take.rate *= factor


def _part(
    step: Callable[..., None],
    *kinds: str,
    rate: float = 1.0,
    ffmpeg: bool = False,
    codecs: tuple[str, ...] = (),
    **settings: Any,
) -> _Part:
    """Returns the part of one step, called with these settings."""
    return _Part((functools.partial(step, **settings),), rate, kinds, ffmpeg, codecs)


def _coded(*among: str, kbit_s: float = 0) -> _Part:
    return _part(_codec, ffmpeg=True, codecs=among, among=among, kbit_s=kbit_s)


def _at_rate(codec: str) -> Callable[[float], _Part]:
    return lambda kbit_s: _coded(codec, kbit_s=kbit_s)


def _changed(change: _Change, *, ffmpeg: bool = False, **settings: Any) -> _Part:
    return _part(_filter, ffmpeg=ffmpeg, change=change, **settings)


def _faster_part(step: Callable[..., None], percent: float, *, ffmpeg: bool = False) -> _Part:
    factor = 1 + percent / 100
    return _part(step, rate=factor, ffmpeg=ffmpeg, factor=factor)


_FIXED: dict[str, _Part] = {
    "clean": _Part(),
    "room": _part(_response, "room", kind="room"),
    "mic": _part(_response, "microphone", kind="microphone"),
    "speaker": _changed(degrade.phone_speaker),
    "band": _changed(_telephone),
    "clipped": _part(_clip),
    "compressed": _changed(codecs.compress, ffmpeg=True),
    "codec": _coded("mp3", "opus"),
    **{name: _coded(name) for name in codecs.CODECS},
    "phone": _Part(
        (
            functools.partial(_response, kind="room"),
            functools.partial(_noise, snr_db=5.0),
            _clip,
            functools.partial(_filter, change=_telephone),
        ),
        kinds=("room", "noise"),
    ),
}
_NUMBERED: dict[str, Callable[[float], _Part]] = {
    "n": lambda db: _part(_noise, "noise", snr_db=db),
    "noise": lambda db: _part(_noise, "noise", snr_db=db),
    "speech": lambda db: _part(_noise, "speech", snr_db=db, kind="speech"),
    "song": lambda db: _part(_noise, "music", snr_db=db, kind="music"),
    "gain": lambda db: _part(_gain, gain_db=db),
    "clipped": lambda db: _part(_clip, crest_db=db),
    "lowpass": lambda hz: _changed(degrade.band, high_hz=hz),
    "highpass": lambda hz: _changed(degrade.band, low_hz=hz),
    "echo": lambda ms: _changed(degrade.echo, delay_s=ms / 1000),
    "rate": lambda khz: _changed(codecs.through_rate, through_hz=1000 * khz),
    "speed": lambda percent: _faster_part(_speed, percent),
    "tempo": lambda percent: _faster_part(_tempo, percent, ffmpeg=True),
    "pitch": lambda semitones: _changed(codecs.change_pitch, ffmpeg=True, semitones=semitones),
    **{f"{name}@": _at_rate(name) for name in codecs.CODECS},
}
# Numbers that are not above these would mean nothing, or would stop the clock.
_ABOVE = {"lowpass": 0, "highpass": 0, "echo": 0, "rate": 0, "speed": -90, "tempo": -50}
_ABOVE |= {f"{name}@": 0 for name in codecs.CODECS}
