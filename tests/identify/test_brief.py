"""Clips of half a second to a second: continued by their reflections, found at their place, refused when shorter."""

import pathlib

import numpy as np
import pytest

from nafp.audio import decode
from nafp.identify import brief, identifier
from nafp.search import collection, confidence, index, store
from nafp.weights import sources
from tests import networks

MUSIC = sorted((pathlib.Path(__file__).parents[1] / "recordings" / "music").glob("*.opus"))[:6]
RATE_HZ = 8000


@pytest.fixture(scope="module")
def asked():
    """Returns an identifier over six recordings with the shipped network, and their audio."""
    network = networks.small()
    sound = [decode.load(path, sample_rate_hz=RATE_HZ)[: 12 * RATE_HZ] for path in MUSIC]
    vectors = [network.track(samples) for samples in sound]
    n_rows = len(vectors[0])
    tracks = [store.TrackRows(path.stem, n_rows * n, n_rows, 12.0) for n, path in enumerate(MUSIC)]
    rows = collection.Collection([np.concatenate(vectors)], tracks, hop_s=0.5)
    searched = index.build(rows, index.plan("l2", n_rows=len(rows), dim=rows.dim), check=False)
    calibration = confidence.Confidence.load(sources.weights_file("small").with_suffix(".confidence.json"))
    return identifier.Identifier(network, rows, searched, confidence=calibration), sound


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 16000])
def test_half_a_second_is_found_in_its_track_at_its_place(asked, rate_hz):
    ask, sound = asked
    placed = []
    for number, samples in enumerate(sound):
        at_s = 3.25 + number
        clip = samples[round(at_s * RATE_HZ) :][: RATE_HZ // 2]
        best = ask.identify(decode.resample(clip, from_hz=RATE_HZ, to_hz=rate_hz), sample_rate_hz=rate_hz, least=0.0)[0]
        assert best.track == MUSIC[number].stem
        assert (best.from_s, best.to_s) == (0, 0.5)
        placed.append(best.start_s == pytest.approx(at_s, abs=0.3))
    assert sum(placed) >= 5  # One of them repeats itself.


def test_places_of_a_ranking_are_those_of_its_answers(asked):
    ask, sound = asked
    ranked = ask.rank(sound[0][30000:34000], sample_rate_hz=RATE_HZ)
    track = ranked.positions[0]
    first_row = int(ask.rows.first_rows[track])
    best = ranked.ranking.starts[ranked.ranking.tracks == track][0]
    assert ranked.answers[0].start_s == pytest.approx((best - first_row) * ask.rows.hop_s)


def test_a_clip_of_a_segment_stays_as_it_is_and_a_shorter_one_is_in_the_middle_of_its_reflections(asked):
    network, samples = asked[0]._network, np.arange(8000, dtype=np.float32)
    assert brief.continued(samples, network, sample_rate_hz=8000) == (samples, 0, 1)
    clip = brief.continued(samples[:4000], network, sample_rate_hz=8000)
    assert (clip.lead_s, clip.own_s) == (0.25, 0.5)
    np.testing.assert_array_equal(clip.samples, np.r_[1999:-1:-1, 0:4000, 3999:1999:-1])
    assert len(brief.continued(samples[:2800], network, sample_rate_hz=5600).samples) == 5600


@pytest.mark.parametrize("n_samples, said", [(3999, r"0\.50 s of audio; at least 0\.5 s"), (1, r"0\.00 s of audio")])
def test_less_than_half_a_second_is_refused(asked, n_samples, said):
    with pytest.raises(ValueError, match=said):
        asked[0].identify(np.ones(n_samples, np.float32), sample_rate_hz=RATE_HZ)


def test_strangers_of_half_a_second_are_not_taken_for_tracks(asked):
    ask, _ = asked
    strange = sorted((MUSIC[0].parent).glob("*.opus"))[10:16]
    clips = [decode.load(path, sample_rate_hz=RATE_HZ, start_s=5, seconds=0.5) for path in strange]
    assert not [answer for clip in clips for answer in ask.identify(clip, sample_rate_hz=RATE_HZ)]
