"""What benchmarks.any_speed says of strangers, and of other handicaps for the look at other pitches."""

import math
import types

import numpy as np
import pytest

from benchmarks import _two_looks
from nafp.search import collection, confidence, index, plans, store

DIM, N = 16, 60


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def opened(named):
    """An identifier of tracks [n, D] by name, which hears nothing."""
    firsts = np.cumsum([0, *map(len, named.values())]).tolist()
    tracks = [store.TrackRows(name, first, len(own), 30.0) for (name, own), first in zip(named.items(), firsts)]
    rows = collection.Collection([np.concatenate(list(named.values()))], tracks, hop_s=0.5)
    network = types.SimpleNamespace(hop=4000, sample_rate_hz=8000)
    return _two_looks.TwoLooks(network, rows, index.build(rows, plans.plan("l2", n_rows=len(rows), dim=DIM)))


def test_a_stranger_has_the_rivals_that_a_collection_without_its_versions_has():
    rng = np.random.default_rng(0)
    named = {f"song{n}": unit(rng.standard_normal((N, DIM))) for n in range(5)}
    named["song0'"] = unit(named["song0"] + 0.1 * rng.standard_normal((N, DIM)))
    asked, few = opened(named), opened({name: rows for name, rows in named.items() if not name.startswith("song0")})
    found = _two_looks.versions(asked.rows, asked._index, ["song0", "song3"])
    assert found == {"song0": ["song0'"], "song3": []}
    query = np.concatenate([named["song0"][:3], np.zeros((1, DIM), np.float32)])
    asked.without({asked.rows.tracks.index(name) for name in ("song0", *found["song0"])})
    near = asked._nearest(query)
    assert (near[3] == -1).all()
    assert near.shape[1] == asked._index.plan.k
    np.testing.assert_array_equal(np.where(near < 0, -1, near - N), few._nearest(query))


@pytest.mark.parametrize(
    "stands_out, worth, wanted", [(0.1, 0.0, "far"), (0.1, 0.3, "far"), (0.3, 0.0, "near"), (math.inf, 0.0, "near")]
)
def test_another_handicap_gives_the_answer_that_it_would_have_given(stands_out, worth, wanted):
    calibration = confidence.Confidence([1], np.array([[-5.0, 10.0, 5.0]]))
    near = {"track": "near", "probability": 0.4, "score": 0.6, "margin": 0.1, "stands_out": 0.4}
    far = {"track": "far", "probability": 0.9, "score": 0.8, "margin": 0.2, "stands_out": 0.6, "rows": 3}
    line = {"heard": [near, far], "best": near}
    track, probability, is_far = _two_looks.answered(line, calibration, stands_out=stands_out, worth=worth)
    assert (track, is_far) == (wanted, wanted == "far")
    if is_far:
        log_odds = -5 + 10 * (0.2 - worth) + 5 * (0.8 - worth)
        assert probability == pytest.approx(1 / (1 + math.exp(-log_odds)))
    else:
        assert probability == 0.4
    assert _two_looks.answered({"heard": [], "best": near}, calibration, stands_out=0, worth=0)[0] == "near"
