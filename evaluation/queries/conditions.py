"""Names of what a query went through -> the steps that put it through that.

    clean                       nothing
    n5 n0 n-6  speech5          background noise, or a voice, so many dB below the music
    room mic speaker            the response of a room, a microphone, a phone's own loudspeaker
    phone                       a room, noise at 5 dB, clipped peaks, 300 to 3400 Hz
    mp3 opus aac mp3@16         coded at 32, 12, 24 (or so many) kbit/s; codec: mp3 or opus, by lot
    rate4                       resampled to so many kHz and back
    speed+4 tempo+10 pitch+1    percent faster and higher, percent faster, semitones higher
    band lowpass1500 highpass1800    300 to 3400 Hz; what lies below, above so many Hz
    gain-20 clipped clipped3    dB; peaks cut 6 (or so many) dB above the RMS
    compressed echo150          dynamic range narrowed; repeated after so many ms

Steps can be chained with dots, in the order they happen: n5.room.mic is a noisy room through a
microphone, the query set of pfann. A number may be a range, n0~10: each query draws its own.
"""

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nafp import errors

from . import codecs, degrade, material

# The set the published systems were compared on (docs/evaluating.md).
# fmt: off
ROBUSTNESS = (
    "clean", "n10", "n5", "n0", "room", "phone", "codec", "speed+4", "speed-4", "tempo+10",
    "pitch+1", "gain-20",
)
# fmt: on
_ALIASES = {"reverb": "room", "microphone": "mic"}
_PHONE_HZ = {"low_hz": 300.0, "high_hz": 3400.0}  # The band of a telephone line.
_NUMBER = r"([+-]?\d+(?:\.\d+)?)"
_PART = re.compile(rf"(mp3@|[a-z]+@?){_NUMBER}(?:~{_NUMBER})?")


@dataclasses.dataclass
class Take:
    """A recording on its way: the query is samples[heard], around it context that is cut off."""

    samples: np.ndarray  # float32 [S]
    sample_rate_hz: int
    head: int  # Samples before the query.
    n_samples: int  # Of the query.
    rate: float = 1.0  # Seconds of the recording that pass in one second of the query.
    notes: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def heard(self) -> slice:
        return slice(self.head, self.head + self.n_samples)


Step = Callable[[Take, np.random.Generator, material.Surroundings], None]


class _Part(NamedTuple):
    """What stands between two dots."""

    steps: tuple[Step, ...] = ()
    rate: float = 1.0
    kinds: tuple[str, ...] = ()
    ffmpeg: bool = False
    codecs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Condition:
    name: str
    steps: tuple[Step, ...]
    rate: float  # As in Take; the fastest of a range.
    kinds: frozenset[str]  # Of surroundings it draws: noise, speech, room, microphone.
    uses_ffmpeg: bool
    codecs: frozenset[str]
    keeps_time: bool  # A second of the query is a second of the recording.

    def settled(self, rng: np.random.Generator) -> "Condition":
        """Draws what is a range in the name, evenly; without one, draws nothing and is itself."""
        if "~" not in self.name:
            return self
        return parse(_PART.sub(lambda match: _drawn(match, rng), self.name))

    def apply(self, take: Take, rng: np.random.Generator, surroundings: material.Surroundings) -> Take:
        for step in self.steps:
            step(take, rng, surroundings)
        return take


def parse(name: str) -> Condition:
    """Reads a name; raises ValueError with what was probably meant."""
    # A dot between digits is a decimal point.
    parts = [_ALIASES.get(part, part) for part in re.split(r"\.(?!\d)|(?<!\d)\.", name)]
    found = [_read(part, name) for part in parts]
    return Condition(
        name=name,
        steps=tuple(step for part in found for step in part.steps),
        rate=float(np.prod([part.rate for part in found])),
        kinds=frozenset(kind for part in found for kind in part.kinds),
        uses_ffmpeg=any(part.ffmpeg for part in found),
        codecs=frozenset(codec for part in found for codec in part.codecs),
        keeps_time=not any(part.startswith(("speed", "tempo")) for part in parts),
    )


def _read(part: str, name: str) -> _Part:
    if part in _FIXED:
        return _FIXED[part]
    match = _PART.fullmatch(part)
    if not match or match[1] not in _NUMBERED:
        known = [*_FIXED, *(f"{word}N" for word in _NUMBERED)]
        close = difflib.get_close_matches(part, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {' '.join(known)}"
        raise errors.Invalid(f"condition {name!r}: no {part!r}; {hint}")
    ends = [float(end) for end in match.groups()[1:] if end]
    if ends != sorted(ends):
        raise errors.Invalid(f"condition {name!r}: {part!r} is a range from high to low")
    lowest = _LEAST.get(match[1], -np.inf)
    if ends[0] <= lowest:
        raise errors.Invalid(f"condition {name!r}: {part!r}; the number must be above {lowest:g}")
    return _NUMBERED[match[1]](ends[-1])


def _drawn(match: re.Match, rng: np.random.Generator) -> str:
    if not match[3]:
        return match[0]
    return f"{match[1]}{rng.uniform(float(match[2]), float(match[3])):+.3f}"


def _noise(take, rng, surroundings, *, snr_db: float, kind: str = "noise") -> None:
    drawn = surroundings.noise(rng, kind=kind, n_samples=len(take.samples), sample_rate_hz=take.sample_rate_hz)
    take.samples = degrade.mix(take.samples, drawn.samples, snr_db=snr_db, over=take.heard)
    take.notes |= {"snr": f"{snr_db:g}", kind: drawn.name}


def _response(take, rng, surroundings, *, kind: str) -> None:
    drawn = surroundings.response(rng, kind=kind, sample_rate_hz=take.sample_rate_hz)
    take.samples = degrade.convolve(take.samples, drawn.samples, direct=drawn.direct)
    take.notes[kind] = drawn.name


def _clip(take, rng, surroundings, **crest: float) -> None:
    take.samples = degrade.clip(take.samples, over=take.heard, **crest)


def _filter(take, rng, surroundings, *, change: Callable[..., np.ndarray], **settings) -> None:
    """Applies a change of samples at a rate that leaves the query in its place."""
    take.samples = change(take.samples, sample_rate_hz=take.sample_rate_hz, **settings)


def _gain(take, rng, surroundings, *, gain_db: float) -> None:
    take.samples = degrade.gain(take.samples, gain_db=gain_db)


def _codec(take, rng, surroundings, *, among: tuple[str, ...], kbit_s: float = 0) -> None:
    codec = among[rng.integers(len(among))]
    take.samples = codecs.round_trip(take.samples, codec=codec, sample_rate_hz=take.sample_rate_hz, kbit_s=kbit_s)
    take.notes["codec"] = f"{codec}@{kbit_s:g}" if kbit_s else codec


def _speed(take, rng, surroundings, *, factor: float) -> None:
    take.samples = codecs.change_speed(take.samples, factor=factor)
    _faster(take, factor)


def _tempo(take, rng, surroundings, *, factor: float) -> None:
    rate = take.sample_rate_hz
    take.samples = codecs.change_tempo(take.samples, factor=factor, sample_rate_hz=rate)
    _faster(take, factor)


def _faster(take: Take, factor: float) -> None:
    take.head, take.n_samples = round(take.head / factor), round(take.n_samples / factor)
    take.rate *= factor


def _one(
    step: Callable,
    *kinds: str,
    rate: float = 1.0,
    ffmpeg: bool = False,
    codecs: tuple[str, ...] = (),
    **settings,
) -> _Part:
    return _Part((functools.partial(step, **settings),), rate, kinds, ffmpeg, codecs)


def _coded(*among: str, **settings: float) -> _Part:
    return _one(_codec, ffmpeg=True, codecs=among, among=among, **settings)


def _changed(change: Callable[..., np.ndarray], *, ffmpeg: bool = False, **settings) -> _Part:
    return _one(_filter, ffmpeg=ffmpeg, change=change, **settings)


def _faster_part(step: Callable, percent: float, *, ffmpeg: bool = False) -> _Part:
    factor = 1 + percent / 100
    return _one(step, rate=factor, ffmpeg=ffmpeg, factor=factor)


_FIXED = {
    "clean": _Part(),
    "room": _one(_response, "room", kind="room"),
    "mic": _one(_response, "microphone", kind="microphone"),
    "speaker": _changed(degrade.phone_speaker),
    "band": _changed(degrade.band, **_PHONE_HZ),
    "clipped": _one(_clip),
    "compressed": _changed(codecs.compress, ffmpeg=True),
    "codec": _coded("mp3", "opus"),
    **{name: _coded(name) for name in codecs.CODECS},
    "phone": _Part(
        (
            functools.partial(_response, kind="room"),
            functools.partial(_noise, snr_db=5.0),
            _clip,
            functools.partial(_filter, change=degrade.band, **_PHONE_HZ),
        ),
        kinds=("room", "noise"),
    ),
}
_NUMBERED = {
    "n": lambda db: _one(_noise, "noise", snr_db=db),
    "noise": lambda db: _one(_noise, "noise", snr_db=db),
    "speech": lambda db: _one(_noise, "speech", snr_db=db, kind="speech"),
    "gain": lambda db: _one(_gain, gain_db=db),
    "clipped": lambda db: _one(_clip, crest_db=db),
    "lowpass": lambda hz: _changed(degrade.band, high_hz=hz),
    "highpass": lambda hz: _changed(degrade.band, low_hz=hz),
    "echo": lambda ms: _changed(degrade.echo, delay_s=ms / 1000),
    "rate": lambda khz: _changed(codecs.through_rate, through_hz=1000 * khz),
    "speed": lambda percent: _faster_part(_speed, percent),
    "tempo": lambda percent: _faster_part(_tempo, percent, ffmpeg=True),
    "pitch": lambda semitones: _changed(codecs.change_pitch, ffmpeg=True, semitones=semitones),
    **{f"{name}@": functools.partial(lambda name, kbit_s: _coded(name, kbit_s=kbit_s), name) for name in codecs.CODECS},
}
# Numbers that would mean nothing, or stop the clock.
_LEAST = {"lowpass": 0, "highpass": 0, "echo": 0, "rate": 0, "speed": -90, "tempo": -50}
_LEAST |= {f"{name}@": 0 for name in codecs.CODECS}
