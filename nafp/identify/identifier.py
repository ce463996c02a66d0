"""Audio in, tracks out: a trained network and the fingerprints of a collection put together."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.identify import asking, brief, pitched, second_opinion, told
from nafp.identify.answers import Answer
from nafp.identify.ranked import RankedClip
from nafp.models import identities, protocol
from nafp.search import collection, confidence, evidence, index, index_files, match, parts, speeds, store

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
        rate_hz = network.sample_rate_hz
        self._policy = asking.policy(hop_s=network.hop / rate_hz, speeds=speeds, shifts=shifts, sample_rate_hz=rate_hz)
        self.rows = rows
        self._network, self._index, self._confidence = network, searched, confidence
        self._judge = second_opinion.judge(rows, network, confidence)
        self._left_out: set[int] = set()  # Tracks, by position, whose fingerprints are not those written.

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
    ) -> Self:
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
        for a clip that is not in the collection. Only the first `asking.LONGEST_S` seconds count, and segments that say
        nothing do not. A clip that holds tracks in parts of it is answered with these parts. Raises nafp.errors.Invalid
        for a clip of less than half a segment, for anything but one channel of finite numbers, and if the only answers
        are tracks whose fingerprints are damaged.
        """
        return _probable(self.rank(samples, sample_rate_hz=sample_rate_hz, top=top, least=least), least)

    def identify_file(
        self, path: str | os.PathLike, *, top: int = 5, least: float = asking.LEAST_PROBABLE
    ) -> list[Answer]:
        """Names the tracks that an audio file comes from. Raises nafp.errors.Undecodable with the reason."""
        rate_hz = listening_rate_hz(self._network.sample_rate_hz)
        samples = decode.load(path, sample_rate_hz=rate_hz, seconds=asking.LONGEST_S)
        return self.identify(samples, sample_rate_hz=rate_hz, top=top, least=least)

    def rank(
        self,
        samples: np.ndarray,
        *,
        sample_rate_hz: int,
        top: int = match.TOP,
        least: float = asking.LEAST_PROBABLE,
    ) -> RankedClip:
        """Ranks the best places of the `top` best tracks, however improbable.

        Tracks whose fingerprints are not those written are left out; those that would reach `least` are in `lost`.
        """
        samples, asked = self._checked(samples, sample_rate_hz), copy.copy(self)
        clip = brief.continued(samples, self._network, sample_rate_hz=sample_rate_hz)
        if clip.lead_s:
            asked._judge = None  # A reflection has the peaks of no recording.
        ranking = self._whole(lambda: asked._asked(clip.samples, sample_rate_hz, top), least)
        if not clip.lead_s:
            return ranking
        places, answers = ranking.ranking, [clip.placed(answer) for answer in ranking.answers]
        places = places._replace(starts=places.starts + clip.lead_s / self.rows.hop_s)
        return ranking._replace(answers=answers, ranking=places)

    def rank_vectors(
        self,
        vectors: Mapping[float, np.ndarray],
        *,
        shifts: int = 1,
        top: int = match.TOP,
        least: float = asking.LEAST_PROBABLE,
    ) -> RankedClip:
        """Ranks the best places of a clip whose fingerprints were computed elsewhere, by the network of the collection.

        vectors: float32 [n, D] at each speed that was undone, the clip's own, 1, first; zeros for a segment that says
        nothing. shifts: their rows for each row of the collection. A caller that is not sure of the answer looks closer
        itself: with more speeds and rows.
        """

        def ask() -> RankedClip:
            ranking = self._places(self._find(vectors, shifts), shifts, top)
            return told.exactly(self._in_parts(ranking, top), self.rows)

        return self._whole(ask, least)

    def _whole(self, ask: Callable[[], RankedClip], least: float) -> RankedClip:
        """Asks until no track is named whose fingerprints are not those written."""
        lost: list[str] = []
        while True:
            ranking = ask()
            damaged = [n for n, place in enumerate(ranking.positions) if not self.rows.is_whole(place)]
            if not damaged:
                if not any(is_answer(answer, least) for answer in ranking.answers):
                    best = match.best_of_each_track(ranking.ranking.tracks)[: match.TOP]
                    self.rows.look_over(ranking.ranking.tracks[best])
                return ranking._replace(lost=lost)
            self._left_out |= {ranking.positions[number] for number in damaged}
            lost += [ranking.answers[n].track for n in damaged if is_answer(ranking.answers[n], least)]

    def _asked(self, samples: np.ndarray, sample_rate_hz: int, top: int) -> RankedClip:
        """Looks at a clip, again if that is not sure, at its parts, and last at other pitches."""
        ranking = self._look(samples, sample_rate_hz, self._policy.first, top)
        closer = self._policy.closer(clip_s=len(samples) / sample_rate_hz)
        if closer and not ranking.is_sure:
            ranking = self._look(samples, sample_rate_hz, closer, top)
        ranking = self._in_parts(ranking, top)
        ears = pitched.Ears(
            self._network, self.rows, functools.partial(self._slowed, samples, sample_rate_hz), self._nearest
        )
        if self._policy.pitches and not ranking.is_sure:
            ranking = self._pitched(ears, ranking, top)
        return told.exactly(ranking, self.rows, ears)

    def _pitched(self, ears: pitched.Ears, ranking: RankedClip, top: int) -> RankedClip:
        """Looks at a clip at other pitches. Returns a ranking by those if it stands out more, else the one given."""
        versions = pitched.versions(ears, self._policy.pitches) if ranking.answers else []
        if not versions:
            return ranking
        own = ranking.heard[0].vectors[:: ranking.shifts]
        found = self._places(versions, 1, top, own=own, handicap=pitched.WORTH_LESS)
        stands_out = speeds.stands_out(found.ranking) - pitched.HANDICAP
        return found if stands_out > speeds.stands_out(ranking.ranking) else ranking

    def _in_parts(self, ranking: RankedClip, top: int) -> RankedClip:
        """Replaces the answers by those of parts of the clip, if these are sure and the whole clip is not one track."""
        if not self.is_calibrated or (ranking.is_sure and self._is_throughout(ranking)):
            return ranking
        best: list[tuple[Answer, int]] = []
        for version in ranking.heard:
            found = self._answered_parts(version, ranking.shifts)
            if found and (not best or found[0][0].score > best[0][0].score + speeds.HANDICAP):
                best = found
        if not best or (ranking.is_sure and len(best) == 1 and best[0][1] == ranking.positions[0]):
            return ranking
        taken = {place for _, place in best}
        rest = [pair for pair in zip(ranking.answers, ranking.positions) if pair[1] not in taken]
        answers, positions = zip(*(best + [(doubted(answer), place) for answer, place in rest])[:top])
        return ranking._replace(answers=list(answers), positions=list(positions), n_parts=len(best))

    def _is_throughout(self, ranking: RankedClip) -> bool:
        """Returns whether the best answer is heard from the beginning of a clip to its end, about."""
        heard = ranking.heard[ranking.ranking.heard]
        cosines = speeds.part_scores(heard, ranking.ranking, 0, self.rows, shifts=ranking.shifts)
        spoken = np.flatnonzero(np.asarray(heard.vectors[:: ranking.shifts].any(axis=1))[: len(cosines)])
        if not len(spoken):  # Only rows between these say something.
            return True
        first, stop = parts.heard_rows(cosines)
        aside = asking.ASIDE_S / self.rows.hop_s
        return first - int(spoken[0]) < aside and int(spoken[-1]) + 1 - stop < aside

    def _answered_parts(self, version: speeds.ClipAtSpeed, shifts: int) -> list[tuple[Answer, int]]:
        """Returns the sure answers of parts of one version of a clip, each with the position of its track."""
        hop_s, segment_s = self.rows.hop_s, self._network.segment / self._network.sample_rate_hz
        answers = []
        for part in parts.found(version.vectors[::shifts], version.near[::shifts], self.rows):
            margin, n_rows = part.score - part.elsewhere, part.stop - part.first
            probability = asking.probability(self._confidence, length=n_rows, score=part.score, margin=margin)
            if not asking.is_sure(probability, margin):
                continue
            first_row = int(self.rows.borders(np.array([part.track]))[0][0])
            from_s, to_s = part.first * hop_s, (part.stop - 1) * hop_s + segment_s
            answer = Answer(
                self.rows.tracks[part.track] if self.rows.tracks else "",
                (part.start - first_row) * hop_s,
                part.score,
                probability,
                margin,
                version.speed,
                from_s / version.speed,
                to_s / version.speed,
                told.semitones(version.pitch),
            )
            answers.append((answer, part.track))
        return answers

    def _checked(self, samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """Returns the part of a clip that counts, float32 [S]. Raises nafp.errors.Invalid for what is no clip."""
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1:
            raise errors.Invalid(
                f"a waveform of shape {samples.shape}: one channel [S] is needed; average the channels of others."
            )
        if not _LEAST_HZ <= sample_rate_hz < _MOST_HZ:  # False for NaN.
            raise errors.Invalid(f"sample_rate_hz={sample_rate_hz}: samples per second, such as 44100")
        samples = samples[: segments.to_samples(asking.LONGEST_S, sample_rate_hz)]
        if not np.isfinite(samples).all():
            raise errors.Invalid("the waveform has NaN or infinity in it")
        return samples

    def _look(self, samples: np.ndarray, sample_rate_hz: int, look: asking.Look, top: int) -> RankedClip:
        """Fingerprints, searches and ranks a clip once."""
        versions = self._hear(samples, sample_rate_hz, look)
        at_speed = functools.partial(self._slowed, samples, sample_rate_hz)
        return self._places(versions, look.shifts, top, at_speed)

    def _places(
        self,
        versions: list[speeds.ClipAtSpeed],
        shifts: int,
        top: int,
        at_speed: Callable[[float], np.ndarray] | None = None,
        *,
        own: np.ndarray | None = None,
        handicap: float = 0.0,
    ) -> RankedClip:
        """Ranks the places of a clip that was searched for.

        at_speed: returns the clip [S] with a speed undone. None if only its fingerprints are known. own: rows at the
        clip's own speed, if they are not of the first version. handicap: what scores are less worth.
        """
        places = speeds.rank(versions, self.rows, shifts=shifts, top=_EVERY_PLACE)[0]
        rows = versions[0].vectors[::shifts] if own is None else own
        length = int(rows.any(axis=1).sum())
        if self._judge and at_speed:
            places = self._judge.judged(places, at_speed(versions[places.heard].speed), length=length)
        to_s = (len(rows) - 1) * self.rows.hop_s + self._network.segment / self._network.sample_rate_hz
        is_weighed = self._confidence is not None and self._confidence.verifier is not None and own is None
        found = evidence.of_ranking(versions, places, self.rows, shifts=shifts) if is_weighed else None
        pitch = versions[places.heard].pitch
        answers = self._answers(places, length, top, to_s=to_s, pitch=pitch, handicap=handicap, found=found)
        positions = places.tracks[match.best_of_each_track(places.tracks)[:top]].tolist()
        return RankedClip(answers, places, versions, shifts, positions)

    def _hear(self, samples: np.ndarray, sample_rate_hz: int, look: asking.Look) -> list[speeds.ClipAtSpeed]:
        """Fingerprints a clip at all speeds of a look, in one batch, and searches for all of them at once."""
        framed = {speed: self._framed(samples, sample_rate_hz, speed, look.shifts) for speed in look.speeds}
        framed = {speed: waveforms for speed, waveforms in framed.items() if len(waveforms)}
        vectors = asking.fingerprints(self._network, np.concatenate(list(framed.values())))
        ends = np.cumsum([len(waveforms) for waveforms in framed.values()])[:-1]
        return self._find(dict(zip(framed, np.split(vectors, ends))), look.shifts)

    def _find(self, vectors: Mapping[float, np.ndarray], shifts: int) -> list[speeds.ClipAtSpeed]:
        """Searches for the fingerprints of all speeds at once. Rows of zeros say nothing and are near nothing."""
        neighbours = self._nearest(np.concatenate(list(vectors.values())))
        ends = np.cumsum([len(own) for own in vectors.values()])[:-1]
        versions = zip(vectors.items(), np.split(neighbours, ends))
        return [speeds.ClipAtSpeed(speed, own, near, [len(own[::shifts])]) for (speed, own), near in versions]

    def _nearest(self, rows: np.ndarray) -> np.ndarray:
        """Returns the nearest rows of vectors [n, D], int64 [n, K], -1 for none."""
        is_heard = rows.any(axis=1)
        neighbours = np.full((len(rows), 1), -1)
        if is_heard.any():
            _, near = self._index.search(rows[is_heard])
            neighbours = np.full((len(rows), near.shape[1]), -1)
            neighbours[is_heard] = near
        if self._left_out:
            neighbours[np.isin(self.rows.track_of(neighbours), list(self._left_out))] = -1
        return neighbours

    def _framed(self, samples: np.ndarray, sample_rate_hz: int, speed: float, shifts: int) -> np.ndarray:
        """Undoes the speed of a clip and cuts it into segments [n, S]. A clip that is too short then gives n = 0."""
        segment, slowed = self._network.segment, self._slowed(samples, sample_rate_hz, speed)
        if asking.is_filled(len(slowed), segment=segment):
            slowed = np.pad(slowed, (0, segment - len(slowed)))
        return segments.frame(slowed, segment=segment, hop=self._network.hop // shifts)

    def _slowed(self, samples: np.ndarray, sample_rate_hz: int, speed: float) -> np.ndarray:
        """Undoes the speed of a clip, at the rate of the network."""
        return decode.resample(samples, from_hz=sample_rate_hz, to_hz=round(self._network.sample_rate_hz * speed))

    def _answers(
        self,
        places: speeds.ClipRanking,
        length: int,
        top: int,
        *,
        to_s: float,
        pitch: float,
        handicap: float,
        found: evidence.Evidence | None,
    ) -> list[Answer]:
        """Returns the best place of each of the `top` best tracks.

        length: of the clip, in segments that say something. to_s: the same in seconds, with all segments. pitch,
        handicap: of the version that decided, see `_places`. found: what speaks for the best place.
        """
        best = match.best_of_each_track(places.tracks)[:top]
        tracks, starts, scores = (values[best] for values in (places.tracks, places.starts, places.counted))
        matches = match.matches(match.Ranking(tracks, starts, scores, places.elsewhere, starts), self.rows)
        is_judged, worth, semitones = places.judged is not None, scores - handicap, told.semitones(pitch)
        sure = asking.probabilities(self._confidence, length, worth, places.elsewhere, judged=is_judged, found=found)
        return [
            Answer(one.track, one.start_s, float(score), probability, one.margin, float(speed), 0.0, to_s, semitones)
            for one, score, speed, probability in zip(matches, places.scores[best], places.speeds[best], sure)
        ]


def _probable(ranking: RankedClip, least: float) -> list[Answer]:
    """Returns the answers that reach `least`. Raises errors.Invalid if the only ones are damaged tracks."""
    found = [answer for answer in ranking.answers if is_answer(answer, least)]
    if not found and ranking.lost:
        raise errors.Invalid(lost_in_words(ranking.lost))
    return found


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


def doubted(candidate: Answer) -> Answer:
    """Returns a candidate for the whole of a clip that is answered in parts: it explains none, and is no answer."""
    return candidate._replace(probability=0.0 if candidate.probability is not None else None)


def lost_in_words(lost: Sequence[str]) -> str:
    """Says that the answers to a clip are tracks whose fingerprints are damaged."""
    return f"{', '.join(lost)}: would be the answer, but its fingerprints are damaged; nafp verify names all damage"


def listening_rate_hz(sample_rate_hz: int) -> int:
    """Returns the rate to decode a clip at: above the network's, for speeds that bring higher sounds down."""
    return 2 * sample_rate_hz
