"""Places that hold the same music again are told from wrong ones."""

import numpy as np
import pytest

from benchmarks import _loops
from nafp.search import collection, store


@pytest.fixture(scope="module")
def rows():
    """A track whose rows 40 .. 60 repeat its rows 10 .. 30, after one that does not count."""
    noise = np.random.default_rng(3).standard_normal((102, 32))
    smooth = noise[:-2] + noise[1:-1] + noise[2:]
    smooth[60:80] = smooth[30:50]
    vectors = (smooth / np.linalg.norm(smooth, axis=1, keepdims=True)).astype(np.float32)
    tracks = [store.TrackRows("other", 0, 20, 10.0), store.TrackRows("loop", 20, 80, 40.0)]
    return collection.Collection([vectors], tracks, hop_s=0.5)


@pytest.mark.parametrize("off_s", [0.0, 0.25, -0.25])
def test_a_repeated_passage_is_alike_also_between_rows(rows, off_s):
    assert _loops.likeness(rows, 1, 7.1, 22.1 + off_s, seconds=3.0) > 0.97


@pytest.mark.parametrize("other_s", [0.2, 15.3, 31.0])
def test_other_passages_are_not(rows, other_s):
    assert _loops.likeness(rows, 1, 7.1, other_s, seconds=3.0) < _loops.ALIKE - 0.2


def test_what_lies_beyond_the_track_is_left_out(rows):
    assert _loops.likeness(rows, 1, 38.0, 38.1, seconds=5.0) > 0.97
    assert _loops.likeness(rows, 1, 38.0, 45.0, seconds=5.0) == 0
