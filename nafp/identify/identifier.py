"""Audio in, answers out: a trained network and the fingerprints of a collection put together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.identify.answers import Answer
from nafp.models import identities, protocol
from nafp.search import collection, confidence, index, index_files, match, speeds, store

LEAST_PROBABLE = 0.5  # What is less is not in the collection.
SURE = 0.9  # A clip found with this probability at its own speed is not looked for at others.
_SURE_MARGIN = 0.2  # The same where the network was never calibrated.
LONGEST_S = 60.0  # Of a clip, that is listened to: `nafp monitor` is for long recordings.
_FEW_ROWS_S = 5.0  # Clips shorter than this get more rows at a closer look; others have enough.
_EVERY_PLACE = 1 << 20  # Of a track that repeats itself there are many.
_HOP_S = 0.5  # Between query rows, until a closer look.
BATCH = 10  # Segments for the network: JAX fills batches up, and a clip of ten seconds has 19.


class Identifier:
    """Names the track that a clip comes from, and where in it.

    extractor: what `nafp.load` gives. rows, searched: the fingerprints to look in and their index. shifts: query rows
    for each row of the collection; 0 for one each half second, and twice as many for a short clip that was not found
    for sure. confidence: makes probabilities of scores; without it every clip gets its best answers, and none is
    refused. speeds: "auto" for those of `nafp.search.speeds` where a clip is not found for sure at its own, "none", or
    numbers that are always tried.
    """

    def __init__(
        self,
        extractor: protocol.Network,
        rows: collection.Collection,
        searched: index.Index,
        *,
        shifts: int = 0,
        confidence: confidence.Confidence | None = None,
        speeds: str | Sequence[float] = "auto",
    ):
        hop_s = extractor.hop / extractor.sample_rate_hz
        self.rows, self._shifts = rows, shifts or max(1, round(hop_s / _HOP_S))
        self._shifts_if_unsure = shifts or 2 * self._shifts
        self._extractor, self._index = extractor, searched
        self._confidence = confidence
        self._first, self._then = _speeds(speeds)

    @classmethod
    def open(
        cls,
        extractor: protocol.Network,
        folder: str | os.PathLike,
        *,
        names: Sequence[str] = ("db",),
        kind: str = "auto",
        **settings: Any,
    ) -> Identifier:
        """Opens stores of one folder. settings: as of the class.

        Raises ValueError when another network wrote them.
        """
        stores = [store.Store.open(folder, name) for name in names]
        require_same(extractor.identity, stores)
        rows = collection.Collection.of(stores)
        chosen = index.plan(kind, n_rows=len(rows), dim=rows.dim)
        return cls(extractor, rows, index_files.opened(rows, chosen, folder), **settings)

    @property
    def is_calibrated(self) -> bool:
        """Whether answers have a probability."""
        return self._confidence is not None

    def identify(
        self, samples: np.ndarray, *, sample_rate_hz: int, top: int = 5, least: float = LEAST_PROBABLE
    ) -> list[Answer]:
        """Names the tracks that a mono waveform [S] in -1..1 comes from, best first; the best place of each.

        least: probability below which a track is no answer; so the list is empty for a clip that is not in the
        collection. Of a clip longer than LONGEST_S the beginning counts. Raises ValueError for a clip shorter than one
        segment, or not of one channel of numbers.
        """
        found = self.rank(samples, sample_rate_hz=sample_rate_hz, top=top)
        return [each for each in found.answers if is_answer(each, least)][:top]

    def identify_file(self, path: str | os.PathLike, *, top: int = 5, least: float = LEAST_PROBABLE) -> list[Answer]:
        """Names the tracks that an audio file comes from. Raises errors.Undecodable with the reason."""
        rate_hz = listening_rate_hz(self._extractor.sample_rate_hz)
        samples = decode.load(path, sample_rate_hz=rate_hz, seconds=LONGEST_S)
        return self.identify(samples, sample_rate_hz=rate_hz, top=top, least=least)

    def rank(self, samples: np.ndarray, *, sample_rate_hz: int, top: int = match.TOP) -> Found:
        """Ranks the best places of `top` tracks, however improbable."""
        samples = self._checked(samples, sample_rate_hz)
        first = self._first, self._shifts
        is_short = len(samples) < _FEW_ROWS_S * sample_rate_hz
        closer = [*self._first, *self._then], self._shifts_if_unsure if is_short else self._shifts
        found = self._found(samples, sample_rate_hz, *first, top)
        if closer != first and not self._is_sure(found):
            found = self._found(samples, sample_rate_hz, *closer, top)
        return found

    def _checked(self, samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """Returns the part of a clip that counts, float32 [S]."""
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1:
            raise errors.Invalid(
                f"a waveform of shape {samples.shape}: one channel [S] is needed; average the channels of others."
            )
        if sample_rate_hz <= 0:
            raise errors.Invalid(f"sample_rate_hz={sample_rate_hz}: samples per second, such as 44100")
        rate_hz, segment = self._extractor.sample_rate_hz, self._extractor.segment
        if len(samples) / sample_rate_hz < segment / rate_hz:
            raise errors.Invalid(
                f"{len(samples) / sample_rate_hz:.2f} s of audio; at least {segment / rate_hz:g} s are needed."
            )
        samples = samples[: segments.to_samples(LONGEST_S, sample_rate_hz)]
        if not np.isfinite(samples).all():
            raise errors.Invalid("the waveform has NaN or infinity in it")
        return samples

    def _found(self, samples: np.ndarray, sample_rate_hz: int, at: Sequence[float], shifts: int, top: int) -> Found:
        heard = self._hear(samples, sample_rate_hz, at, shifts)
        ranking = speeds.rank(heard, self.rows, shifts=shifts, top=_EVERY_PLACE)[0]
        return Found(self._answers(ranking, heard[0].lengths[0], top), ranking, heard, shifts)

    def _hear(
        self, samples: np.ndarray, sample_rate_hz: int, at: Sequence[float], shifts: int
    ) -> list[speeds.ClipAtSpeed]:
        """Fingerprints a clip at some speeds, in one batch, and searches for all of them at once."""
        framed = {speed: self._framed(samples, sample_rate_hz, speed, shifts) for speed in at}
        framed = {speed: rows for speed, rows in framed.items() if len(rows)}
        vectors = self._extractor(np.concatenate(list(framed.values())))
        _, near = self._index.search(vectors)
        ends = np.cumsum([len(rows) for rows in framed.values()])[:-1]
        parts = zip(framed, np.split(vectors, ends), np.split(near, ends))
        return [speeds.ClipAtSpeed(speed, one, rows, [len(one[::shifts])]) for speed, one, rows in parts]

    def _framed(self, samples: np.ndarray, sample_rate_hz: int, speed: float, shifts: int) -> np.ndarray:
        """Cuts a clip, its speed undone, into segments [n, S]; none when it is too short then."""
        extractor = self._extractor
        slowed = decode.resample(samples, from_hz=sample_rate_hz, to_hz=extractor.sample_rate_hz * speed)
        missing = extractor.segment - len(slowed)
        if 0 < missing <= extractor.segment * (1 - speeds.FILLED):
            slowed = np.pad(slowed, (0, missing))
        hop = extractor.hop // shifts
        return segments.frame(slowed, segment=extractor.segment, hop=hop)

    def _is_sure(self, found: Found) -> bool:
        if not found.answers:
            return False
        best = found.answers[0]
        if best.probability is None:
            return best.margin >= _SURE_MARGIN
        return best.probability >= SURE

    def _answers(self, ranking: speeds.ClipRanking, length: int, top: int) -> list[Answer]:
        """Puts the best places of the best tracks into words."""
        best = match.best_of_each_track(ranking.tracks)[:top]
        tracks, starts, scores = (each[best] for each in (ranking.tracks, ranking.starts, ranking.scores))
        places = match.Ranking(tracks, starts, scores, ranking.elsewhere, starts)
        found = match.matches(places, self.rows)
        return [
            Answer(each.track, each.start_s, each.score, self._probability(each, length), each.margin, float(speed))
            for each, speed in zip(found, ranking.speeds[best])
        ]

    def _probability(self, one: match.Match, length: int) -> float | None:
        if self._confidence is None:
            return None
        return float(self._confidence.probability(length, one.score, one.margin))


class Found(NamedTuple):
    """Everything about a clip. answers: the best place of each track, best first, improbable ones too; ranking: every
    place proposed; heard: what was searched for, with so many shifts."""

    answers: list[Answer]
    ranking: speeds.ClipRanking
    heard: list[speeds.ClipAtSpeed]
    shifts: int


def require_same(identity: Mapping[str, Any], stores: Sequence[store.Store]) -> None:
    """Raises ValueError when one of the stores was written by another network than that of this identity."""
    for opened in stores:
        made_by = opened.meta.get("model", {})
        if made_by.get("sha256") and not identities.same_network(made_by, identity):
            raise errors.Invalid(
                f"{opened.folder}/{opened.name} was written by {opened.meta['model'].get('source')}, not by "
                f"{identity['source']}: fingerprints of two networks cannot be compared. Name the "
                "checkpoint that wrote it, or extract again with --overwrite."
            )


def is_answer(candidate: Answer, least: float = LEAST_PROBABLE) -> bool:
    """Whether a candidate is probable enough; where nobody knows how probable it is, it is."""
    return candidate.probability is None or candidate.probability >= least


def listening_rate_hz(sample_rate_hz: int) -> int:
    """Returns the rate to decode a clip at: above the network's, for speeds that bring higher sounds down."""
    return 2 * sample_rate_hz


def _speeds(wanted: str | Sequence[float]) -> tuple[list[float], list[float]]:
    """Gives the speeds to try at once, and those to try if that finds nothing for sure."""
    if wanted == "auto":
        return [1.0], list(speeds.SPEEDS)
    if wanted == "none":
        return [1.0], []
    if isinstance(wanted, str):
        wanted = wanted.split(",")
    try:
        numbers = [float(each) for each in wanted]
    except ValueError:
        numbers = []
    if not numbers or not all(0.5 <= number <= 2 for number in numbers):
        raise errors.Invalid(
            f"speeds {wanted!r}: auto, none, or numbers between 0.5 and 2; 1.04 finds clips that play 4 % too fast"
        )
    return list(dict.fromkeys([1.0, *numbers])), []
