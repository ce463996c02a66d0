"""What evidence adds to score and margin: fits and judges `nafp.search.confidence.Verifier`.

Both looks at every question are kept: the weights of clips heard at one speed are fitted to the first looks, those of
clips heard at several to the closer ones. Like thresholds, weights are judged on the half of the songs that they were
not fitted to.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp.search import confidence, evidence, speeds

from . import open_set, results
from .metrics import Hits

USUALLY = 0.25  # Share of the queries whose rivals reach less than is called usual.
NOMINAL = (0.01, 0.001)  # Shares of false accepts to judge at.
# Log-odds taken off what was fitted, because few songs vouch for the weights. On validation clips of 1 s, as many
# unknown clips then reach a probability of 0.5 as by margin and score (2.1 and 2.2 %); without it, 3.8 % do.
CAUTION = 0.5


class Seen(NamedTuple):
    """The best place of each question in one look, at each length.

    tracks: int64 [Q, M], -1 for none. scores, margins: float64 [Q, M]. found: float64 [Q, M, 7], records of
    `evidence.Evidence`. looked: bool [Q, M], whether there was this look.
    """

    tracks: np.ndarray
    scores: np.ndarray
    margins: np.ndarray
    found: np.ndarray
    looked: np.ndarray

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Seen:
        """Returns what was seen before anything was asked."""
        found = np.zeros((*shape, len(evidence.NONE)))
        return cls(np.full(shape, -1), np.zeros(shape), np.zeros(shape), found, np.zeros(shape, bool))

    @property
    def several(self) -> np.ndarray:
        """Whether there were other versions of the clip, bool [Q, M]."""
        return self.found[..., -1] > 0

    def note(self, clip: int, column: int, ranking: speeds.ClipRanking, found: evidence.Evidence) -> None:
        """Keeps the best place of one question at one length."""
        place = (clip, column)
        self.looked[place], self.found[place] = True, found
        if len(ranking.tracks):
            self.tracks[place], self.scores[place] = ranking.tracks[0], ranking.scores[0]
            self.margins[place] = ranking.scores[0] - ranking.elsewhere


class Sample(NamedTuple):
    """Questions of one length, asked with their recording in the database and without: Q of them in two looks.

    looks: the first and the closer. right: bool [2, Q], whether the best place is right. unknown: bool [Q]. songs: [Q].
    conditions: [Q].
    """

    looks: tuple[Seen, Seen]
    right: np.ndarray
    unknown: np.ndarray
    songs: np.ndarray
    conditions: np.ndarray

    def some(self, keep: np.ndarray) -> Sample:
        """Returns some of the questions."""
        first, closer = (Seen(*(values[keep] for values in look)) for look in self.looks)
        return Sample((first, closer), self.right[:, keep], self.unknown[keep], self.songs[keep], self.conditions[keep])


def others(scored: results.Scored, tracks: Sequence[str]) -> np.ndarray:
    """Returns the track of the other song that is mixed over each question, int64 [Q], -1 for none.

    tracks: names of the tracks of the database. To name that song is no mistake, so such answers are not judged.
    """
    place = {pathlib.PurePath(track).stem: number for number, track in enumerate(tracks)}
    mixed = scored.questions.groups.get("music", [""] * len(scored.questions))
    return np.array([place.get(name, -1) if name else -1 for name in mixed])


def sample(
    scored: results.Scored,
    column: int,
    known: Sequence[Seen],
    strange: Sequence[Seen],
    is_strange: np.ndarray,
    *,
    usual: float,
    mixed: np.ndarray,
) -> Sample:
    """Puts together the questions of one length, by position.

    known, strange: both looks with their recordings and without. is_strange: bool [Q], which may be asked without.
    usual: score that no margin is counted beyond (see `confidence.Confidence`). mixed: as of `others`.
    """
    final, without = (_final(looks, column) for looks in (known, strange))
    asked = scored.asked["song"][:, column] & ((final != mixed) | (mixed < 0))
    is_strange = is_strange & ((without != mixed) | (mixed < 0))
    truth, is_right = scored.questions.tracks, scored.right["song"][:, column]
    right = []
    for seen in known:
        track = seen.tracks[:, column]
        named = (track[:, None] == truth).any(axis=1) & (track >= 0)
        right.append(np.r_[(named | ((track == final) & is_right))[asked], np.zeros(int(is_strange.sum()), bool)])
    looks = [
        Seen(*(np.concatenate([a[asked, column], b[is_strange, column]]) for a, b in zip(*both)))
        for both in zip(known, strange)
    ]
    first, closer = (look._replace(margins=np.minimum(look.margins, look.scores - usual)) for look in looks)
    songs, conditions = np.array(scored.questions.songs), scored.questions.groups.get("condition")
    named_as = np.array(conditions if conditions is not None else [""] * len(songs))
    both = [np.r_[values[asked], values[is_strange]] for values in (songs, named_as)]
    unknown = np.r_[np.zeros(int(asked.sum()), bool), np.ones(int(is_strange.sum()), bool)]
    return Sample((first, closer), np.array(right), unknown, *both)


def _final(looks: Sequence[Seen], column: int) -> np.ndarray:
    first, closer = looks
    return np.where(closer.looked[:, column], closer.tracks[:, column], first.tracks[:, column])


class Fit(NamedTuple):
    """What is fitted at one length. weights: float64 [2, 3 + E], of clips heard at one speed and at several."""

    weights: np.ndarray
    usual: evidence.Usual


def fitted(asked: Sample) -> Fit | None:
    """Fits the weights of one length, less CAUTION. Returns None for too few questions."""
    kinds = [[look.looked & (look.several == several) for look in asked.looks] for several in (False, True)]
    for picked in kinds:
        counts = [sum(int((keep & of).sum()) for keep in picked) for of in (asked.unknown, ~asked.unknown)]
        if min(counts) < open_set.FEWEST:
            return None
    usual = _usual(asked)
    weights = []
    for picked in kinds:
        scores, margins, found = (
            np.concatenate([getattr(look, name)[keep] for look, keep in zip(asked.looks, picked)])
            for name in ("scores", "margins", "found")
        )
        right = np.concatenate([right[keep] for right, keep in zip(asked.right, picked)])
        unknown = np.concatenate([asked.unknown[keep] for keep in picked])
        values = evidence.weighed(found, usual)
        weights.append(confidence.fit(scores, margins, right, unknown=unknown, found=values))
    cautious = np.array(weights)
    cautious[:, 0] -= CAUTION
    return Fit(cautious, usual)


def _usual(asked: Sample) -> evidence.Usual:
    """Returns what rivals of known clips usually reach at least."""
    found = np.concatenate([look.found[look.looked & look.several & ~asked.unknown] for look in asked.looks])
    _, leftover, agreement, _, likeness, *_ = found.T
    return evidence.Usual(*(float(np.quantile(values, USUALLY)) for values in (leftover, likeness - agreement)))


def answered(asked: Sample, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Returns the probability of each final answer, and whether it is right: [Q] each."""
    given = []
    for look in asked.looks:
        values = evidence.weighed(look.found, fit.usual)
        features = np.column_stack([np.ones(len(look.scores)), look.margins, look.scores, values])
        odds = (features * fit.weights[look.several.astype(int)]).sum(axis=1)
        given.append(1 / (1 + np.exp(-np.clip(odds, -60, 60))))
    is_closer = asked.looks[1].looked
    return np.where(is_closer, given[1], given[0]), np.where(is_closer, asked.right[1], asked.right[0])


def verifier(fits: Sequence[Fit | None]) -> confidence.Verifier | None:
    """Puts together what was fitted at each length. None unless every length has a fit."""
    known = [fit for fit in fits if fit is not None]
    if not known or len(known) < len(fits):
        return None
    alone, several = np.stack([fit.weights for fit in known], axis=1)
    return confidence.Verifier(alone, several, np.array([fit.usual for fit in known]))


def judged(asked: Sample) -> dict[str, Any] | None:
    """Judges each half of the songs by what was fitted to the other, as results.json has it. None for too few."""
    half = open_set.halves(asked.songs.tolist())
    probability, right = np.zeros(len(half)), np.zeros(len(half), bool)
    accepted = {share: np.zeros(len(half), bool) for share in NOMINAL}
    for fold in (0, 1):
        fits, judges = asked.some(half != fold), half == fold
        fit = fitted(fits)
        if fit is None:
            return None
        probability[judges], right[judges] = answered(asked.some(judges), fit)
        strange = answered(fits, fit)[0][fits.unknown]
        for share, taken in accepted.items():
            taken[judges] = probability[judges] > open_set.threshold(strange, share)
    return {
        "calibration_error": open_set.calibration_error(probability, right, asked.unknown),
        "verdicts": {f"{share:g}": _verdict(asked, taken, right) for share, taken in accepted.items()},
    }


def _verdict(asked: Sample, taken: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Returns false accepts, and what is accepted and right of all and of each condition."""
    known = ~asked.unknown
    by_condition = {
        str(name): results.cell(Hits(int((taken & right & of).sum()), int(of.sum())))
        for name in dict.fromkeys(asked.conditions.tolist())
        for of in [known & (asked.conditions == name)]
    }
    return {
        "false": results.cell(Hits(int((taken & ~known).sum()), int((~known).sum()))),
        "accepted": results.cell(Hits(int((taken & right & known).sum()), int(known.sum()))),
        "found": results.cell(Hits(int((right & known).sum()), int(known.sum()))),
        "conditions": by_condition,
    }
