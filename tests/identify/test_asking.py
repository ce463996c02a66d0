"""How a clip is asked: what is tried first, what is tried if that is unsure, and when it is sure."""

import subprocess
import sys

import numpy as np
import pytest

from nafp import errors
from nafp.identify import asking

OWN = (1.0,)
ALL = (1.0, *asking.SPEEDS)


@pytest.mark.parametrize(
    "settings, clip_s, first, closer",
    [
        ({}, 3.0, (OWN, 1), (ALL, 2)),
        ({}, 5.0, (OWN, 1), (ALL, 1)),
        ({"speeds": "none"}, 3.0, (OWN, 1), (OWN, 2)),
        ({"speeds": "none"}, 10.0, (OWN, 1), None),
        ({"speeds": "0.97,1.03"}, 10.0, ((1.0, 0.97, 1.03), 1), None),
        ({"speeds": [0.97, 1.0]}, 2.0, ((1.0, 0.97), 1), ((1.0, 0.97), 2)),
        ({"shifts": 2}, 3.0, (OWN, 2), (ALL, 2)),
        ({"shifts": 2, "speeds": "none"}, 3.0, (OWN, 2), None),
        ({"hop_s": 1.0}, 3.0, (OWN, 2), (ALL, 4)),
    ],
)
def test_an_unsure_clip_is_asked_at_more_speeds_and_a_short_one_with_more_rows(settings, clip_s, first, closer):
    policy = asking.policy(**{"hop_s": 0.5} | settings)
    assert policy.first == first
    assert policy.closer(clip_s=clip_s) == closer


def test_query_rows_are_at_least_a_sample_apart():
    assert asking.policy(hop_s=0.5, sample_rate_hz=8000, shifts=4000).shifts == 4000
    with pytest.raises(errors.Invalid, match="--shifts=4001: rows are 4000 samples apart"):
        asking.policy(hop_s=0.5, sample_rate_hz=8000, shifts=4001)


def test_a_probability_makes_an_answer_sure_and_without_one_its_margin_does():
    assert asking.is_sure(asking.SURE, margin=0.0)
    assert not asking.is_sure(asking.SURE - 0.01, margin=1.0)
    assert asking.is_sure(None, margin=asking.SURE_MARGIN)
    assert not asking.is_sure(None, margin=asking.SURE_MARGIN - 0.01)


def test_without_a_calibration_every_candidate_is_probable():
    assert asking.is_probable(None, 0.9)
    assert asking.is_probable(0.5, 0.5)
    assert not asking.is_probable(0.49)


@pytest.mark.parametrize("n_samples, is_filled", [(7199, False), (7200, True), (7999, True), (8000, False)])
def test_a_clip_of_nine_tenths_of_a_segment_is_filled_up(n_samples, is_filled):
    assert asking.is_filled(n_samples, segment=8000) is is_filled


def tone(hz, *, rms=0.1, rate_hz=8000):
    return rms * np.sqrt(2) * np.sin(2 * np.pi * hz * np.arange(rate_hz) / rate_hz)


def nothing(*waveforms):
    return asking.says_nothing(np.stack(waveforms).astype(np.float32), sample_rate_hz=8000).tolist()


def test_segments_below_70_db_say_nothing():
    loudness = np.array([0.0, 0.9, 1.1, 100.0]) * asking.SILENCE
    noise = np.random.default_rng(0).standard_normal(8000)
    noise /= np.sqrt((noise**2).mean())
    assert nothing(*(loudness[:, None] * noise * 1.05)) == [True, True, False, False]
    assert nothing(*(tone(1000, rms=rms) for rms in loudness)) == [True, True, False, False]


def test_a_hum_says_nothing_however_loud_it_is():
    hum = tone(50, rms=0.3) + tone(100, rms=0.1)
    assert nothing(hum, hum + tone(440, rms=0.01), np.full(8000, 0.5)) == [True, False, True]


def test_speeds_cover_the_change_that_was_asked_for():
    assert asking.speeds_within(0.04, tolerance=0.05) == [1.0]
    assert asking.speeds_within(0.05, tolerance=0.01) == pytest.approx([0.96, 0.98, 1.0, 1.02, 1.04])
    for most in (-0.01, 0.13, 1.05):
        with pytest.raises(ValueError, match=r"allowed are 0 to 0\.12"):
            asking.speeds_within(most, tolerance=0.01)


def test_a_command_reads_its_defaults_without_numpy():
    code = "import sys; from nafp.identify import asking; print('numpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
