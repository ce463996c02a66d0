"""Measures what spectral peaks add to fingerprints: right tracks, answers accepted at equal false accepts, and cost.

python -m benchmarks.peaks --database=DB --queries=QUERIES --work=FOLDER [--lengths=1,3,5] [--clips=N] [--once]
    [--conditions=n0,song0] [--fit=CONFIDENCE.json] [--out=FILE.json]

DB keeps peaks (nafp add DB CORPUS --peaks), and QUERIES is what `nafp queries render` wrote of its tracks. Each clip is
asked as `nafp identify` asks it (--once: without a closer look), and once more without its own track. FOLDER keeps the
candidates, so that a run goes on after an interruption. Each half of the songs is judged by what was fitted to the
other half: the share of the peaks, the probability, and the threshold for 1 % of false accepts. --fit writes the
calibration for both halves, based on the one of DB. Times are CPU times.
"""

import csv
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from benchmarks import _ends, _result
from evaluation.scores import metrics, open_set, results, statistics, tables
from nafp import errors
from nafp.audio import decode
from nafp.database import database
from nafp.identify import asking, identifier, second_opinion
from nafp.jobs import progress
from nafp.search import confidence, match, speeds

_DATABASE = flags.DEFINE_string("database", None, "The database, with peaks. Required.", required=True)
_QUERIES = flags.DEFINE_string("queries", None, "The folder of clips with expected.csv. Required.", required=True)
_WORK = flags.DEFINE_string("work", None, "The folder for the candidates. Required.", required=True)
_LENGTHS = flags.DEFINE_list("lengths", ["1", "3", "5"], "The lengths to ask, in seconds.")
_CLIPS = flags.DEFINE_integer("clips", 0, "Clips of each condition, from the first on. Default: 0, all.")
_CONDITIONS = flags.DEFINE_list("conditions", None, "Conditions to ask. Default: all.")
_ONCE = flags.DEFINE_bool("once", False, "Ask at the clip's own speed alone, without a closer look.")
_FIT = flags.DEFINE_string("fit", None, "The calibration to write. Default: none.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the numbers are only printed.")

SHARES = (0.0, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08)
_FALSE_ACCEPTS = 0.01
_KEPT = 64  # Candidates of a look.
_ELSEWHERE = 0.1  # Quantile of what the best place scores where none is right.
_TWIN_ROWS = 9  # Compared to tell twins: five seconds.
_LOOKS = ("known, first", "known, closer", "unknown, first", "unknown, closer")


class Asked(NamedTuple):
    """The candidates of Q clips of one length, in each of _LOOKS.

    tracks: int64 [Q, 4, C], -1 for none. cosines, fits: float32 [Q, 4, C], the mean cosine of each candidate, and how
    well the clip fits its peaks. own: int64 [Q]. twins: bool [Q, tracks], those with the same recording, its own among
    them. conditions: str [Q]. cpu_ms: float [Q, 4], of the peaks alone.
    """

    tracks: np.ndarray
    cosines: np.ndarray
    fits: np.ndarray
    own: np.ndarray
    twins: np.ndarray
    conditions: np.ndarray
    cpu_ms: np.ndarray


class Verdicts(NamedTuple):
    """What came of Q clips: whether the best answer is right, and what it and a stranger's best answer score."""

    is_right: np.ndarray
    score: np.ndarray
    margin: np.ndarray
    strange_score: np.ndarray
    strange_margin: np.ndarray


class Listener:
    """Asks a database, and returns candidates with what fingerprints and peaks say of each."""

    def __init__(self, opened: database.Database):
        network = opened.network(batch_size=identifier.BATCH)
        known = opened.confidence
        if known is None:
            raise errors.Invalid(f"{opened.folder}: has no calibration; peaks are measured beside one of fingerprints")
        self.calibration = known
        self.asked = identifier.Identifier(network, opened.rows, opened.index, confidence=self.calibration)
        self.rows, self.rate_hz = opened.rows, network.sample_rate_hz
        self.judge = second_opinion.PeakJudge(opened.rows, network, self.calibration)
        self._heard: tuple[np.ndarray, list[speeds.ClipAtSpeed]] = np.zeros(0), []
        self._once = asking.policy(hop_s=opened.hop_s, speeds="none", shifts=1)
        self._policy = self._once if _ONCE.value else asking.policy(hop_s=opened.hop_s)

    def twins(self, own: int, at_s: float, samples: np.ndarray) -> np.ndarray:
        """Returns which tracks hold the recording of a clip, as far as its first look finds them: bool [tracks]."""
        places = speeds.rank(self._first_heard(samples), self.rows, top=1 << 20)[0]
        best = match.best_of_each_track(places.tracks)[:_KEPT]
        right = self.rows.borders(np.array([own]))[0] + at_s / self.rows.hop_s
        starts = np.round(np.concatenate([right, places.starts[best]])).astype(np.int64)
        vectors = self.rows.windows(starts, _TWIN_ROWS)
        found = np.zeros(len(self.rows.tracks), bool)
        found[places.tracks[best]] = np.vecdot(vectors[1:], vectors[0]).mean(axis=1) >= match.TWIN_COSINE
        found[own] = True
        return found

    def _first_heard(self, samples: np.ndarray) -> list[speeds.ClipAtSpeed]:
        """Fingerprints a clip for its first look, once for all who ask for the same clip in turn."""
        if self._heard[0] is not samples:
            self._heard = samples, self.asked._hear(samples, self.rate_hz, self._once.first)
        return self._heard[1]

    def looks(self, samples: np.ndarray, own: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
        """Yields tracks, cosines, fits and CPU ms of each of _LOOKS."""
        clip_s = len(samples) / self.rate_hz
        closer = self._policy.closer(clip_s=clip_s)
        looks = [self._policy.first, closer] if closer else [self._policy.first]
        heard = [self._first_heard(samples), *(self.asked._hear(samples, self.rate_hz, look) for look in looks[1:])]
        for left_out in (set[int](), {own}):
            for number, look in enumerate(looks):
                versions = [self._without(version, left_out) for version in heard[number]]
                tracks, cosines, fits, judged_ms = self._candidates(samples, versions, look.shifts)
                yield tracks, cosines, fits, judged_ms
                if not closer:
                    yield tracks, cosines, fits, judged_ms

    def _without(self, version: speeds.ClipAtSpeed, left_out: set[int]) -> speeds.ClipAtSpeed:
        near = version.near.copy()
        near[np.isin(self.rows.track_of(near), list(left_out))] = -1
        return version._replace(near=near)

    def _candidates(
        self, samples: np.ndarray, versions: list[speeds.ClipAtSpeed], shifts: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        places = speeds.rank(versions, self.rows, shifts=shifts, top=1 << 20)[0]
        began, rate_hz = time.process_time(), round(self.rate_hz * versions[places.heard].speed)
        chosen = second_opinion.chosen(places.tracks)
        slowed = decode.resample(samples, from_hz=self.rate_hz, to_hz=rate_hz)
        fits = self.judge.likeness(self.judge.heard(slowed), places.tracks[chosen], places.starts[chosen])
        spent_ms = 1e3 * (time.process_time() - began)
        return places.tracks[chosen], places.scores[chosen], fits, spent_ms


def candidates(opened: database.Database, queries: str, work: pathlib.Path, seconds: float) -> Asked:
    """Asks for the candidates that the folder lacks, and returns all at one length."""
    with (pathlib.Path(queries) / "expected.csv").open(newline="", encoding="utf-8") as table:
        lines = list(csv.DictReader(table))
    wanted = _CONDITIONS.value or list(dict.fromkeys(line["condition"] for line in lines))
    work.mkdir(parents=True, exist_ok=True)
    listener: Listener | None = None
    parts = []
    for condition in wanted:
        file = work / f"{condition}_{seconds:g}.npz"
        if not file.exists():
            listener = listener or Listener(opened)
            own = [line | {"query": f"{queries}/{line['query']}"} for line in lines if line["condition"] == condition]
            asked = _asked(listener, own[: _CLIPS.value or None], seconds)
            np.savez(file, **asked._asdict())
        parts.append(Asked(**np.load(file)))
    return with_all_twins(Asked(*(np.concatenate(values) for values in zip(*parts))))


def _asked(listener: Listener, lines: Sequence[dict[str, str]], seconds: float) -> Asked:
    position = {name: number for number, name in enumerate(listener.rows.tracks)}
    shape = (len(lines), len(_LOOKS), _KEPT)
    tracks, cosines, fits = np.full(shape, -1), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    cpu_ms, twins = np.zeros(shape[:2]), np.zeros((len(lines), len(position)), bool)
    own = np.array([position[line["answer"]] for line in lines])
    with progress.Progress(len(lines), "clips", label=f"{lines[0]['condition']}, {seconds:g} s") as bar:
        for number, line in enumerate(lines):
            samples = decode.load(line["query"], sample_rate_hz=listener.rate_hz, seconds=seconds)
            twins[number] = listener.twins(own[number], float(line["time"]), samples)
            for look, (track, cosine, fit, spent) in enumerate(listener.looks(samples, own[number])):
                n = min(_KEPT, len(track))
                tracks[number, look, :n], cosines[number, look, :n] = track[:n], cosine[:n]
                fits[number, look, :n], cpu_ms[number, look] = fit[:n], spent
            bar.add()
    return Asked(tracks, cosines, fits, own, twins, np.array([line["condition"] for line in lines]), cpu_ms)


def with_all_twins(asked: Asked) -> Asked:
    """Adds to each clip the twins that other clips of its recording found."""
    twins = asked.twins.copy()
    for own in np.unique(asked.own):
        twins[asked.own == own] = asked.twins[asked.own == own].any(axis=0)
    return asked._replace(twins=twins)


def best(asked: Asked, look: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns whether the best candidate is right, its judged score, and its margin: [Q] each.

    A stranger's own recording and its twins are left out.
    """
    tracks, is_there = asked.tracks[:, look], asked.tracks[:, look] >= 0
    is_twin = np.take_along_axis(asked.twins, np.maximum(tracks, 0), axis=1)
    if look >= 2:
        is_there = is_there & ~is_twin
    scores = np.where(is_there, asked.cosines[:, look] + share * asked.fits[:, look], -np.inf)
    first = scores.argmax(axis=1)[:, None]
    taken, is_right = np.take_along_axis(tracks, first, axis=1), np.take_along_axis(is_twin, first, axis=1)
    is_other = np.where(is_right, ~is_twin, tracks != taken) & is_there
    top = np.take_along_axis(scores, first, axis=1)[:, 0]
    rival = np.where(is_other, scores, -np.inf).max(axis=1)
    top, rival = (np.where(np.isfinite(values), values, 0.0) for values in (top, rival))
    return is_right[:, 0], top, top - rival


class Model(NamedTuple):
    """What is fitted to half of the songs: the share of the peaks, and weights float64 [3]."""

    share: float
    weights: np.ndarray

    def probability(self, score: np.ndarray, margin: np.ndarray) -> np.ndarray:
        """Returns the probability of being right for each judged score and its margin."""
        return confidence.Confidence([1], self.weights[None]).probability(1, score, margin)


def verdicts(asked: Asked, model: Model) -> Verdicts:
    """Answers as `nafp identify` does: the closer look replaces a first one that is not sure."""
    both = [[best(asked, look, model.share) for look in looks] for looks in ((0, 1), (2, 3))]
    told = []
    for first, closer in both:
        is_sure = model.probability(first[1], first[2]) >= asking.SURE
        told.append([np.where(is_sure, *pair) for pair in zip(first, closer)])
    (right, score, margin), (_, strange_score, strange_margin) = told
    return Verdicts(right, score, margin, strange_score, strange_margin)


def fitted(asked: Asked, share: float) -> Model:
    """Fits weights for a share. Which look counts depends on them, so that they are fitted three times."""
    model = Model(share, np.array([-np.inf, 0, 0]))  # Nothing is sure: the closer look counts.
    for _ in range(3):
        seen = verdicts(asked, model)
        unknown = np.repeat([False, True], len(seen.score))
        is_right = np.concatenate([seen.is_right, np.zeros(len(seen.score), bool)])
        scores = np.concatenate([seen.score, seen.strange_score])
        margins = np.concatenate([seen.margin, seen.strange_margin])
        model = Model(share, confidence.fit(scores, margins, is_right, unknown=unknown))
    return model


def accepted(asked: Asked, model: Model, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns which clips are right first, which are accepted and right, and which strangers are accepted: bool [Q]."""
    seen = verdicts(asked, model)
    is_accepted = model.probability(seen.score, seen.margin) > threshold
    strange = model.probability(seen.strange_score, seen.strange_margin) > threshold
    return seen.is_right, seen.is_right & is_accepted, strange


def threshold_of(asked: Asked, model: Model) -> float:
    """Returns the probability that 1 % of the strangers exceed."""
    seen = verdicts(asked, model)
    return open_set.threshold(model.probability(seen.strange_score, seen.strange_margin), _FALSE_ACCEPTS)


def best_model(asked: Asked, shares: Sequence[float]) -> Model:
    """Returns the model of the share that accepts most right answers at 1 % of false accepts."""
    models = [fitted(asked, share) for share in shares]
    counts = [accepted(asked, model, threshold_of(asked, model))[1].sum() for model in models]
    return models[int(np.argmax(counts))]


def part(asked: Asked, which: np.ndarray) -> Asked:
    """Returns some of the clips."""
    return Asked(*(values[which] for values in asked))


def judged(asked: Asked, shares: Sequence[float], songs: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Judges each half of the songs by what the other gave. Returns what `accepted` does for all clips."""
    half = open_set.halves(songs)
    if len(set(half.tolist())) < 2:
        raise errors.Invalid(f"{_QUERIES.value}: too few songs to judge each half of them by the other; render more")
    told = np.zeros((3, len(half)), bool)
    for fold in (0, 1):
        fits, judges = part(asked, half != fold), half == fold
        model = best_model(fits, shares)
        told[:, judges] = accepted(part(asked, judges), model, threshold_of(fits, model))
    return told[0], told[1], told[2]


def measured(asked: Asked, names: Sequence[str]) -> dict[str, Any]:
    """Returns the cells of each condition, and of all, with fingerprints alone and with peaks."""
    songs = [names[own] for own in asked.own]
    plain, both = judged(asked, SHARES[:1], songs), judged(asked, SHARES[1:], songs)
    cells: dict[str, Any] = {}
    for condition in [*dict.fromkeys(asked.conditions.tolist()), "all"]:
        own = (asked.conditions == condition) | (condition == "all")
        cells[condition] = {
            name: {
                what: results.cell(metrics.Hits(int(values[own].sum()), int(own.sum())))
                for what, values in zip(("right", "accepted", "false"), told)
            }
            for name, told in (("fingerprints", plain), ("with peaks", both))
        }
        cells[condition]["p"] = statistics.mcnemar(plain[1][own], both[1][own]).p
    first, closer = asked.cpu_ms[:, 0], asked.cpu_ms[:, 1]
    return {"conditions": cells, "cpu_ms": {"first look": float(first.mean()), "closer look": float(closer.mean())}}


def report(seconds: float, record: dict[str, Any]) -> str:
    """Writes the table of one length as Markdown."""
    columns = [(name, what) for what in ("right", "accepted", "false") for name in ("fingerprints", "with peaks")]
    header = [f"{seconds:g} s, %", *(f"{what}: {name}" for name, what in columns), "p"]
    lines = [
        [condition, *(tables.percent(cells[name][what]) for name, what in columns), f"{cells['p']:.2g}"]
        for condition, cells in record["conditions"].items()
    ]
    return tables.markdown_table(header, lines) + f"\n\nCPU ms of the peaks: {record['cpu_ms']}"


def calibrated(asked: Asked, share: float, known: confidence.Confidence, length: float) -> confidence.PeakCalibration:
    """Fits the calibration of one length, in segments, to all clips.

    The weights of margin and score keep their proportion, so that a fit in a small collection, where margins are large,
    serves in a large one. `elsewhere` is that of fingerprints, raised by what the peaks add to a stranger's best score.
    """
    usual = known.elsewhere if known.elsewhere is not None else np.full(len(known.lengths), -np.inf)
    per_margin, per_score = (np.interp(length, known.lengths, column) for column in known.weights.T[1:])
    nobody_sure = np.array([-np.inf, 0, 0])
    plain, seen = (verdicts(asked, Model(part, nobody_sure)) for part in (0.0, share))
    raised = np.quantile(seen.strange_score, _ELSEWHERE) - np.quantile(plain.strange_score, _ELSEWHERE)
    elsewhere = np.interp(length, known.lengths, usual) + raised
    scores = np.concatenate([seen.score, seen.strange_score])
    margins = np.minimum(np.concatenate([seen.margin, seen.strange_margin]), scores - elsewhere)
    unknown = np.repeat([False, True], len(seen.score))
    is_right = np.concatenate([seen.is_right, np.zeros(len(seen.score), bool)])
    evidence = per_margin * margins + per_score * scores
    offset, scale, _ = confidence.fit(np.zeros(len(scores)), evidence, is_right, unknown=unknown)
    return confidence.PeakCalibration(
        np.array([share]), np.array([[offset, scale * per_margin, scale * per_score]]), np.array([elsewhere])
    )


def calibration(
    known: confidence.Confidence, measured: Mapping[float, confidence.PeakCalibration]
) -> confidence.Confidence:
    """Returns a calibration with peaks at the lengths that were measured. At others fingerprints answer alone."""
    usual = known.elsewhere if known.elsewhere is not None else np.full(len(known.lengths), -np.inf)
    alone = confidence.PeakCalibration(np.zeros(len(usual)), known.weights, usual)
    columns = [column.copy() for column in alone]
    for place, length in enumerate(known.lengths):
        if length in measured:
            for column, value in zip(columns, measured[length]):
                column[place] = value[0]
    judged = confidence.PeakCalibration(*columns)
    return confidence.Confidence(known.lengths, known.weights, known.elsewhere, judged, known.verifier)


def main() -> None:
    numbers: dict[str, Any] = {"machine": results.machine()}
    fits: dict[float, confidence.PeakCalibration] = {}
    with database.Database.open(_DATABASE.value) as opened:
        for seconds in map(float, _LENGTHS.value):
            asked = candidates(opened, str(_QUERIES.value), pathlib.Path(_WORK.value), seconds)
            numbers[f"{seconds:g}"] = measured(asked, opened.rows.tracks)
            print(report(seconds, numbers[f"{seconds:g}"]), end="\n\n", flush=True)
            length = 1 + (seconds - opened.about["segment_s"]) / opened.hop_s
            if opened.confidence is not None:
                share = best_model(asked, SHARES[1:]).share
                fits[length] = calibrated(asked, share, opened.confidence, length)
                print(f"share of the peaks: {share}", flush=True)
        if _FIT.value and opened.confidence is not None:
            calibration(opened.confidence, fits).save(_FIT.value)
    _result.write(numbers, _OUT.value)


if __name__ == "__main__":
    _ends.run(main)
