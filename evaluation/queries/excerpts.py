"""Where queries are cut: any sample of any track, but never silence."""

import logging
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import segments

from . import material

CONTEXT_S = 1.0  # Heard before the query: what a room still holds of it when the query begins.
FLUSH_S = 0.5  # Read after it: codecs and time stretching keep their last samples to themselves.
QUIETEST_DB = -50.0  # Of full scale: no second of a query is quieter.
_DRAWS = 20


class Excerpt(NamedTuple):
    piece: material.Piece
    first: int  # Sample of the piece the query starts at.
    samples: np.ndarray  # float32 [before + query + after], from `first - before` on.
    before: int


class Chooser:
    """Cuts excerpt i of a seed: the same whatever else is cut, in whatever order or process.

    seconds: length. before_s, after_s: how much more to read on both sides; zeros where the piece
    has none. Tracks take turns in an order of the seed, so that a few queries are of many tracks.
    """

    def __init__(
        self,
        source: material.Material,
        *,
        split: str,
        seconds: float,
        before_s: float,
        after_s: float,
        seed: int,
    ):
        self._source, self._seed, self._seconds = source, seed, seconds
        self._before_s, self._after_s = before_s, after_s
        music = source.select(kind="music", split=split)
        self.pieces = [piece for piece in music if self._last(piece) >= 0]
        if not self.pieces:
            longest = max((p.n_samples / p.sample_rate_hz for p in music), default=0.0)
            raise errors.Invalid(
                f"{source.path}: {len(music)} tracks of music of split {split}, the longest"
                f" {longest:.1f} s; at least {seconds:g} s are needed: choose another --split, or"
                f" shorter --seconds"
            )
        self._order = np.random.default_rng([seed]).permutation(len(self.pieces))
        self._bad: dict[str, errors.Undecodable] = {}

    def excerpt(self, i: int) -> Excerpt:
        """Cuts number i; raises ValueError when no track gives one that is not silent."""
        for turn in range(len(self.pieces)):
            number = self._order[(i + turn) % len(self.pieces)]
            rng = np.random.default_rng([self._seed, i, number])
            if found := self._draw(self.pieces[number], rng):
                return found
        raise errors.Invalid(
            f"{self._source.path}: none of {len(self.pieces)} tracks has {self._seconds:g} s without"
            f" silence; {len(self._bad)} of them cannot be decoded"
        )

    def _draw(self, piece: material.Piece, rng: np.random.Generator) -> Excerpt | None:
        """Cuts anywhere; gives None for a track that is silent, or bad, which is said once."""
        for _ in range(_DRAWS):
            if piece.name in self._bad:
                return None
            try:
                found = self._cut(piece, int(rng.integers(self._last(piece) + 1)))
            except errors.Undecodable as error:
                if self._bad.setdefault(piece.name, error) is error:  # The first of all threads.
                    logging.getLogger(__name__).warning("left out: %s", error)
            else:
                if self._is_heard(found):
                    return found
        return None

    def _last(self, piece: material.Piece) -> int:
        """Gives the last sample a query can start at; negative for a track that is too short."""
        return piece.n_samples - segments.to_samples(self._seconds, piece.sample_rate_hz)

    def _cut(self, piece: material.Piece, first: int) -> Excerpt:
        rate = piece.sample_rate_hz
        before, n_samples, after = (
            segments.to_samples(s, rate) for s in (self._before_s, self._seconds, self._after_s)
        )
        start, stop = max(0, first - before), min(piece.n_samples, first + n_samples + after)
        samples = self._source.read(piece, first=start, n_samples=stop - start)
        front = start - (first - before)
        back = before + n_samples + after - front - len(samples)
        return Excerpt(piece, first, np.pad(samples, (front, max(0, back))), before)

    def _is_heard(self, excerpt: Excerpt) -> bool:
        rate = excerpt.piece.sample_rate_hz
        n_samples = segments.to_samples(self._seconds, rate)
        query = excerpt.samples[excerpt.before :][:n_samples]
        if len(query) < n_samples:  # The file is shorter than its header says.
            return False
        seconds = segments.frame(query, segment=min(rate, n_samples), hop=rate)
        quietest = np.sqrt(np.square(seconds, dtype=np.float64).mean(axis=1).min())
        return bool(quietest > 10 ** (QUIETEST_DB / 20))
