"""However often a collection holds a recording, its clips are as sure as with one copy, and strangers no surer."""

import pathlib

import numpy as np
import pytest

from nafp.audio import decode
from nafp.identify import asking, identifier
from nafp.search import collection, index, plans, store
from nafp.weights import calibrations
from tests import networks

MUSIC = sorted((pathlib.Path(__file__).parents[1] / "recordings" / "music").glob("*.opus"))
KNOWN, OTHERS, STRANGERS = MUSIC[1], MUSIC[8:12], MUSIC[20:23]
RATE_HZ = 8000


@pytest.fixture(scope="module")
def fingerprinted():
    """Fingerprints recordings, the known one at several beginnings, as another edition would have it."""
    network = networks.small()

    def track(path, late_s=0.0):
        return network.track(decode.load(path, sample_rate_hz=RATE_HZ, start_s=late_s, seconds=20.0))

    return [track(KNOWN, late_s) for late_s in (0.0, 0.13, 0.21)], [track(path) for path in OTHERS]


def asked(fingerprinted, n_copies, *, is_alone):
    """Opens a collection with so many copies of the known recording, and others unless it is alone there."""
    editions, others = fingerprinted
    parts = [editions[number % len(editions)] for number in range(n_copies)] + ([] if is_alone else others)
    edges = np.cumsum([0, *map(len, parts)])
    tracks = [store.TrackRows(f"{n}", int(edge), len(part), 20.0) for n, (edge, part) in enumerate(zip(edges, parts))]
    rows = collection.Collection([np.concatenate(parts)], tracks, hop_s=0.5)
    built = index.build(rows, plans.plan("l2", n_rows=len(rows), dim=rows.dim))
    return identifier.Identifier(networks.small(), rows, built, confidence=calibrations.beside("small"), speeds="none")


def clip(path, seconds, *, noise=0.0):
    samples = decode.load(path, sample_rate_hz=2 * RATE_HZ, start_s=7.3, seconds=seconds)
    rms = float(np.sqrt((samples**2).mean()))
    return samples + noise * rms * np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)


def answers(finder, samples):
    return finder.identify(samples, sample_rate_hz=2 * RATE_HZ, top=100, least=0.0)


@pytest.mark.parametrize("is_alone", [True, False], ids=["alone", "with others"])
def test_copies_make_no_clip_less_sure(fingerprinted, is_alone):
    clips = [clip(KNOWN, 1.5), clip(KNOWN, 5.0), clip(KNOWN, 5.0, noise=0.5)]
    once = [answers(asked(fingerprinted, 1, is_alone=is_alone), samples)[0].probability for samples in clips]
    for n_copies in (2, 12, 30):
        finder = asked(fingerprinted, n_copies, is_alone=is_alone)
        for samples, alone in zip(clips, once):
            best = answers(finder, samples)[0]
            assert int(best.track) < n_copies
            assert best.probability > min(alone, 0.99) - 0.02
            assert best.probability > 0.9


@pytest.mark.parametrize("is_alone", [True, False], ids=["alone", "with others"])
def test_copies_make_no_stranger_an_answer(fingerprinted, is_alone):
    finder = asked(fingerprinted, 30, is_alone=is_alone)
    for path in STRANGERS:
        for samples in (clip(path, 1.5), clip(path, 5.0), clip(path, 5.0, noise=0.5)):
            assert answers(finder, samples)[0].probability < asking.LEAST_PROBABLE


def test_what_is_no_copy_is_no_answer_beside_copies(fingerprinted):
    found = answers(asked(fingerprinted, 2, is_alone=False), clip(KNOWN, 5.0, noise=0.5))
    others = [answer for answer in found if int(answer.track) >= 2]
    assert others
    assert all(answer.probability < 0.05 for answer in others)
