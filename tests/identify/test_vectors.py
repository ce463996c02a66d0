"""Fingerprints from elsewhere are answered like the sound that they were computed from."""

import pathlib

import numpy as np
import pytest

from nafp.audio import decode
from nafp.identify import identifier
from nafp.models import numpy_network
from nafp.search import collection, confidence, evidence, index, plans, store
from tests import networks

MUSIC = sorted((pathlib.Path(__file__).parents[1] / "recordings" / "music").glob("*.opus"))[:3]


@pytest.fixture(scope="module")
def opened():
    """A network of random numbers, the rows that it gives three recordings, and their index."""
    c = networks.config()
    network = numpy_network.NumpyNetwork(networks.variables(c), c, identity={"sha256": "0", "source": "x", "step": 0})
    tracks, parts, first = [], [], 0
    for path in MUSIC:
        parts.append(network.track(decode.load(path, sample_rate_hz=8000)))
        tracks.append(store.TrackRows(path.stem, first, len(parts[-1]), 30.0))
        first += len(parts[-1])
    rows = collection.Collection([np.concatenate(parts)], tracks, hop_s=0.5)
    return network, rows, index.build(rows, plans.plan("l2", n_rows=len(rows), dim=rows.dim))


@pytest.mark.parametrize("seconds", [6.0, 4.0])
def test_vectors_computed_elsewhere_get_the_answer_of_the_sound(opened, seconds):
    network, rows, searched = opened
    clip = decode.load(MUSIC[1], sample_rate_hz=8000, start_s=5.0, seconds=seconds)
    doubting = confidence.Confidence([1], np.array([[-3.0, 0, 0]]))  # To this network all music is one recording.
    asked = identifier.Identifier(network, rows, searched, speeds="none", confidence=doubting)
    heard = asked.rank(clip, sample_rate_hz=8000)
    sent = {version.speed: version.vectors for version in heard.heard}
    found = asked.rank_vectors(sent, shifts=heard.shifts).answers
    assert [answer[:6] for answer in found] == [answer[:6] for answer in heard.answers]
    assert heard.shifts == (1 if seconds > 5 else 2)  # A short clip is looked at with more rows.
    assert found[0].track == MUSIC[1].stem


def test_rows_that_say_nothing_are_passed_over(opened):
    network, rows, searched = opened
    vectors = network.track(decode.load(MUSIC[1], sample_rate_hz=8000, start_s=5.0, seconds=8.0))
    vectors[:4] = 0
    asked = identifier.Identifier(network, rows, searched)
    assert asked.rank_vectors({1.0: vectors}).answers[0].start_s == pytest.approx(5.0, abs=0.05)
    assert asked.rank_vectors({1.0: np.zeros_like(vectors)}).answers == []


def test_an_answer_is_as_probable_as_its_evidence_says_and_without_a_verifier_as_before(opened):
    network, rows, searched = opened
    clip = decode.load(MUSIC[1], sample_rate_hz=8000, start_s=5.2, seconds=3.0)
    several = np.array([[-1.0, 2, 1, -3, -2, 4, 1, 2]])
    verifier = confidence.Verifier(np.zeros((1, 8)), several, np.array([[0.1, 0.2]]))
    weighing = confidence.Confidence([1], np.array([[-3.0, 4, 2]]), verifier=verifier)
    asked = identifier.Identifier(network, rows, searched, speeds=[0.97, 1.03], confidence=weighing)
    ranked = asked.rank(clip, sample_rate_hz=8000)
    found = evidence.of_ranking(ranked.heard, ranked.ranking, rows, shifts=ranked.shifts)
    assert found.n_versions == 2
    best, *others = ranked.answers
    score, margin = np.array(best.score), np.array(best.margin)
    assert best.probability == pytest.approx(float(weighing.probability(6, score, margin, found=found)), abs=1e-6)
    assert best.probability != pytest.approx(float(weighing.plain.probability(6, score, margin)), abs=1e-3)
    assert all(other.probability < best.probability for other in others)
    plain = identifier.Identifier(network, rows, searched, speeds=[0.97, 1.03], confidence=weighing.plain)
    told = plain.rank(clip, sample_rate_hz=8000).answers[0].probability
    assert told == pytest.approx(float(weighing.plain.probability(6, score, margin)), abs=1e-6)
