"""What each condition does to sound, measured."""

import shutil
from unittest import mock

import numpy as np
import pytest

from evaluation.queries import codecs, conditions, degrade, material
from tests import tunes

RATE_HZ = 16000
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")


@pytest.fixture(scope="module")
def tune() -> np.ndarray:
    return tunes.tune(4, sample_rate_hz=RATE_HZ)


def through(name: str, samples: np.ndarray) -> np.ndarray:
    """Puts samples through a condition that draws nothing."""
    take = conditions.Take(samples, RATE_HZ, 0, len(samples))
    surroundings = mock.create_autospec(material.Surroundings, instance=True)
    return conditions.parse(name).apply(take, np.random.default_rng(0), surroundings).samples


def hiss(n: int = 1 << 16) -> np.ndarray:
    return np.random.default_rng(0).normal(size=n).astype("f4") / 10


def level_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Measures the mean density of power between two frequencies."""
    spectrum = np.square(np.abs(np.fft.rfft(samples)))
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return float(10 * np.log10(spectrum[(hz >= low_hz) & (hz < high_hz)].mean()))


@pytest.mark.parametrize(
    ("name", "kept", "lost"),
    [
        ("band", (500, 3000), (20, 100)),
        ("band", (500, 3000), (6000, 8000)),
        ("lowpass1500", (100, 1200), (3000, 8000)),
        ("highpass1800", (2200, 7500), (20, 900)),
        ("speaker", (700, 5000), (20, 120)),
        ("rate4", (100, 1800), (2300, 8000)),
    ],
)
def test_a_filter_keeps_its_band_and_loses_the_rest(name, kept, lost):
    before, after = hiss(), through(name, hiss())
    assert len(after) == len(before)
    assert level_db(after, *kept) == pytest.approx(level_db(before, *kept), abs=3)
    assert level_db(after, *lost) < level_db(before, *lost) - 20


def test_a_phone_speaker_rings_at_its_resonance_and_falls_by_12_db_an_octave():
    impulse = np.zeros(1 << 15, "f4")
    impulse[0] = 1
    played = degrade.phone_speaker(impulse, sample_rate_hz=RATE_HZ)
    at = {hz: level_db(played, hz - 3, hz + 3) for hz in (50, 100, 800, 3000)}
    assert at[800] == pytest.approx(at[3000] + 20 * np.log10(1.4), abs=1)
    assert at[100] - at[50] == pytest.approx(12, abs=0.5)


def test_clipping_leaves_no_peak_above_its_limit(tune):
    limit = np.sqrt(np.square(tune).mean()) * 10 ** (3 / 20)
    clipped = through("clipped3", tune)
    assert np.abs(clipped).max() == pytest.approx(limit, rel=1e-5)
    untouched = np.abs(tune) < limit
    np.testing.assert_array_equal(clipped[untouched], tune[untouched])


def test_an_echo_comes_once_half_as_loud_and_late():
    click = np.zeros(RATE_HZ, "f4")
    click[100] = 1
    heard = through("echo150", click)
    assert np.flatnonzero(heard).tolist() == [100, 100 + round(0.15 * RATE_HZ)]
    assert heard[100 + round(0.15 * RATE_HZ)] == 0.5


def test_gain_changes_nothing_but_the_level(tune):
    np.testing.assert_allclose(through("gain-20", tune), tune / 10, rtol=1e-5)


@needs_ffmpeg
def test_compression_brings_loud_and_soft_together(tune):
    swelling = tune * np.repeat([0.05, 1.0], len(tune) // 2).astype("f4")
    soft, loud = np.split(through("compressed", swelling)[: len(tune)], 2)
    before = [np.square(half).mean() for half in np.split(swelling, 2)]
    ratio = np.square(loud).mean() / np.square(soft).mean()
    assert ratio < before[1] / before[0] / 10


@needs_ffmpeg
@pytest.mark.parametrize(("poor", "rich"), [("mp3@8", "mp3@64"), ("opus@6", "opus@64")])
def test_fewer_bits_sound_worse(tune, poor, rich):
    errors = [np.square(through(name, tune) - tune).mean() for name in (poor, rich)]
    assert errors[0] > 2 * errors[1]


@pytest.mark.parametrize(
    ("name", "seconds"), [("n2.5.room", 1.0), ("gain-2.5.lowpass1500.5", 1.0), ("speed+2.5", 1.025)]
)
def test_a_dot_between_digits_is_a_decimal_point(name, seconds):
    assert conditions.parse(name).rate == seconds


def test_a_range_settles_on_a_number_inside_it():
    range_of = conditions.parse("n0~10.speed-4~4.mic")
    assert range_of.rate == 1.04  # So that excerpts are long enough for the fastest.
    for seed in range(20):
        settled = range_of.settled(np.random.default_rng(seed))
        noise, speed, mic = settled.name.split(".speed")[0], settled.rate, settled.name[-3:]
        assert 0 <= float(noise[1:]) <= 10
        assert 0.96 <= speed <= 1.04
        assert mic == "mic"


def test_without_a_range_nothing_is_drawn():
    rng, same = (np.random.default_rng(3) for _ in range(2))
    condition = conditions.parse("n5.room")
    assert condition.settled(rng) is condition
    assert rng.random() == same.random()


def test_what_moves_rows_in_time_says_so():
    moving = ["speed+4", "tempo-10", "n5.speed-4~0"]
    assert not any(conditions.parse(name).keeps_time for name in moving)
    assert all(conditions.parse(name).keeps_time for name in ("pitch+1", "n5.room", "mp3@16"))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("n10~0", "from high to low"),
        ("mp3@0", "above 0"),
        ("tempo-60", "above -50"),
        ("lowpas500", "no 'lowpas500'"),
    ],
)
def test_a_number_that_means_nothing_is_refused(name, match):
    with pytest.raises(ValueError, match=match):
        conditions.parse(name)


def test_an_encoder_that_ffmpeg_lacks_is_missed_before_any_work(monkeypatch):
    monkeypatch.setattr(codecs, "_encoders", lambda: frozenset({"aac"}))
    monkeypatch.setattr(shutil, "which", lambda name: name)
    codecs.check(["aac"])
    with pytest.raises(ValueError, match="without libmp3lame, libopus"):
        codecs.check(["aac", "mp3", "opus"])
