"""Is the recording in the collection at all? Unknown queries, thresholds, DET curves.

Thresholds and probabilities are fitted on one half of the songs and judged on the other, then the
halves change places: nothing is judged by what it was fitted on, and every query counts.
"""

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp.search import confidence

from . import results
from .metrics import Answers, Hits

LEFT_OUT = "left-out"  # Unknown queries: each one once more, its own track taken out.
FEWEST = 20  # Known and unknown queries, each, below which nothing is fitted.
CRITERIA = ("score", "margin", "probability")
EDGES = np.linspace(0, 1, 51)  # Of the histograms of scores and margins.
_BINS = 10  # Of the calibration error: 0 .. 0.1, 0.1 .. 0.2, ...
_CURVE_POINTS = 200


class Verdict(NamedTuple):
    """One criterion at one length, at a nominal share of false accepts.

    false: unknown queries accepted, of those asked; accepted: known queries accepted and right.
    """

    false: Hits
    accepted: Hits


class OpenSet(NamedTuple):
    """Verdicts per criterion; DET curve [P, 2] of false accepts and misses by probability; error
    of calibration (ECE); fitted weights [3] from all queries, for use."""

    verdicts: dict[str, Verdict]
    curve: np.ndarray
    calibration_error: float
    weights: np.ndarray


def judged(
    scored: results.Scored,
    left_out: Answers | None,
    *,
    false_accepts: float,
    fitted: confidence.Confidence | None = None,
) -> dict[str, Any] | None:
    """Judges every length as results.json has it; None without enough unknown queries.

    left_out: answers to the same questions with their own tracks taken out, the unknown ones then.
    fitted: whose probabilities are judged; None: those of a fit on the other half of the songs.
    """
    known = scored.questions.is_known
    found = {}
    for column, length in enumerate(scored.lengths):
        asked = scored.asked["song" if scored.asked["song"].any() else "near"][:, column]
        right = scored.right["song" if scored.asked["song"].any() else "near"][:, column]
        score, margin = (each[:, column] for each in margins(scored.answers))
        strange = scored.answers.asked[:, column] & ~known
        parts = [(score, margin, right & known, strange, asked | strange)]
        if left_out is not None:
            score, margin = (each[:, column] for each in margins(left_out))
            never, strange = np.zeros(len(known), bool), asked & left_out.asked[:, column]
            parts.append((score, margin, never, strange, strange))
        keep = np.concatenate([part[4] for part in parts])
        score, margin, right, strange = (np.concatenate([part[i] for part in parts])[keep] for i in range(4))
        songs = [song for song, kept in zip(scored.questions.songs * len(parts), keep) if kept]
        if strange.sum() >= FEWEST and (~strange).sum() >= FEWEST:
            one = judge(
                score,
                margin,
                right,
                strange,
                songs,
                false_accepts=false_accepts,
                fitted=fitted,
                length=length,
            )
            counts = {"score": binned(score[strange]), "margin": binned(margin[strange])}
            found[str(length)] = _written(one, false_accepts) | {
                "unknown": {name: count.tolist() for name, count in counts.items()}
            }
    return found or None


def _written(one: "OpenSet", false_accepts: float) -> dict[str, Any]:
    return {
        "nominal_false_accepts": false_accepts,
        "verdicts": {
            name: {"false": results.cell(verdict.false), "accepted": results.cell(verdict.accepted)}
            for name, verdict in one.verdicts.items()
        },
        "curve": one.curve.round(5).tolist(),
        "calibration_error": one.calibration_error,
        "weights": one.weights.tolist(),
    }


def judge(
    scores: np.ndarray,
    margins: np.ndarray,
    is_right: np.ndarray,
    unknown: np.ndarray,
    songs: Sequence[str],
    *,
    false_accepts: float = 0.01,
    fitted: confidence.Confidence | None = None,
    length: int = 1,
) -> OpenSet:
    """Judges accept-or-reject at one length. scores, margins: [Q]; is_right, unknown: bool [Q].

    fitted: gives the probabilities; None: a fit on the other half does. Thresholds are always
    found on the other half.
    """
    half = halves(songs)
    probability = np.empty(len(scores))
    accepted = {name: np.zeros(len(scores), bool) for name in CRITERIA}
    for fold in (0, 1):
        one, other = half != fold, half == fold
        model = fitted or confidence.Confidence(
            [length],
            confidence.fit(scores[one], margins[one], is_right[one], unknown=unknown[one])[None],
        )
        probability[other] = model.probability(length, scores[other], margins[other])
        own = model.probability(length, scores[one], margins[one])
        for name, here, there in (
            ("score", scores[one], scores[other]),
            ("margin", margins[one], margins[other]),
            ("probability", own, probability[other]),
        ):
            accepted[name][other] = there > threshold(here[unknown[one]], false_accepts)
    known = ~unknown
    return OpenSet(
        {
            name: Verdict(
                Hits(int((taken & unknown).sum()), int(unknown.sum())),
                Hits(int((taken & is_right & known).sum()), int(known.sum())),
            )
            for name, taken in accepted.items()
        },
        curve(probability, is_right, unknown),
        calibration_error(probability, is_right, unknown),
        confidence.fit(scores, margins, is_right, unknown=unknown),
    )


def binned(values: np.ndarray) -> np.ndarray:
    """Counts values per bin of EDGES, int64 [50]; what lies outside goes to the ends."""
    return np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)[0]


def halves(songs: Sequence[str]) -> np.ndarray:
    """Deals songs into two halves by their names, int [Q]: the same in every run and system."""
    return np.array([zlib.crc32(song.encode("utf-8", "surrogateescape")) & 1 for song in songs])


def threshold(unknown: np.ndarray, false_accepts: float) -> float:
    """Gives the value that at most this share of the unknown exceeds."""
    if not len(unknown):
        return -np.inf
    rank = int(np.ceil((1 - false_accepts) * len(unknown))) - 1
    return float(np.sort(unknown)[max(0, rank)])


def curve(values: np.ndarray, is_right: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Gives the DET curve [P, 2]: share of unknown accepted, share of known not accepted right."""
    thresholds = np.unique(np.quantile(values, np.linspace(0, 1, _CURVE_POINTS), method="nearest"))
    thresholds = np.concatenate([[-np.inf], thresholds])
    strangers, right = np.sort(values[unknown]), np.sort(values[~unknown & is_right])
    n_known = max(1, int((~unknown).sum()))
    false = 1 - np.searchsorted(strangers, thresholds, side="right") / max(1, len(strangers))
    kept = (len(right) - np.searchsorted(right, thresholds, side="right")) / n_known
    return np.stack([false, 1 - kept], axis=1)


def calibration_error(probability: np.ndarray, is_right: np.ndarray, unknown: np.ndarray) -> float:
    """Gives the expected calibration error with known and unknown queries weighing the same."""
    weight = np.where(unknown, 1 / max(1, unknown.sum()), 1 / max(1, (~unknown).sum()))
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    total = np.bincount(place, weight, minlength=_BINS)
    said = np.bincount(place, weight * probability, minlength=_BINS)
    was = np.bincount(place, weight * is_right, minlength=_BINS)
    return float(np.abs(said - was).sum() / total.sum())


def margins(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Gives the best score and its margin, [Q, M] each; a question without candidates scores 0."""
    best = np.where(np.isfinite(answers.scores[:, :, 0]), answers.scores[:, :, 0], 0)
    return best, best - answers.elsewhere
