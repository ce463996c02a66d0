"""A clip that plays far too fast or slow, or in another key, is found with its speed, pitch and place."""

import math
import pathlib

import numpy as np
import pytest

from nafp.audio import decode
from nafp.identify import asking, identifier, pitched
from nafp.search import collection, confidence, index, plans, slopes, store
from tests import networks

ROOT = pathlib.Path(__file__).parents[2]
MUSIC = sorted((ROOT / "tests" / "recordings" / "music").glob("*.opus"))[:4]
TRACK, START_S = 2, 6.3


@pytest.fixture(scope="module")
def opened():
    """The shipped network with its calibration, and four recordings."""
    network = networks.small()
    parts = [network.track(decode.load(path, sample_rate_hz=8000)) for path in MUSIC]
    firsts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    tracks = [store.TrackRows(path.stem, first, len(part), 30.0) for path, first, part in zip(MUSIC, firsts, parts)]
    rows = collection.Collection([np.concatenate(parts)], tracks, hop_s=0.5)
    searched = index.build(rows, plans.plan("l2", n_rows=len(rows), dim=rows.dim))
    calibration = confidence.Confidence.load(ROOT / "nafp" / "weights" / "small.confidence.json")
    return identifier.Identifier(network, rows, searched, confidence=calibration)


def clip(*, speed, seconds):
    samples = decode.load(MUSIC[TRACK], sample_rate_hz=16000, start_s=START_S, seconds=seconds * speed + 0.1)
    return decode.resample(samples, from_hz=speed, to_hz=1.0)[: round(16000 * seconds)]


@pytest.mark.parametrize("speed", [0.78, 1.25])
def test_a_clip_at_another_speed_is_found_with_speed_pitch_and_place(opened, speed):
    best = opened.identify(clip(speed=speed, seconds=4.0), sample_rate_hz=16000)[0]
    assert best.track == MUSIC[TRACK].stem
    assert best.start_s == pytest.approx(START_S, abs=0.25)
    assert best.speed == pytest.approx(speed, rel=0.005)
    assert best.semitones == pytest.approx(12 * math.log2(speed), abs=0.1)


def test_one_second_is_found_too(opened):
    ranking = opened.rank(clip(speed=0.8, seconds=1.0), sample_rate_hz=16000)
    assert ranking.answers[0].track == MUSIC[TRACK].stem
    assert ranking.heard[0].pitch == pytest.approx(0.8, rel=0.01)


def test_the_exact_pitch_takes_two_fingerprints_a_row_beside_those_of_the_answer(opened, monkeypatch):
    ranking, asked = opened.rank(clip(speed=0.8, seconds=2.0), sample_rate_hz=16000), []
    version, (track, *_) = ranking.heard[ranking.ranking.heard], ranking.positions
    samples, network = clip(speed=0.8, seconds=2.0), opened._network

    def transposed(waveforms, ratios):
        asked.append((len(waveforms), len(ratios)))
        return type(network).transposed(network, waveforms, ratios)

    monkeypatch.setattr(network, "transposed", transposed)
    ears = pitched.Ears(network, opened.rows, lambda speed: opened._slowed(samples, 16000, speed), opened._nearest)
    line = slopes.Line(float(ranking.ranking.starts[0]), float(ranking.ranking.slopes[0]), 0.9)
    assert pitched.exact_pitch(ears, version, track, line) == pytest.approx(0.8, rel=0.006)
    assert asked == [(min(4, len(version.vectors)), 2)]


def test_what_was_found_at_another_pitch_counts_only_a_little_less(opened):
    best = opened.rank(clip(speed=0.78, seconds=1.0), sample_rate_hz=16000).answers[0]
    score, margin = best.score - pitched.WORTH_LESS, best.margin - pitched.WORTH_LESS
    plain = opened._confidence.probability(1, np.array(score), np.array(margin))
    assert best.probability == pytest.approx(float(plain), abs=1e-6)
    assert best.probability > asking.SURE


def test_other_pitches_are_tried_only_where_speeds_are(opened):
    assert asking.policy(hop_s=0.5).pitches == asking.PITCHES
    assert asking.policy(hop_s=0.5, speeds="none").pitches == ()
    assert asking.policy(hop_s=0.5, speeds=[1.2]).pitches == ()


def test_a_sure_clip_is_not_asked_at_other_pitches(opened, monkeypatch):
    monkeypatch.setattr(type(opened._network), "transposed", None)
    best = opened.identify(clip(speed=1.0, seconds=5.0), sample_rate_hz=16000)[0]
    assert (best.speed, best.semitones) == (1.0, 0.0)
    assert best.start_s == pytest.approx(START_S, abs=0.05)


def test_silence_and_hum_are_asked_at_no_pitch(opened):
    hum = np.sin(2 * np.pi * 50 * np.arange(48000) / 16000).astype(np.float32)
    for samples in (hum, np.zeros(48000, np.float32)):
        assert opened.rank(samples, sample_rate_hz=16000).says_nothing
