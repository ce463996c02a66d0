"""However often a collection holds a recording, a stretch of it stands out as with one copy."""

import pathlib

import numpy as np
import pytest

from nafp.audio import decode
from nafp.monitor import stretches
from nafp.search import collection, index, plans, store
from tests import networks

MUSIC = pathlib.Path(__file__).parents[1] / "recordings" / "music"
RATE_HZ = 8000


@pytest.fixture(scope="module")
def fingerprinted():
    """A recording that repeats itself, and another one."""
    names = ("3am-sink-light", "boulder-title")
    return [networks.small().track(decode.load(MUSIC / f"{name}.opus", sample_rate_hz=RATE_HZ)) for name in names]


def margin(fingerprinted, n_copies):
    looped, other = fingerprinted
    parts = [looped] * n_copies + [other]
    edges = np.cumsum([0, *map(len, parts)])
    tracks = [store.TrackRows(f"{n}", int(edge), len(part), 30.0) for n, (edge, part) in enumerate(zip(edges, parts))]
    rows = collection.Collection([np.concatenate(parts)], tracks, hop_s=0.5)
    built = index.build(rows, plans.plan("l2", n_rows=len(rows), dim=rows.dim))
    heard = decode.load(MUSIC / "3am-sink-light.opus", sample_rate_hz=RATE_HZ, start_s=3.0, seconds=20.0)
    (found,) = stretches.watch(stretches.Monitor(networks.small(), rows, built), [heard])
    assert int(found.track) < n_copies
    return found.margin


def test_copies_leave_the_margin_of_a_stretch(fingerprinted):
    once = margin(fingerprinted, 1)
    assert once > 0.5
    assert margin(fingerprinted, 2) > once - 0.1
    assert margin(fingerprinted, 10) > once - 0.1
