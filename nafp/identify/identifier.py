"""Audio in, tracks out: a trained network and the fingerprints of a collection put together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.identify import asking
from nafp.identify.answers import Answer
from nafp.models import identities, protocol
from nafp.search import collection, confidence, index, index_files, match, speeds, store

BATCH = 10  # Segments for the network: JAX fills batches up, and a clip of ten seconds has 19.
_LEAST_HZ, _MOST_HZ = 1000, 1e7  # 44.1 is meant in kHz.
_EVERY_PLACE = 1 << 20  # Places to rank: a track that repeats itself has many.


class Searchable(Protocol):
    """An index of fingerprints: `nafp.search.index.Index`, or that of a database."""

    def search(self, queries: np.ndarray, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns the nearest rows of queries [n, D]: their cosines float32 [n, K] and numbers int64 [n, K]."""
        ...


class Identifier:
    """Names the track that a clip comes from, and where in it.

    network: what `nafp.load` returns. rows, searched: the fingerprints to look in, and their index. confidence: turns
    scores into probabilities; without it every clip gets its best answers, and none is refused. shifts, speeds: as of
    `asking.policy`.
    """

    def __init__(
        self,
        network: protocol.Network,
        rows: collection.Collection,
        searched: Searchable,
        *,
        shifts: int = 0,
        confidence: confidence.Confidence | None = None,
        speeds: str | Sequence[float] = "auto",
    ):
        hop_s = network.hop / network.sample_rate_hz
        self.rows, self._policy = rows, asking.policy(hop_s=hop_s, speeds=speeds, shifts=shifts)
        self._network, self._index, self._confidence = network, searched, confidence

    @classmethod
    def open(
        cls,
        network: protocol.Network,
        folder: str | os.PathLike,
        *,
        names: Sequence[str] = ("db",),
        kind: str = "auto",
        shifts: int = 0,
        confidence: confidence.Confidence | None = None,
        speeds: str | Sequence[float] = "auto",
    ) -> Identifier:
        """Opens stores of one folder and their index. kind: of the index, as of `index.plan`.

        Raises nafp.errors.Invalid when another network wrote them.
        """
        stores = [store.Store.open(folder, name) for name in names]
        require_same(network.identity, stores)
        rows = collection.Collection.of(stores)
        plan = index.plan(kind, n_rows=len(rows), dim=rows.dim)
        searched = index_files.opened(rows, plan, folder)
        return cls(network, rows, searched, shifts=shifts, confidence=confidence, speeds=speeds)

    @property
    def is_calibrated(self) -> bool:
        """Whether answers have a probability."""
        return self._confidence is not None

    def identify(
        self, samples: np.ndarray, *, sample_rate_hz: int, top: int = 5, least: float = asking.LEAST_PROBABLE
    ) -> list[Answer]:
        """Names the tracks that a mono waveform [S] in -1..1 comes from, best first, each with its best place.

        top: tracks to return at most. least: probability below which a track is no answer, so that the list is empty
        for a clip that is not in the collection. Only the first `asking.LONGEST_S` seconds count. Raises
        nafp.errors.Invalid for a clip shorter than one segment, and for anything but one channel of finite numbers.
        """
        ranking = self.rank(samples, sample_rate_hz=sample_rate_hz, top=top)
        return [answer for answer in ranking.answers if is_answer(answer, least)]

    def identify_file(
        self, path: str | os.PathLike, *, top: int = 5, least: float = asking.LEAST_PROBABLE
    ) -> list[Answer]:
        """Names the tracks that an audio file comes from. Raises nafp.errors.Undecodable with the reason."""
        rate_hz = listening_rate_hz(self._network.sample_rate_hz)
        samples = decode.load(path, sample_rate_hz=rate_hz, seconds=asking.LONGEST_S)
        return self.identify(samples, sample_rate_hz=rate_hz, top=top, least=least)

    def rank(self, samples: np.ndarray, *, sample_rate_hz: int, top: int = match.TOP) -> RankedClip:
        """Ranks the best places of the `top` best tracks, however improbable."""
        samples = self._checked(samples, sample_rate_hz)
        ranking = self._look(samples, sample_rate_hz, self._policy.first, top)
        closer = self._policy.closer(clip_s=len(samples) / sample_rate_hz)
        if closer and not ranking.is_sure:
            ranking = self._look(samples, sample_rate_hz, closer, top)
        return ranking

    def _checked(self, samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """Returns the part of a clip that counts, float32 [S]. Raises nafp.errors.Invalid for what is no clip."""
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1:
            raise errors.Invalid(
                f"a waveform of shape {samples.shape}: one channel [S] is needed; average the channels of others."
            )
        if not _LEAST_HZ <= sample_rate_hz < _MOST_HZ:  # False for NaN.
            raise errors.Invalid(f"sample_rate_hz={sample_rate_hz}: samples per second, such as 44100")
        rate_hz, segment = self._network.sample_rate_hz, self._network.segment
        if len(samples) / sample_rate_hz < segment / rate_hz:
            raise errors.Invalid(
                f"{len(samples) / sample_rate_hz:.2f} s of audio; at least {segment / rate_hz:g} s are needed."
            )
        samples = samples[: segments.to_samples(asking.LONGEST_S, sample_rate_hz)]
        if not np.isfinite(samples).all():
            raise errors.Invalid("the waveform has NaN or infinity in it")
        return samples

    def _look(self, samples: np.ndarray, sample_rate_hz: int, look: asking.Look, top: int) -> RankedClip:
        """Fingerprints, searches and ranks a clip once."""
        versions = self._hear(samples, sample_rate_hz, look)
        places = speeds.rank(versions, self.rows, shifts=look.shifts, top=_EVERY_PLACE)[0]
        answers = self._answers(places, versions[0].lengths[0], top)
        return RankedClip(answers, places, versions, look.shifts)

    def _hear(self, samples: np.ndarray, sample_rate_hz: int, look: asking.Look) -> list[speeds.ClipAtSpeed]:
        """Fingerprints a clip at all speeds of a look, in one batch, and searches for all of them at once."""
        framed = {speed: self._framed(samples, sample_rate_hz, speed, look.shifts) for speed in look.speeds}
        framed = {speed: waveforms for speed, waveforms in framed.items() if len(waveforms)}
        vectors = self._network(np.concatenate(list(framed.values())))
        _, neighbours = self._index.search(vectors)
        ends = np.cumsum([len(waveforms) for waveforms in framed.values()])[:-1]
        versions = zip(framed, np.split(vectors, ends), np.split(neighbours, ends))
        return [speeds.ClipAtSpeed(speed, own, near, [len(own[:: look.shifts])]) for speed, own, near in versions]

    def _framed(self, samples: np.ndarray, sample_rate_hz: int, speed: float, shifts: int) -> np.ndarray:
        """Undoes the speed of a clip and cuts it into segments [n, S]. A clip that is too short then gives n = 0."""
        rate_hz, segment = self._network.sample_rate_hz, self._network.segment
        slowed = decode.resample(samples, from_hz=sample_rate_hz, to_hz=round(rate_hz * speed))
        if asking.is_filled(len(slowed), segment=segment):
            slowed = np.pad(slowed, (0, segment - len(slowed)))
        return segments.frame(slowed, segment=segment, hop=self._network.hop // shifts)

    def _answers(self, places: speeds.ClipRanking, length: int, top: int) -> list[Answer]:
        """Returns the best place of each of the `top` best tracks. length: of the clip, in segments."""
        best = match.best_of_each_track(places.tracks)[:top]
        tracks, starts, scores = (values[best] for values in (places.tracks, places.starts, places.scores))
        matches = match.matches(match.Ranking(tracks, starts, scores, places.elsewhere, starts), self.rows)
        return [
            Answer(
                found.track,
                found.start_s,
                found.score,
                asking.probability(self._confidence, length=length, score=found.score, margin=found.margin),
                found.margin,
                float(speed),
            )
            for found, speed in zip(matches, places.speeds[best])
        ]


class RankedClip(NamedTuple):
    """Everything found for one clip.

    answers: the best place of each track, best first, improbable ones too. ranking: every proposed place. heard: the
    versions of the clip that were searched for, one per speed. shifts: their rows for each row of the collection.
    """

    answers: list[Answer]
    ranking: speeds.ClipRanking
    heard: list[speeds.ClipAtSpeed]
    shifts: int

    @property
    def is_sure(self) -> bool:
        """Whether the best answer needs no closer look."""
        return bool(self.answers) and asking.is_sure(self.answers[0].probability, self.answers[0].margin)


def require_same(identity: Mapping[str, Any], stores: Sequence[store.Store]) -> None:
    """Raises nafp.errors.Invalid when one of the stores was written by another network than the one of `identity`."""
    for opened in stores:
        made_by = opened.meta.get("model", {})
        if made_by.get("sha256") and not identities.same_network(made_by, identity):
            raise errors.Invalid(
                f"{opened.folder}/{opened.name} was written by {opened.meta['model'].get('source')}, not by "
                f"{identity['source']}: fingerprints of two networks cannot be compared. Name the "
                "checkpoint that wrote it, or extract again with --overwrite."
            )


def is_answer(candidate: Answer, least: float = asking.LEAST_PROBABLE) -> bool:
    """Returns whether `candidate` reaches `least`. Without a calibration there is no probability, and all pass."""
    return asking.is_probable(candidate.probability, least)


def listening_rate_hz(sample_rate_hz: int) -> int:
    """Returns the rate to decode a clip at: above the network's, for speeds that bring higher sounds down."""
    return 2 * sample_rate_hz
