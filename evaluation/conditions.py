"""Names of what a query went through -> the steps that put it through that.

    clean            nothing
    n5 n0 n-6        background noise at so many dB below the music; speech5 likewise a voice
    room mic         a room's or a microphone's response
    phone            a room, noise at 5 dB, clipped peaks, 300 to 3400 Hz
    mp3 opus aac     coded at 32, 12 and 24 kbit/s; codec draws between mp3 and opus
    speed+4 tempo+10 pitch+1    percent faster and higher, percent faster, semitones higher
    gain-20 band clipped compressed

Steps can be chained with dots, in the order they happen: n5.room.mic is a noisy room through a
microphone, the query set of pfann.
"""

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable

import numpy as np

from . import codecs, degrade, material

# The set the published systems were compared on (README, "Robustness").
# fmt: off
ROBUSTNESS = (
    "clean", "n10", "n5", "n0", "room", "phone", "codec", "speed+4", "speed-4", "tempo+10",
    "pitch+1", "gain-20",
)
# fmt: on
_ALIASES = {"reverb": "room", "microphone": "mic"}
_PHONE_HZ = (300.0, 3400.0)  # The band of a telephone line.


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


@dataclasses.dataclass(frozen=True)
class Condition:
    name: str
    steps: tuple[Step, ...]
    rate: float  # As in Take.
    kinds: frozenset[str]  # Of surroundings it draws: noise, speech, room, microphone.
    uses_ffmpeg: bool

    def apply(
        self, take: Take, rng: np.random.Generator, surroundings: material.Surroundings
    ) -> Take:
        for step in self.steps:
            step(take, rng, surroundings)
        return take


def parse(name: str) -> Condition:
    """Reads a name; raises ValueError with what was probably meant."""
    parts = [_ALIASES.get(part, part) for part in name.split(".")]
    found = [_read(part, name) for part in parts]
    return Condition(
        name=name,
        steps=tuple(step for steps, *_ in found for step in steps),
        rate=float(np.prod([rate for _, rate, _, _ in found])),
        kinds=frozenset(kind for *_, kinds, _ in found for kind in kinds),
        uses_ffmpeg=any(ffmpeg for *_, ffmpeg in found),
    )


def _read(part: str, name: str) -> tuple[tuple[Step, ...], float, tuple[str, ...], bool]:
    """Gives the steps of one part, its rate, the kinds it draws, and whether it needs ffmpeg."""
    if part in _FIXED:
        return _FIXED[part]
    match = re.fullmatch(r"([a-z]+)([+-]?\d+(?:\.\d+)?)", part)
    if not match or match[1] not in _NUMBERED:
        known = [*_FIXED, *(f"{word}N" for word in _NUMBERED)]
        close = difflib.get_close_matches(part, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {' '.join(known)}"
        raise ValueError(f"condition {name!r}: no {part!r}; {hint}")
    return _NUMBERED[match[1]](float(match[2]))


def _noise(take, rng, surroundings, *, snr_db: float, kind: str = "noise") -> None:
    drawn = surroundings.noise(
        rng, kind=kind, n_samples=len(take.samples), sample_rate_hz=take.sample_rate_hz
    )
    take.samples = degrade.mix(take.samples, drawn.samples, snr_db=snr_db, over=take.heard)
    take.notes |= {"snr": f"{snr_db:g}", kind: drawn.name}


def _response(take, rng, surroundings, *, kind: str) -> None:
    drawn = surroundings.response(rng, kind=kind, sample_rate_hz=take.sample_rate_hz)
    take.samples = degrade.convolve(take.samples, drawn.samples, direct=drawn.direct)
    take.notes[kind] = drawn.name


def _clip(take, rng, surroundings) -> None:
    take.samples = degrade.clip(take.samples, over=take.heard)


def _band(take, rng, surroundings) -> None:
    low_hz, high_hz = _PHONE_HZ
    take.samples = degrade.band(
        take.samples, low_hz=low_hz, high_hz=high_hz, sample_rate_hz=take.sample_rate_hz
    )


def _gain(take, rng, surroundings, *, gain_db: float) -> None:
    take.samples = degrade.gain(take.samples, gain_db=gain_db)


def _codec(take, rng, surroundings, *, among: tuple[str, ...]) -> None:
    codec = among[rng.integers(len(among))]
    take.samples = codecs.round_trip(take.samples, codec=codec, sample_rate_hz=take.sample_rate_hz)
    take.notes["codec"] = codec


def _compress(take, rng, surroundings) -> None:
    take.samples = codecs.compress(take.samples, sample_rate_hz=take.sample_rate_hz)


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


def _pitch(take, rng, surroundings, *, semitones: float) -> None:
    take.samples = codecs.change_pitch(
        take.samples, semitones=semitones, sample_rate_hz=take.sample_rate_hz
    )


def _one(step: Callable, *kinds: str, rate: float = 1.0, ffmpeg: bool = False, **settings):
    return (functools.partial(step, **settings),), rate, kinds, ffmpeg


_FIXED = {
    "clean": ((), 1.0, (), False),
    "room": _one(_response, "room", kind="room"),
    "mic": _one(_response, "microphone", kind="microphone"),
    "band": _one(_band),
    "clipped": _one(_clip),
    "compressed": _one(_compress, ffmpeg=True),
    "codec": _one(_codec, among=("mp3", "opus"), ffmpeg=True),
    **{name: _one(_codec, among=(name,), ffmpeg=True) for name in codecs.CODECS},
    "phone": (
        (
            functools.partial(_response, kind="room"),
            functools.partial(_noise, snr_db=5.0),
            _clip,
            _band,
        ),
        1.0,
        ("room", "noise"),
        False,
    ),
}
_NUMBERED = {
    "n": lambda db: _one(_noise, "noise", snr_db=db),
    "noise": lambda db: _one(_noise, "noise", snr_db=db),
    "speech": lambda db: _one(_noise, "speech", snr_db=db, kind="speech"),
    "gain": lambda db: _one(_gain, gain_db=db),
    "speed": lambda percent: _one(_speed, rate=1 + percent / 100, factor=1 + percent / 100),
    "tempo": lambda percent: _one(
        _tempo, rate=1 + percent / 100, ffmpeg=True, factor=1 + percent / 100
    ),
    "pitch": lambda semitones: _one(_pitch, ffmpeg=True, semitones=semitones),
}
