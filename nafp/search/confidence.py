"""Turns scores into probabilities that an answer is right.

The margin to the best place elsewhere says more than the score itself, and a score means less for a shorter query. So
one logistic function of margin and score is fitted for each query length. Where the whole ranking of a clip is known, a
second function also weighs what else speaks for its best place (see `nafp.search.evidence`).
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.jobs import whole_files
from nafp.search import evidence

_RIDGE = 1e-4  # Keeps weights finite where right and wrong separate perfectly.
_STEPS = 50


class PeakCalibration(NamedTuple):
    """What scores say that peaks have judged, too (see `nafp.identify.second_opinion`).

    shares: float64 [M], of the peaks in a judged score. weights, elsewhere: as of `Confidence`, of judged scores.
    """

    shares: np.ndarray
    weights: np.ndarray
    elsewhere: np.ndarray


class Verifier(NamedTuple):
    """Weights of 1, margin, score and evidence at each query length, float64 [M, 3 + E] each.

    alone: of clips heard at one speed. several: of clips heard at several. usual: float64 [M, 2], `evidence.Usual`.
    """

    alone: np.ndarray
    several: np.ndarray
    usual: np.ndarray

    def log_odds(
        self, lengths: Sequence[int], length: float, score: float, margin: float, found: evidence.Evidence
    ) -> float:
        """Returns the log-odds that the best place of a clip of `length` segments is right."""
        by_length = self.several if found.n_versions else self.alone
        weights, usual = (
            np.array([np.interp(length, lengths, column) for column in columns.T])
            for columns in (by_length, self.usual)
        )
        values = evidence.weighed(np.array([found]), evidence.Usual(*usual))[0]
        return float(weights @ np.array([1.0, margin, score, *values]))


class Confidence:
    """Probability that a best match is right, by query length.

    lengths: segments, ascending. weights: float64 [M, 3], for 1, margin and score at each length. Between lengths the
    log-odds are interpolated; beyond them those of the nearest length count.
    elsewhere: float64 [M], the score that the best place elsewhere usually reaches at least in a large collection, or
    None for no limit. In a small collection there is little to stand out from, and every clip has a large margin. No
    margin counts as larger than the score less `elsewhere`.
    peaks: the same for scores that peaks have judged, too, or None where nobody measured it.
    verifier: what evidence adds, or None where nobody measured it.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        weights: np.ndarray,
        elsewhere: np.ndarray | None = None,
        peaks: PeakCalibration | None = None,
        verifier: Verifier | None = None,
    ):
        self.lengths, self.weights = list(lengths), np.asarray(weights, np.float64)
        self.elsewhere = None if elsewhere is None else np.asarray(elsewhere, np.float64)
        self.peaks, self.verifier = peaks, verifier

    @property
    def plain(self) -> "Confidence":
        """The same without a verifier: for a search that computes no evidence."""
        return Confidence(self.lengths, self.weights, self.elsewhere, self.peaks)

    def peak_share(self, length: float) -> float:
        """Returns the share of the peaks in a judged score: 0 where nobody measured it."""
        return 0.0 if self.peaks is None else float(np.interp(length, self.lengths, self.peaks.shares))

    def probability(
        self,
        length: float,
        scores: np.ndarray,
        margins: np.ndarray,
        *,
        judged: bool = False,
        found: evidence.Evidence | None = None,
    ) -> np.ndarray:
        """Returns the probability of being right for each score and its margin, 0..1, in the shape of `scores`.

        judged: whether these are scores that peaks have judged, too. found: what speaks for the place of the first
        score, the best of a clip. It counts where there is a verifier and peaks have not judged. What speaks against
        the first speaks against the others as much. What speaks for it speaks for the others in the share of its margin
        that they have: all of it for a copy of the same sound, nothing for a rival, whose margin is 0.
        """
        shared = _shares(np.asarray(margins))
        by_length, elsewhere = self.weights, self.elsewhere
        if judged and self.peaks is not None:
            by_length, elsewhere = self.peaks.weights, self.peaks.elsewhere
        weights = [np.interp(length, self.lengths, column) for column in by_length.T]
        if elsewhere is not None:
            margins = np.minimum(margins, scores - np.interp(length, self.lengths, elsewhere))
        log_odds = weights[0] + weights[1] * margins + weights[2] * scores
        if self.verifier and found and not judged and np.size(scores):
            score, margin, plain = (float(np.ravel(values)[0]) for values in (scores, margins, log_odds))
            told = self.verifier.log_odds(self.lengths, length, score, margin, found) - plain
            log_odds = log_odds + told * (shared if told > 0 else 1)
        return _logistic(log_odds)

    def as_record(self) -> dict[str, Any]:
        """Returns lengths, weights, and `elsewhere`, `peaks` and `verifier`, if they are known, as plain lists."""
        values: dict[str, Any] = {"lengths": self.lengths, "weights": self.weights.tolist()}
        if self.elsewhere is not None:
            values["elsewhere"] = self.elsewhere.tolist()
        if self.peaks is not None:
            values["peaks"] = {name: column.tolist() for name, column in self.peaks._asdict().items()}
        if self.verifier is not None:
            kept = {name: weights.tolist() for name, weights in self.verifier._asdict().items()}
            values["verifier"] = {"evidence": list(evidence.NAMES), **kept}
        return values

    def save(self, path: str | os.PathLike) -> None:
        """Writes the record as JSON, whole or not at all."""
        with whole_files.opened(path, encoding="utf-8") as file:
            file.write(json.dumps(self.as_record()) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Confidence":
        """Reads a file that `save` wrote. Raises errors.NotFound without one, and errors.Invalid for any other."""
        if not Path(path).is_file():
            raise errors.NotFound(
                f"--confidence={path}: no such file; nafp evaluate --unknown=left-out writes RESULTS/confidence.json"
            )
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            lengths, weights = list(values["lengths"]), np.array(values["weights"], np.float64)
            elsewhere = values.get("elsewhere")
            usual = None if elsewhere is None else np.array(elsewhere, np.float64)
            peaks = values.get("peaks")
            judged = None if peaks is None else PeakCalibration(**{k: np.array(v, float) for k, v in peaks.items()})
            verifier = _verifier(values.get("verifier"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.Invalid(
                f"{path}: no calibration ({error!r}); nafp evaluate with unknown queries "
                "(--unknown=left-out) writes one: RESULTS/confidence.json"
            ) from error
        if weights.shape != (len(lengths), 3) or not np.isfinite(weights).all():
            raise errors.Invalid(f"{path}: weights {weights.shape}, not 3 for each of {lengths}")
        if usual is not None and (usual.shape != (len(lengths),) or not np.isfinite(usual).all()):
            raise errors.Invalid(f"{path}: elsewhere {usual.shape}, not a number for each of {lengths}")
        if judged is not None and not _is_complete(judged, len(lengths)):
            raise errors.Invalid(f"{path}: peaks: not a share, 3 weights and an elsewhere for each of {lengths}")
        if verifier is not None and not _is_whole(verifier, len(lengths)):
            raise errors.Invalid(
                f"{path}: verifier: not {3 + len(evidence.NAMES)} weights and a usual pair for each of {lengths}"
            )
        return cls(lengths, weights, usual, judged, verifier)


def _verifier(values: dict[str, Any] | None) -> Verifier | None:
    """Returns the verifier of a record. None without one, and for one of other evidence than this version computes."""
    if values is None or list(values["evidence"]) != list(evidence.NAMES):
        return None
    return Verifier(*(np.array(values[name], np.float64) for name in Verifier._fields))


def _is_whole(verifier: Verifier, n_lengths: int) -> bool:
    columns = [3 + len(evidence.NAMES)] * 2 + [len(evidence.Usual._fields)]
    shapes = [values.shape for values in verifier]
    return shapes == [(n_lengths, n) for n in columns] and all(bool(np.isfinite(x).all()) for x in verifier)


def _is_complete(peaks: PeakCalibration, n_lengths: int) -> bool:
    shapes = [column.shape for column in peaks]
    is_finite = all(np.isfinite(column).all() for column in peaks)
    return shapes == [(n_lengths,), (n_lengths, 3), (n_lengths,)] and is_finite


def fit(
    scores: np.ndarray,
    margins: np.ndarray,
    is_right: np.ndarray,
    *,
    unknown: np.ndarray,
    share_unknown: float = 0.5,
    found: np.ndarray | None = None,
) -> np.ndarray:
    """Fits the weights of one length, float64 [3 + E], by logistic regression (Newton's method).

    scores, margins: float [Q]. is_right: bool [Q]. unknown: bool [Q], whether the recording is not in the database.
    share_unknown: the questions are weighted so that this share of them is unknown, whatever share of the sample is.
    found: evidence float [Q, E], None for margins and scores alone, E = 0.
    """
    values = np.stack([margins, scores], axis=1).astype(np.float64)
    values = values if found is None else np.concatenate([values, found], axis=1)
    centre, scale = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)
    features = np.column_stack([np.ones(len(values)), (values - centre) / scale])
    per_known = (1 - share_unknown) / max(1, int((~unknown).sum()))
    per_unknown = share_unknown / max(1, int(unknown.sum()))
    weight = np.where(unknown, per_unknown, per_known) * len(values)
    fitted = _newton(features, np.asarray(is_right, float), weight)
    slopes = fitted[1:] / scale
    return np.array([fitted[0] - slopes @ centre, *slopes])


def _newton(features: np.ndarray, is_right: np.ndarray, weight: np.ndarray) -> np.ndarray:
    ridge = _RIDGE * np.diag([1e-6, *np.ones(features.shape[1] - 1)]) * len(features)
    fitted = np.zeros(features.shape[1])
    for _ in range(_STEPS):
        p = _logistic(features @ fitted)
        slope = features.T @ (weight * (is_right - p)) - ridge @ fitted
        curve = (features * (weight * p * (1 - p))[:, None]).T @ features + ridge
        step = np.linalg.solve(curve, slope)
        fitted = fitted + step * min(1.0, 5 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-8:
            break
    return fitted


def _shares(margins: np.ndarray) -> np.ndarray:
    """Returns which share of the first margin each has, 0..1: 1 for the first itself."""
    first = float(np.ravel(margins)[0]) if margins.size else 0.0
    shares = np.clip(margins / first, 0, 1) if first > 0 else np.zeros(margins.shape)
    shares.flat[:1] = 1
    return shares


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))
