"""Is the recording in the collection at all? Judges accept-or-reject by thresholds and DET curves.

Thresholds and probabilities are fitted on one half of the songs and judged on the other, and then the other way round.
So nothing is judged by what it was fitted on, and every query counts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp.search import confidence

from . import results
from .metrics import Answers, Hits

LEFT_OUT = "left-out"  # Takes each query, asked again without its own track, as an unknown one.
FEWEST = 20  # Nothing is fitted with fewer known, or fewer unknown, queries.
CRITERIA = ("score", "margin", "probability")
EDGES = np.linspace(0, 1, 51)  # Bins of the histograms of scores and margins.
MOST_POINTS = 150  # Clips whose scores and margins are kept, and drawn, one by one.
_BINS = 10  # Bins of the calibration error: 0 .. 0.1, 0.1 .. 0.2, ...
_CURVE_POINTS = 200  # Thresholds of a DET curve.


class Verdict(NamedTuple):
    """How one criterion does at one length, at a nominal share of false accepts.

    false: unknown queries that are accepted, of all unknown ones. accepted: known queries that are accepted and right,
    of all known ones.
    """

    false: Hits
    accepted: Hits


class OpenSet(NamedTuple):
    """The judgement at one length.

    verdicts: by criterion. curve: DET curve float64 [P, 2], false accepts and misses by probability. calibration_error:
    expected calibration error (ECE). weights: float64 [3], fitted to all queries, for use.
    """

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
    """Judges every length, as results.json has it. Returns None without enough unknown queries.

    left_out: answers to the same questions without their own tracks; they count as unknown queries. false_accepts: the
    nominal share. fitted: the calibration to judge; None for one that is fitted to the other half of the songs.
    """
    known = scored.questions.is_known
    judgements = {}
    for column, length in enumerate(scored.lengths):
        asked = scored.asked["song" if scored.asked["song"].any() else "near"][:, column]
        right = scored.right["song" if scored.asked["song"].any() else "near"][:, column]
        score, margin = (values[:, column] for values in margins(scored.answers))
        strange = scored.answers.asked[:, column] & ~known
        parts = [(score, margin, right & known, strange, asked | strange)]
        if left_out is not None:
            score, margin = (values[:, column] for values in margins(left_out))
            never, strange = np.zeros(len(known), bool), asked & left_out.asked[:, column]
            parts.append((score, margin, never, strange, strange))
        keep = np.concatenate([part[4] for part in parts])
        score, margin, right, strange = (np.concatenate([part[i] for part in parts])[keep] for i in range(4))
        songs = [song for song, is_kept in zip(scored.questions.songs * len(parts), keep) if is_kept]
        if are_enough(strange, songs):
            judgement = judge(
                score,
                margin,
                right,
                strange,
                songs,
                false_accepts=false_accepts,
                fitted=fitted,
                length=length,
            )
            judgements[str(length)] = _written(judgement, false_accepts) | _spread(score[strange], margin[strange])
    return judgements or None


def _spread(score: np.ndarray, margin: np.ndarray) -> dict[str, Any]:
    """Returns how scores and margins of unknown queries [U] spread: counts in bins, quantiles, and a few one by one."""
    both = {"score": score, "margin": margin}
    few = len(score) <= MOST_POINTS
    return {
        "unknown": {name: binned(values).tolist() for name, values in both.items()},
        "unknown_quantiles": {name: quantiles(values) for name, values in both.items()},
        "unknown_values": {name: values.round(4).tolist() for name, values in both.items()} if few else None,
    }


def _written(judgement: OpenSet, false_accepts: float) -> dict[str, Any]:
    """Returns a judgement as results.json has it."""
    return {
        "nominal_false_accepts": false_accepts,
        "verdicts": {
            name: {"false": results.cell(verdict.false), "accepted": results.cell(verdict.accepted)}
            for name, verdict in judgement.verdicts.items()
        },
        "curve": judgement.curve.round(5).tolist(),
        "calibration_error": judgement.calibration_error,
        "weights": judgement.weights.tolist(),
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
    """Judges accept-or-reject at one length.

    scores, margins: float [Q]. is_right, unknown: bool [Q]. songs: [Q], which queries belong together. fitted: the
    calibration that gives probabilities; None for one fitted to the other half. Thresholds always come from the other
    half. length: of the queries, in segments.
    """
    half = halves(songs)
    probability = np.empty(len(scores))
    accepted = {name: np.zeros(len(scores), bool) for name in CRITERIA}
    for fold in (0, 1):
        fits, judges = half != fold, half == fold
        model = fitted or confidence.Confidence(
            [length],
            confidence.fit(scores[fits], margins[fits], is_right[fits], unknown=unknown[fits])[None],
        )
        probability[judges] = model.probability(length, scores[judges], margins[judges])
        fitted_probability = model.probability(length, scores[fits], margins[fits])
        for name, fitting, judged_values in (
            ("score", scores[fits], scores[judges]),
            ("margin", margins[fits], margins[judges]),
            ("probability", fitted_probability, probability[judges]),
        ):
            accepted[name][judges] = judged_values > threshold(fitting[unknown[fits]], false_accepts)
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
    """Counts values per bin of EDGES, int64 [50]. Values outside of EDGES count in the first or last bin."""
    return np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)[0]


def quantiles(values: np.ndarray) -> list[float]:
    """Returns the values [N] that 5 %, half and 95 % lie below."""
    return np.quantile(values, (0.05, 0.5, 0.95)).round(4).tolist()


def halves(songs: Sequence[str]) -> np.ndarray:
    """Returns the half that each song belongs to, int [Q] of 0 and 1: by its name, so the same in every run.

    Of an absolute path only the file's name counts, so that it does not matter where the files lie.
    """
    names = [os.path.basename(song) if os.path.isabs(song) else song for song in songs]
    # A checksum would not do: the last bits of CRC-32 are the same for track0 to track5.
    return np.array([hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[0] & 1 for name in names])


def are_enough(unknown: np.ndarray, songs: Sequence[str]) -> bool:
    """Returns whether FEWEST queries are known and FEWEST unknown, and some of each in both halves of the songs.

    unknown: bool [Q]. songs: [Q].
    """
    half = halves(songs)
    counts = [[int((kind & (half == fold)).sum()) for fold in (0, 1)] for kind in (unknown, ~unknown)]
    return all(sum(of) >= FEWEST and min(of) > 0 for of in counts)


def threshold(unknown: np.ndarray, false_accepts: float) -> float:
    """Returns the smallest of the unknown queries' values [U] that at most a share `false_accepts` of them exceeds."""
    if not len(unknown):
        return -np.inf
    rank = int(np.ceil((1 - false_accepts) * len(unknown))) - 1
    return float(np.sort(unknown)[max(0, rank)])


def curve(values: np.ndarray, is_right: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Returns the DET curve, float64 [P, 2]: share of unknown queries accepted, share of known ones not found.

    values: float [Q], the criterion. is_right, unknown: bool [Q].
    """
    thresholds = np.unique(np.quantile(values, np.linspace(0, 1, _CURVE_POINTS), method="nearest"))
    thresholds = np.concatenate([[-np.inf], thresholds])
    strangers, right = np.sort(values[unknown]), np.sort(values[~unknown & is_right])
    n_known = max(1, int((~unknown).sum()))
    false = 1 - np.searchsorted(strangers, thresholds, side="right") / max(1, len(strangers))
    found = (len(right) - np.searchsorted(right, thresholds, side="right")) / n_known
    return np.stack([false, 1 - found], axis=1)


def calibration_error(probability: np.ndarray, is_right: np.ndarray, unknown: np.ndarray) -> float:
    """Returns the expected calibration error, where known and unknown queries weigh the same in total."""
    weight = np.where(unknown, 1 / max(1, unknown.sum()), 1 / max(1, (~unknown).sum()))
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    total = np.bincount(place, weight, minlength=_BINS)
    predicted = np.bincount(place, weight * probability, minlength=_BINS)
    actual = np.bincount(place, weight * is_right, minlength=_BINS)
    return float(np.abs(predicted - actual).sum() / total.sum())


def margins(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best score and its margin, [Q, M] each. A question without candidates scores 0."""
    best = np.where(np.isfinite(answers.scores[:, :, 0]), answers.scores[:, :, 0], 0)
    return best, best - answers.elsewhere
