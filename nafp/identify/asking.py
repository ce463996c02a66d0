"""How a clip is asked: at which speeds, with how many rows, and when an answer is sure.

`nafp identify`, `nafp monitor`, `nafp extract` (which prepares queries) and the evaluation all follow this module. It
imports neither numpy nor the network, so that the command can read its defaults before it loads anything heavy.

A clip is looked at once, at its own speed. If the answer is not sure, it is looked at again: at more speeds, and with
more rows if it is short. The second ranking then replaces the first. If that is not sure either, a few of its rows are
fingerprinted at many pitches (`Policy.pitches`), for clips that play far too fast or slow, or in another key. The best
of them are looked at with all rows, and replace the ranking if they stand out more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nafp import errors

if TYPE_CHECKING:
    import numpy as np

    from nafp.models import protocol
    from nafp.search import confidence, evidence

# Answers.
LEAST_PROBABLE = 0.5  # A candidate below this probability counts as not in the collection.
SURE = 0.9  # From this probability on, the first look decides.
SURE_MARGIN = 0.2  # The same for a network without a calibration, as a difference of cosines.

# Clips.
LONGEST_S = 60.0  # Only the beginning of a longer clip is listened to; `nafp monitor` is for long recordings.
SHORT_S = 5.0  # A shorter clip gets twice as many rows in a closer look; others have enough.
HOP_S = 0.5  # Between query rows in the first look, at most.
SPEEDS = (0.94, 0.97, 1.03, 1.06)  # Undone in a closer look, beside the clip's own speed.
SLOWEST, FASTEST = 0.5, 2.0  # Speeds that may be asked for.
# Pitches that are tried in the last look: frequencies of the clip divided by those of its recording, five semitones
# down to five up, without those that SPEEDS undo. At 1.5 % from the right one a fingerprint keeps a cosine of 0.82 with
# its recording's, at 3 % 0.40. Of 151 clips of 1 s of the validation split, 144 were of the right tune with pitches
# 2.5 % apart and 146 with 3 %; of 72 of them, 71 with both and 68 with 3.33 %.
PITCHES = tuple(round(math.exp(0.03 * step), 4) for step in range(-10, 11) if abs(step) > 2)
PITCHED_ROWS = 4  # Rows of a clip, at most, that are fingerprinted at some of them: half of these at all of them.
# Pitches that are looked at with the other half, too. Of 79 clips of 3 s, 75 were of the right tune with 5 and a search
# for the other half, 78 with 3 and none.
LIKELY_PITCHES = 3
TRIED = 2  # Pitches that are looked at with all rows.
SILENCE = 3e-4  # RMS, -70 dB. A quieter segment would match every track that pauses anywhere.
HUM_HZ = 170.0  # What sounds below this alone is mains (50 or 60 Hz, its second and third) or a motor.
ASIDE_S = 3.0  # A clip that holds its track but for less than this is answered as a whole.
# A clip that is this share of a segment, or more, once its speed is undone, is filled up with silence. Of 150 clean
# clips of one second of the validation split that play 4 % slower, 139 are then found, and 6 without.
FILLED = 0.9
BRIEF = 0.5  # Share of a segment that a clip must have. A shorter one than a segment is continued (see `brief`).

# Long recordings.
LISTENING_HOP_S = 0.25  # Between query rows, at most: places between two rows of a track are met, too.
MAX_SPEED, LARGEST_MAX_SPEED = 4.0, 12.0  # Percent by which tracks may be faster or slower: default and limit.
_LEAST_TOLERANCE = 0.01  # Change of speed that a network trained at one speed bears.
_BORNE = 0.8  # Share that a network bears of the change of speed it was trained with.


class Look(NamedTuple):
    """One look at a clip. speeds: the speeds that are undone. shifts: query rows for each row of the collection."""

    speeds: tuple[float, ...]
    shifts: int


class Policy(NamedTuple):
    """How clips are asked.

    at_once: speeds undone in the first look, the clip's own, 1, first. if_unsure: speeds added in a closer look.
    shifts: query rows for each row of the collection; shifts_if_short: the same in a closer look at a clip shorter
    than SHORT_S. pitches: tried in a last look where the closer one is unsure.
    """

    at_once: tuple[float, ...]
    if_unsure: tuple[float, ...]
    shifts: int
    shifts_if_short: int
    pitches: tuple[float, ...] = ()

    @property
    def first(self) -> Look:
        """The look that every clip gets."""
        return Look(self.at_once, self.shifts)

    def closer(self, *, clip_s: float) -> Look | None:
        """Returns the look that a clip of `clip_s` seconds gets after an unsure one. None if nothing is left to try."""
        shifts = self.shifts_if_short if clip_s < SHORT_S else self.shifts
        look = Look((*self.at_once, *self.if_unsure), shifts)
        return None if look == self.first else look


def policy(
    *, hop_s: float, speeds: str | Sequence[float] = "auto", shifts: int = 0, sample_rate_hz: float = math.inf
) -> Policy:
    """Returns how clips are asked in a collection whose rows are `hop_s` seconds apart.

    speeds: "auto" for SPEEDS where the first look is unsure, and then for PITCHES; "near" for SPEEDS alone; "none" for
    the clip's own; or numbers, which the first look undoes, too. shifts: query rows for each row of the collection, in
    every look; 0 for one each HOP_S, and twice as many in a closer look at a short clip. sample_rate_hz: of the
    network, inf where it is not known yet. Raises nafp.errors.Invalid for other speeds, and for query rows less than a
    sample apart.
    """
    at_once, if_unsure = _speeds(speeds)
    require_shifts(shifts, hop=hop_s * sample_rate_hz)
    rows = shifts or shifts_for(hop_s, at_most_s=HOP_S)
    return Policy(at_once, if_unsure, rows, shifts or 2 * rows, PITCHES if speeds == "auto" else ())


def require_shifts(shifts: int, *, hop: float) -> None:
    """Raises nafp.errors.Invalid for more query rows than there are samples from a row to the next. hop: in samples."""
    if shifts > hop:
        raise errors.Invalid(
            f"--shifts={shifts}: rows are {hop:.0f} samples apart, and at most so many query rows begin between two of "
            "them; 4 are plenty"
        )


def rules(*, hop_s: float) -> dict[str, Any]:
    """Returns how clips are asked, for a client that computes fingerprints itself, such as a page in a browser.

    hop_s: seconds between the rows of the collection. Numbers mean what the constants and `Policy` say of them.
    """
    own = policy(hop_s=hop_s)
    return {
        "sure": SURE,
        "sure_margin": SURE_MARGIN,
        "least": LEAST_PROBABLE,
        "speeds": [*own.at_once, *own.if_unsure],
        "shifts": own.shifts,
        "shifts_if_short": own.shifts_if_short,
        "short_s": SHORT_S,
        "longest_s": LONGEST_S,
        "silence": SILENCE,
        "hum_hz": HUM_HZ,
        "filled": FILLED,
        "brief": BRIEF,
    }


def shifts_for(hop_s: float, *, at_most_s: float) -> int:
    """Returns how many query rows for each row of a collection bring them `at_most_s` seconds apart, about."""
    return max(1, round(hop_s / at_most_s))


def probability(
    calibration: confidence.Confidence | None,
    *,
    length: int,
    score: float,
    margin: float,
    judged: bool = False,
    found: evidence.Evidence | None = None,
) -> float | None:
    """Returns the probability that a best candidate is right. None without a calibration.

    length: in segments. judged: whether score and margin are judged by peaks, too. found: what else speaks for it.
    """
    if calibration is None:
        return None
    import numpy as np  # Here: a command's defaults need no numpy.

    return float(calibration.probability(length, np.array(score), np.array(margin), judged=judged, found=found))


def probabilities(
    calibration: confidence.Confidence | None,
    length: int,
    scores: np.ndarray,
    elsewhere: float,
    *,
    judged: bool,
    found: evidence.Evidence | None,
) -> list[float] | list[None]:
    """Returns the probability of each candidate of a clip, best first. None for each without a calibration.

    scores: float [T]. elsewhere: the score that margins are counted from. The others: as of `probability`.
    """
    if calibration is None:
        return [None] * len(scores)
    counted = scores.astype(float)
    return calibration.probability(length, counted, counted - elsewhere, judged=judged, found=found).tolist()


def is_sure(probability: float | None, margin: float) -> bool:
    """Returns whether the best candidate needs no closer look. Without a calibration its margin decides."""
    return margin >= SURE_MARGIN if probability is None else probability >= SURE


def is_probable(probability: float | None, least: float = LEAST_PROBABLE) -> bool:
    """Returns whether a candidate reaches `least`. Without a calibration there is no probability, and all pass."""
    return probability is None or probability >= least


def is_filled(n_samples: int, *, segment: int) -> bool:
    """Returns whether a clip of `n_samples`, its speed undone, is filled up with silence to one segment."""
    return FILLED * segment <= n_samples < segment


def says_nothing(waveforms: np.ndarray, *, sample_rate_hz: int) -> np.ndarray:
    """Returns which segments [n, S] are silent but for a hum below HUM_HZ, and tell no track from another: bool [n]."""
    import numpy as np  # Here: a command's defaults need no numpy.

    n_samples = waveforms.shape[1]
    window = np.hanning(n_samples + 1)[:-1].astype(np.float32)  # Without it a hum leaks into all frequencies.
    powers = np.abs(np.fft.rfft(waveforms * window, axis=1)) ** 2
    squares = 2 * powers[:, math.ceil(HUM_HZ * n_samples / sample_rate_hz) :].sum(axis=1)
    return squares < SILENCE**2 * n_samples * float((window**2).sum())


def fingerprints(
    network: protocol.Network, waveforms: np.ndarray, compute: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """Returns fingerprints [n, D] of segments [n, S], zeros for what says nothing.

    compute: what turns segments into fingerprints, None for the network itself.
    """
    import numpy as np  # Here: a command's defaults need no numpy.

    is_heard = ~says_nothing(waveforms, sample_rate_hz=network.sample_rate_hz)
    vectors = np.zeros((len(waveforms), network.dim), np.float32)
    if is_heard.any():
        vectors[is_heard] = (compute or network)(waveforms[is_heard])
    return vectors


def tolerance(*, trained_with: float) -> float:
    """Returns the change of speed that fingerprints bear. trained_with: the largest one in training (0.05: 5 %)."""
    return max(_LEAST_TOLERANCE, _BORNE * trained_with)


def speeds_within(most: float, *, tolerance: float) -> list[float]:
    """Lists the speeds to undo so that a track up to `most` (0.05: 5 %) faster or slower is found.

    tolerance: the change of speed that fingerprints bear. Speeds are multiples of 0.5 %. Raises nafp.errors.Invalid
    unless `most` is within 0 and LARGEST_MAX_SPEED percent.
    """
    if not 0 <= most <= LARGEST_MAX_SPEED / 100:
        raise errors.Invalid(
            f"a change of speed of up to {most:g} was asked for; allowed are 0 to {LARGEST_MAX_SPEED / 100:g}"
        )
    n_sides = math.ceil(max(0.0, most - tolerance) / (2 * tolerance) - 1e-9)
    return [1 + round(400 * i * tolerance) / 200 for i in range(-n_sides, n_sides + 1)]


def _speeds(wanted: str | Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the speeds to undo at once, and those to undo if that finds nothing for sure."""
    if wanted in ("auto", "near"):
        return (1.0,), SPEEDS
    if wanted == "none":
        return (1.0,), ()
    words: Sequence[str | float] = wanted.split(",") if isinstance(wanted, str) else wanted
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if not numbers or not all(SLOWEST <= number <= FASTEST for number in numbers):
        raise errors.Invalid(
            f"speeds {wanted!r}: give auto, near, none, or numbers between {SLOWEST:g} and {FASTEST:g}; 1.04 finds "
            "clips that play 4 % too fast"
        )
    return tuple(dict.fromkeys([1.0, *numbers])), ()
