"""Several channels become one, and none of them is lost because another is its opposite."""

import numpy as np
import pytest
import soundfile

from nafp.audio import decode
from tests import tunes


def whole(path):
    return decode.load(path, sample_rate_hz=8000)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_channels_are_averaged(tmp_path, channels):
    tracks = [tunes.tune(2.0, seed=seed) for seed in range(channels)]
    soundfile.write(tmp_path / "a.wav", np.stack(tracks, 1), 44100, subtype="FLOAT")
    mono = decode.load(tmp_path / "a.wav", sample_rate_hz=44100)
    np.testing.assert_allclose(mono, np.mean(tracks, axis=0), atol=1e-6)


def test_a_pair_of_opposite_polarity_is_repaired(tmp_path):
    left = tunes.tune(5.0)
    tunes.write(tmp_path / "opposite.wav", np.stack([left, -left], 1))
    expected = decode.resample(left, from_hz=44100, to_hz=8000)
    np.testing.assert_allclose(whole(tmp_path / "opposite.wav"), expected, atol=1e-3)


@pytest.mark.parametrize("weights", [(1, -1, 1, -1), (1, -1, 0, 0, 0.5, -0.5), (0, 1, -1), (1, -0.5, -0.5)])
def test_several_channels_that_cancel_each_other_are_no_silence(tmp_path, weights):
    left = tunes.tune(5.0)
    soundfile.write(tmp_path / "cancel.wav", left[:, None] * weights, 44100, subtype="FLOAT")
    expected = decode.resample(left, from_hz=44100, to_hz=8000)
    assert np.corrcoef(whole(tmp_path / "cancel.wav"), expected)[0, 1] ** 2 > 0.999


def test_an_opening_of_opposite_polarity_does_not_cost_the_song_its_voice(tmp_path):
    left, voice = tunes.tune(3.0, seed=1), tunes.tune(3.0, seed=2)
    right = np.concatenate([-left, voice])
    tunes.write(tmp_path / "song.wav", np.stack([np.concatenate([left, voice]), right], 1))
    samples = decode.load(tmp_path / "song.wav", sample_rate_hz=44100)
    np.testing.assert_allclose(samples, np.concatenate([left, voice]), atol=1e-3)
