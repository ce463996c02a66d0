"""Spectrograms equal librosa's, and each depends on its segment alone."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from nafp import errors
from nafp.models import filterbank, front_ends, spectrogram


@pytest.fixture(scope="module")
def segments():
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 700 * np.arange(8000) / 8000)
    return (0.1 * rng.standard_normal((4, 8000)) + 0.3 * tone).astype(np.float32)


def librosa_mel(segment, *, power):
    return librosa.feature.melspectrogram(
        y=segment,
        sr=8000,
        n_fft=1024,
        hop_length=256,
        power=power,
        n_mels=256,
        fmin=300,
        fmax=4000,
        center=True,
        pad_mode="constant",
    )


@pytest.mark.parametrize("kind,power", [("magnitude", 1.0), ("power", 2.0)])
def test_fixed_floor_equals_librosas_mel_and_log(segments, kind, power):
    ours = spectrogram.log_mel(segments, floor="fixed", kind=kind)
    theirs = np.stack([np.log10(librosa_mel(s, power=power) + 0.06) for s in segments])
    theirs -= theirs.max(axis=(1, 2), keepdims=True)
    assert ours.shape == (4, 256, 32)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_relative_floor_equals_librosas_mel_and_log(segments):
    ours = spectrogram.log_mel(segments, relative_floor=1e-3)
    mel = np.stack([librosa_mel(s, power=1.0) for s in segments])
    mel /= mel.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(ours, np.log10((mel + 1e-3) / 1.001), atol=1e-4)


@pytest.mark.parametrize("band", [(300, 4000, 256), (0, 4000, 40), (160, 3000, 64)])
def test_filters_are_librosas(band):
    low_hz, high_hz, n_mels = band
    settings = dict(sample_rate_hz=8000, n_fft=1024, n_mels=n_mels, low_hz=low_hz, high_hz=high_hz)
    ours, bank = filterbank.by_formula(**settings), filterbank.by_librosa(**settings)
    theirs = librosa.filters.mel(sr=8000, n_fft=1024, n_mels=n_mels, fmin=low_hz, fmax=high_hz)
    np.testing.assert_array_equal(bank.filters, theirs.T)
    np.testing.assert_allclose(ours.filters, theirs.T, atol=1e-8)
    np.testing.assert_array_equal(bank.window, ours.window)
    assert {array.dtype for array in (*bank, *ours)} == {np.dtype("float32")}
    assert not any(array.flags.writeable for array in (*bank, *ours))  # Every caller has the same arrays.


@pytest.mark.parametrize("build", [filterbank.by_librosa, filterbank.by_formula])
def test_a_band_beyond_half_the_sample_rate_is_refused(build):
    with pytest.raises(errors.Invalid, match=r"high_hz=5000.0.*4000, half of sample_rate_hz=8000"):
        build(sample_rate_hz=8000, n_fft=1024, n_mels=8, low_hz=300.0, high_hz=5000.0)


def test_gain_changes_nothing_under_a_relative_floor(segments):
    loud = spectrogram.log_mel(segments)
    quiet = spectrogram.log_mel(segments * 1e-4)
    np.testing.assert_allclose(loud, quiet, atol=1e-4)


@pytest.mark.parametrize("waveform_norm", ["rms", "peak"])
def test_gain_changes_nothing_when_the_waveform_is_normalised_first(segments, waveform_norm):
    settings = {"floor": "fixed", "waveform_norm": waveform_norm}
    loud = spectrogram.log_mel(segments, **settings)
    quiet = spectrogram.log_mel(segments * 1e-3, **settings)
    np.testing.assert_allclose(loud, quiet, atol=1e-4)


def test_waveform_norms_bring_their_level_to_one(segments):
    rms, peak = (front_ends.create(waveform_norm=norm).level(jnp, segments) for norm in ("rms", "peak"))
    np.testing.assert_allclose(np.sqrt((rms**2).mean(1)), 1, rtol=1e-5)
    np.testing.assert_allclose(np.abs(peak).max(1), 1, rtol=1e-5)


@pytest.mark.parametrize("floor", ["relative", "fixed"])
@pytest.mark.parametrize("waveform_norm", ["none", "rms", "peak"])
def test_silence_is_finite_and_at_most_zero(floor, waveform_norm):
    silent = np.zeros((2, 8000), np.float32)
    mel = np.asarray(spectrogram.log_mel(silent, floor=floor, waveform_norm=waveform_norm))
    assert np.isfinite(mel).all()
    assert (mel <= 0).all()


def test_a_segment_does_not_depend_on_its_batch_mates(segments):
    alone = spectrogram.log_mel(segments[:1])
    louder_mates = segments * np.array([[1], [10], [100], [0]], np.float32)
    np.testing.assert_allclose(spectrogram.log_mel(louder_mates)[:1], alone, atol=1e-6)


def test_hops_that_do_not_divide_the_frame_equal_librosa(segments):
    ours = spectrogram.log_mel(segments, stft_hop=200, floor="fixed", n_mels=64)
    stft = librosa.stft(segments, n_fft=1024, hop_length=200, pad_mode="constant")
    filters = librosa.filters.mel(sr=8000, n_fft=1024, n_mels=64, fmin=300, fmax=4000)
    theirs = np.log10(filters @ np.abs(stft) + 0.06)
    np.testing.assert_allclose(ours, theirs - theirs.max((1, 2), keepdims=True), atol=1e-4)


def test_jitted_equals_eager(segments):
    np.testing.assert_allclose(jax.jit(spectrogram.log_mel)(segments), spectrogram.log_mel(segments), atol=1e-5)


def test_unknown_choices_and_bands_are_named(segments):
    with pytest.raises(ValueError, match="allowed are relative, fixed"):
        spectrogram.log_mel(segments, floor="deep")
    with pytest.raises(ValueError, match="half of sample_rate_hz=8000"):
        spectrogram.log_mel(segments, high_hz=5000.0)
