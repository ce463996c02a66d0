"""Silence, hum, hiss and other music in a clip neither hide the track in a part of it, nor are taken for one."""

import pathlib

import numpy as np
import pytest

from nafp.audio import decode
from nafp.identify import identifier
from nafp.search import collection, confidence, index, store
from nafp.weights import sources
from tests import networks

MUSIC = sorted((pathlib.Path(__file__).parents[1] / "recordings" / "music").glob("*.opus"))
KNOWN, STRANGER = MUSIC[:3], MUSIC[4]
RATE_HZ = 8000


@pytest.fixture(scope="module")
def asked():
    """Makes three tracks. The first ends with 5 s of digital silence, and the last is only silence and a hum."""
    network = networks.small()
    audio = [decode.load(path, sample_rate_hz=RATE_HZ, seconds=15) for path in KNOWN]
    audio[0][10 * RATE_HZ :] = 0
    audio[2] = np.concatenate([np.zeros(5 * RATE_HZ, np.float32), hum(10)])
    vectors = [network.track(samples) for samples in audio]
    edges = np.cumsum([0, *map(len, vectors)])
    tracks = [store.TrackRows(p.stem, int(e), len(v), 15.0) for p, e, v in zip(KNOWN, edges, vectors)]
    rows = collection.Collection([np.concatenate(vectors)], tracks, hop_s=0.5)
    built = index.build(rows, index.plan("l2", n_rows=len(rows), dim=rows.dim))
    calibrated = confidence.Confidence.load(sources.weights_file("small").with_suffix(".confidence.json"))
    return identifier.Identifier(network, rows, built, confidence=calibrated)


def hum(seconds):
    t = np.arange(seconds * RATE_HZ) / RATE_HZ
    return (0.2 * np.sin(2 * np.pi * 50 * t) + 0.1 * np.sin(2 * np.pi * 150 * t)).astype(np.float32)


def hiss(seconds, *, db=-54.0):
    noise = np.random.default_rng(0).standard_normal(int(seconds * RATE_HZ)).astype(np.float32)
    return noise * np.float32(10 ** (db / 20))


def music(path, seconds, *, start_s=2.0):
    return decode.load(path, sample_rate_hz=RATE_HZ, start_s=start_s, seconds=seconds)


def silence(seconds):
    return np.zeros(int(seconds * RATE_HZ), np.float32)


def answers(asked, *pieces):
    return asked.identify(np.concatenate(pieces), sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("clip", [silence(5), hum(5)], ids=["silence", "hum"])
def test_a_muted_clip_is_no_track_though_tracks_pause(asked, clip):
    assert answers(asked, clip) == []
    assert asked.rank(clip, sample_rate_hz=RATE_HZ).says_nothing


BESIDE = {
    "silence before": ([silence(3)], []),
    "silence after": ([], [silence(5)]),
    "silence around": ([silence(4)], [silence(8)]),
    "hum before": ([hum(5)], []),
    "hiss before": ([hiss(5)], []),
    "hiss around": ([hiss(4)], [hiss(3)]),
    "other music before": ([music(STRANGER, 5)], []),
}


@pytest.mark.parametrize("beside", BESIDE)
def test_what_is_beside_the_music_does_not_outvote_it(asked, beside):
    before, after = BESIDE[beside]
    best, *others = answers(asked, *before, music(KNOWN[1], 5), *after)
    begins_s = sum(map(len, before)) / RATE_HZ
    assert (best.track, others) == (KNOWN[1].stem, [])
    assert best.start_s == pytest.approx(2.0 - begins_s, abs=0.3)
    assert best.probability > 0.9
    if "silence" not in beside and "hum" not in beside:
        assert best.from_s == pytest.approx(begins_s, abs=1.0)
        assert best.to_s == pytest.approx(begins_s + 5, abs=1.0)


def test_a_whole_clip_is_answered_as_a_whole(asked):
    clip = music(KNOWN[1], 6)
    (best,) = [answer for answer in answers(asked, clip) if answer.probability > 0.9]
    assert (best.from_s, best.to_s) == (0.0, 6.0)


def test_two_tracks_in_one_clip_are_both_named(asked):
    first, second = answers(asked, music(KNOWN[0], 5), music(KNOWN[1], 5, start_s=7.0))
    by_time = sorted([first, second], key=lambda answer: answer.from_s)
    assert [answer.track for answer in by_time] == [KNOWN[0].stem, KNOWN[1].stem]
    assert by_time[0].to_s == pytest.approx(5.0, abs=1.0)
    assert by_time[1].from_s == pytest.approx(5.0, abs=1.0)


@pytest.mark.parametrize("path", [*MUSIC[4:6], *(pytest.param(path, marks=pytest.mark.slow) for path in MUSIC[6:9])])
def test_strangers_have_no_part_that_is_known(asked, path):
    assert answers(asked, music(path, 12), hiss(3)) == []
