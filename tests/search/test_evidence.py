"""What speaks for a place: held against loops over rows, and against cases whose answer is known."""

import json

import numpy as np
import pytest

from nafp import errors
from nafp.search import collection, confidence, evidence, speeds, store
from tests.databases import unit

DIM, ROWS, TRACKS = 16, 30, 14
VECTORS = unit(ROWS * TRACKS, seed=3, dim=DIM)
TABLE = [store.TrackRows(f"t{n}", n * ROWS, ROWS, 15.0) for n in range(TRACKS)]
COLLECTION = collection.Collection([VECTORS], TABLE)


def clip(speed, track, start, length, *, noise, seed, shifts=1):
    """A version of a clip of rows of a track, and its nearest rows by exhaustive search."""
    step = np.arange((length - 1) * shifts + 1) / shifts
    at = track * ROWS + start + np.floor(step * 1.0).astype(int)
    vectors = VECTORS[at] + noise * unit(len(at), seed=seed, dim=DIM)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    near = np.argsort(-(vectors @ VECTORS.T), axis=1)[:, :40]
    return speeds.ClipAtSpeed(speed, vectors, near, [length])


def slowly(heard, ranking, rows, shifts):
    """The same, row by row."""
    decided, best = heard[ranking.heard], int(ranking.tracks[0])
    places = {}
    for track, start, score in zip(ranking.tracks.tolist(), ranking.starts.tolist(), ranking.scores.tolist()):
        places.setdefault(track, (start, float(score)))
    (first, top), length, left, copies = places[best], decided.lengths[0], [], {best}
    everything = rows.read(0, len(rows))

    def row(at, track=None):
        is_inside = track is None or track * ROWS <= at < (track + 1) * ROWS
        return everything[min(max(0, at), len(everything) - 1)] * is_inside

    own = [round(first) + i for i in range(length) if row(round(first) + i, best).any()]
    tracks = list(places)
    for number in range(1, len(tracks), 10):  # Copies are looked for until ten tracks in a row are none.
        before = len(copies)
        for track in tracks[number : number + 10]:
            late = round(places[track][0]) - round(first)
            alike = [np.sum([row(at + late + by, track) @ row(at) for at in own]) for by in (-1, 0, 1)]
            copies |= {track} if max(alike) >= 0.6 * max(1, len(own)) else set()
        if len(copies) == before:
            break
    for start, score in [places[track] for track in tracks if track not in copies][:10]:
        shared = np.mean([row(round(start) + i) @ row(round(first) + i) for i in range(length)])
        shared = min(max(0, shared), 0.95)
        left.append((score - top * shared) / np.sqrt(1 - shared**2))
    told = []
    for number, version in enumerate(heard):
        if number == ranking.heard:
            continue
        here, there = [], []
        for i, vector in enumerate(version.vectors[::shifts][: version.lengths[0]]):
            if not vector.any():
                continue
            at = round(first + i * decided.speed / version.speed * ranking.slopes[0])
            is_inside = best * ROWS <= at < (best + 1) * ROWS
            here.append(row(at) @ vector if is_inside else 0)
            elsewhere = [near for near in version.near[i * shifts] if near >= 0 and near // ROWS not in copies]
            there.append(row(elsewhere[0]) @ vector if elsewhere else 0)
        if here:
            told.append((np.mean(here) - np.mean(there), np.mean(here)))
    most = max(told, default=(0, 0))
    means = [np.mean([one[i] for one in told]) if told else 0 for i in (0, 1)]
    change = abs(decided.speed - 1)
    return (change, max(left, default=0), means[0], most[0], means[1], most[1], len(told))


@pytest.mark.parametrize("shifts", [1, 2])
@pytest.mark.parametrize("length", [1, 4, 9])
def test_evidence_is_what_loops_over_rows_find(shifts, length):
    for seed in range(6):
        heard = [
            clip(speed, 5, 22 if seed == 1 else 7, length, noise=noise, seed=10 * seed + k, shifts=shifts)
            for k, (speed, noise) in enumerate([(1.0, 1.5), (0.94, 3.0), (1.06, 2.0)])
        ]
        if seed == 2:
            heard[1].vectors[:] = 0
        ranking = speeds.rank(heard, COLLECTION, shifts=shifts, top=1 << 20)[0]
        found = evidence.of_ranking(heard, ranking, COLLECTION, shifts=shifts)
        assert found == pytest.approx(slowly(heard, ranking, COLLECTION, shifts), abs=1e-5)
        assert found.n_versions == 2 - (seed == 2)


def test_a_clip_heard_at_one_speed_and_one_without_places_have_no_agreement():
    alone = clip(1.0, 5, 7, 4, noise=0.5, seed=1)
    ranking = speeds.rank([alone], COLLECTION, top=1 << 20)[0]
    found = evidence.of_ranking([alone], ranking, COLLECTION)
    assert found[2:] == (0, 0, 0, 0, 0)
    assert found.leftover > 0
    nowhere = alone._replace(near=np.full_like(alone.near, -1))
    assert evidence.of_ranking([nowhere], speeds.rank([nowhere], COLLECTION)[0], COLLECTION) == evidence.NONE


def test_a_right_place_agrees_with_the_other_speeds_and_a_place_by_chance_does_not():
    right = [clip(speed, 5, 7, 1, noise=1.0, seed=k) for k, speed in enumerate([1.0, 0.97, 1.03])]
    chance = [clip(speed, k, 7, 1, noise=3.0, seed=k) for k, speed in enumerate([1.0, 0.97, 1.03])]
    told = [
        evidence.of_ranking(heard, speeds.rank(heard, COLLECTION, top=1 << 20)[0], COLLECTION)
        for heard in (right, chance)
    ]
    assert told[0].agreement > 0 > told[1].agreement


def test_another_version_of_the_tune_leaves_no_rival_over():
    copies = VECTORS.copy()
    copies[9 * ROWS : 10 * ROWS] = 0.8 * copies[5 * ROWS : 6 * ROWS] + 0.6 * copies[9 * ROWS : 10 * ROWS]
    copies /= np.linalg.norm(copies, axis=1, keepdims=True)
    both = collection.Collection([copies], TABLE)
    query = copies[5 * ROWS + 7 : 5 * ROWS + 11]
    near = np.argsort(-(query @ copies.T), axis=1)[:, :40]
    heard = [speeds.ClipAtSpeed(1.0, query, near, [4])]
    ranking = speeds.rank(heard, both, twin_cosine=1.0, top=1 << 20)[0]
    assert ranking.elsewhere > 0.7 > 0.4 > evidence.of_ranking(heard, ranking, both).leftover


def test_rivals_count_as_strong_as_usual_ones():
    found = np.array([evidence.Evidence(0.03, 0.1, 0.3, 0.5, 0.4, 0.6, 4), evidence.NONE])
    values = evidence.weighed(found, evidence.Usual(leftover=0.2, rival=0.25))
    np.testing.assert_allclose(values, [[0.03, 0.2, 0.15, 0.35, 0.4], [0, 0.2, 0, 0, 0]])
    far = evidence.weighed(np.array([[0.2, 0, 0, 0, 0, 0, 0]]), evidence.Usual(0.2, 0.25))
    assert far[0, 0] == 0.06  # Weights were fitted to no farther change of speed.
    strong = evidence.weighed(found[:1], evidence.Usual(leftover=0.0, rival=0.0))
    np.testing.assert_allclose(strong, found[:1, :5])


WEIGHTS = np.array([[-2.0, 8, 3], [-1.0, 9, 2]])
VERIFIER = confidence.Verifier(
    np.array([[-3.0, 5, 2, -1, -2, 0, 0, 0], [-1.0, 4, 1, -2, -1, 0, 0, 0]]),
    np.array([[-1.0, 5, 2, -1, -2, 4, 3, 2], [-2.0, 6, 1, -3, -4, 3, 2, 5]]),
    np.array([[0.1, 0.4], [0.2, 0.3]]),
)
FOUND = evidence.Evidence(0.03, 0.3, -0.1, 0.1, 0.4, 0.5, 4)


def log_odds(p):
    return np.log(p / (1 - p))


def test_evidence_decides_of_the_best_place_and_the_others_keep_their_distance():
    model = confidence.Confidence([1, 5], WEIGHTS, verifier=VERIFIER)
    scores, margins = np.array([0.7, 0.5, 0.4]), np.array([0.2, 0.0, -0.1])
    plain = model.probability(3, scores, margins)
    assert plain == pytest.approx(model.plain.probability(3, scores, margins, found=FOUND))
    weights, usual = VERIFIER.several.mean(axis=0), evidence.Usual(*VERIFIER.usual.mean(axis=0))
    values = evidence.weighed(np.array([FOUND]), usual)[0]
    told = model.probability(3, scores, margins, found=FOUND)
    assert log_odds(told[0]) == pytest.approx(weights @ [1, 0.2, 0.7, *values])
    np.testing.assert_allclose(np.diff(log_odds(told)), np.diff(log_odds(plain)))
    alone = model.probability(1, scores[0], margins[0], found=FOUND._replace(n_versions=0))
    values = evidence.weighed(np.array([FOUND._replace(n_versions=0)]), evidence.Usual(0.1, 0.4))[0]
    assert log_odds(alone) == pytest.approx(VERIFIER.alone[0] @ [1, 0.2, 0.7, *values])


def test_what_speaks_for_the_best_place_does_not_speak_for_other_tracks():
    model = confidence.Confidence([1, 5], WEIGHTS, verifier=VERIFIER)
    scores, margins = np.array([0.9, 0.88, 0.3, 0.25]), np.array([0.6, 0.58, 0.0, -0.05])  # The second is a copy.
    found = FOUND._replace(leftover=0.1, agreement=0.5, best_agreement=0.6, likeness=0.8, best_likeness=0.9)
    plain = log_odds(model.probability(3, scores, margins))
    told = log_odds(model.probability(3, scores, margins, found=found))
    assert told[0] > plain[0] + 1
    np.testing.assert_allclose(told[:2] - plain[:2], (told[0] - plain[0]) * np.array([1, 0.58 / 0.6]))
    np.testing.assert_allclose(told[2:], plain[2:])


def test_a_rival_whose_margin_is_rounded_up_stays_a_rival():
    model = confidence.Confidence([1, 5], WEIGHTS, verifier=VERIFIER)
    found = FOUND._replace(leftover=0.1, agreement=0.5, best_agreement=0.6, likeness=0.8, best_likeness=0.9)
    scores = np.array([1.0, 0.3])
    plain, told = (model.probability(3, scores, np.array([0.7, 1e-8]), found=one) for one in (None, found))
    assert told[0] > plain[0]
    assert told[1] == pytest.approx(plain[1])
    assert model.probability(3, np.zeros(0), np.zeros(0), found=found).size == 0


def test_what_peaks_have_judged_is_not_judged_by_evidence():
    model = confidence.Confidence([1, 5], WEIGHTS, verifier=VERIFIER)
    given = np.array([0.7]), np.array([0.2])
    assert model.probability(1, *given, judged=True, found=FOUND) == model.probability(1, *given, judged=True)


def test_a_verifier_is_kept_with_the_calibration_and_one_of_other_evidence_is_left_aside(tmp_path):
    model = confidence.Confidence([1, 5], WEIGHTS, np.zeros(2), verifier=VERIFIER)
    model.save(tmp_path / "c.json")
    again = confidence.Confidence.load(tmp_path / "c.json")
    assert again.as_record() == model.as_record()
    assert again.verifier is not None
    assert "verifier" not in model.plain.as_record()
    record = json.loads((tmp_path / "c.json").read_text())
    record["verifier"]["evidence"] = ["of", "a", "later", "version"]
    (tmp_path / "c.json").write_text(json.dumps(record))
    assert confidence.Confidence.load(tmp_path / "c.json").as_record() == model.plain.as_record()


@pytest.mark.parametrize(
    "changed", [{"alone": [[1, 2, 3]]}, {"several": [[1] * 8] * 3}, {"usual": [[1, 2], [3, None]]}]
)
def test_a_verifier_of_a_wrong_shape_is_refused(tmp_path, changed):
    record = confidence.Confidence([1, 5], WEIGHTS, verifier=VERIFIER).as_record()
    record["verifier"] |= changed
    (tmp_path / "c.json").write_text(json.dumps(record))
    with pytest.raises(errors.Invalid, match="verifier"):
        confidence.Confidence.load(tmp_path / "c.json")


def test_weights_of_evidence_that_was_drawn_are_found_again():
    random = np.random.default_rng(0)
    given = random.standard_normal((30_000, 3))
    truth = np.array([0.5, 1.0, -2.0, 1.5])
    is_right = random.random(len(given)) < 1 / (1 + np.exp(-(truth[0] + given @ truth[1:])))
    unknown = random.random(len(given)) < 0.5
    margins, scores, found = given[:, 0], given[:, 1], given[:, 2:]
    np.testing.assert_allclose(confidence.fit(scores, margins, is_right, unknown=unknown, found=found), truth, atol=0.1)
