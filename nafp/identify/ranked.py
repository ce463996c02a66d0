"""Everything found for one clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nafp.identify import asking
from nafp.identify.answers import Answer
from nafp.search import speeds


class RankedClip(NamedTuple):
    """Everything found for one clip.

    answers: the best place of each track, best first, improbable ones too. ranking: every proposed place. heard: the
    versions of the clip that were searched for, one per speed. shifts: their rows for each row of the collection.
    positions: the track of each answer, by position in the collection. n_parts: how many of the first answers are of
    parts of the clip, 0 if the clip is answered as a whole. lost: tracks that would be answers if their fingerprints
    were not damaged.
    """

    answers: list[Answer]
    ranking: speeds.ClipRanking
    heard: list[speeds.ClipAtSpeed]
    shifts: int
    positions: Sequence[int] = ()
    n_parts: int = 0
    lost: Sequence[str] = ()

    @property
    def says_nothing(self) -> bool:
        """Whether no segment of the clip says anything: it is silent, or holds nothing but hum."""
        return not self.heard[0].vectors.any()

    @property
    def is_sure(self) -> bool:
        """Whether the best answer needs no closer look."""
        return bool(self.answers) and asking.is_sure(self.answers[0].probability, self.answers[0].margin)
