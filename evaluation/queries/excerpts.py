"""Cuts excerpts for queries: from any sample of any track, but never from silence."""

import logging
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import segments

from . import material

CONTEXT_S = 1.0  # Read before a query, because its reverberation is heard when the query begins.
FLUSH_S = 0.5  # Read after a query, because codecs and time stretching hold back their last samples.
QUIETEST_DB = -50.0  # No second of a query is quieter, relative to full scale.
_DRAWS = 20  # Places that are tried in a track.


class Excerpt(NamedTuple):
    """Samples for a query, with context on both sides."""

    piece: material.Piece
    first: int  # Sample of the piece at which the query starts.
    samples: np.ndarray  # float32 [before + query + after], from sample `first - before` of the piece on.
    before: int  # Number of samples before the query.


class Chooser:
    """Cuts excerpt i of a seed, independently of what else is cut, and in which order or process.

    seconds: length of a query. before_s, after_s: context to read on both sides; beyond the ends of the piece it is
    zero. Tracks take turns in an order drawn from the seed, so that even a few queries are of many tracks.
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
                f"{source.path}: {len(music)} tracks of music of split {split}, the longest of"
                f" {longest:.1f} s; at least {seconds:g} s are needed: choose another --split, or"
                f" shorter --seconds"
            )
        self._order = np.random.default_rng([seed]).permutation(len(self.pieces))
        self._bad: dict[str, errors.Undecodable] = {}

    def excerpt(self, i: int) -> Excerpt:
        """Cuts excerpt i. Raises errors.Invalid if all tracks are silent or cannot be decoded."""
        for turn in range(len(self.pieces)):
            number = self._order[(i + turn) % len(self.pieces)]
            rng = np.random.default_rng([self._seed, i, number])
            if excerpt := self._draw(self.pieces[number], rng):
                return excerpt
        raise errors.Invalid(
            f"{self._source.path}: none of {len(self.pieces)} tracks has {self._seconds:g} s without"
            f" silence; {len(self._bad)} of them cannot be decoded"
        )

    def _draw(self, piece: material.Piece, rng: np.random.Generator) -> Excerpt | None:
        """Cuts at a drawn place. Returns None for a silent track, and for a broken one, which is logged once."""
        for _ in range(_DRAWS):
            if piece.name in self._bad:
                return None
            try:
                excerpt = self._cut(piece, int(rng.integers(self._last(piece) + 1)))
            except errors.Undecodable as error:
                if self._bad.setdefault(piece.name, error) is error:  # Only the first thread logs it.
                    logging.getLogger(__name__).warning("left out: %s", error)
            else:
                if self._is_audible(excerpt):
                    return excerpt
        return None

    def _last(self, piece: material.Piece) -> int:
        """Returns the last sample at which a query can start. It is negative for a track that is too short."""
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

    def _is_audible(self, excerpt: Excerpt) -> bool:
        rate = excerpt.piece.sample_rate_hz
        n_samples = segments.to_samples(self._seconds, rate)
        query = excerpt.samples[excerpt.before :][:n_samples]
        if len(query) < n_samples:  # The file is shorter than its header says.
            return False
        seconds = segments.frame(query, segment=min(rate, n_samples), hop=rate)
        quietest = np.sqrt(np.square(seconds, dtype=np.float64).mean(axis=1).min())
        return bool(quietest > 10 ** (QUIETEST_DB / 20))
