"""Fingerprints from elsewhere are answered like the sound that they were computed from."""

import pathlib

import numpy as np
import pytest

from nafp.audio import decode
from nafp.identify import identifier
from nafp.models import numpy_network
from nafp.search import collection, index, plans, store
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
    asked = identifier.Identifier(network, rows, searched, speeds="none")
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
