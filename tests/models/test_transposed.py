"""A change of pitch is undone by stretched mel filters, alike in numpy and JAX, and by resampling elsewhere."""

import pathlib

import numpy as np
import pytest
import threadpoolctl

from nafp.audio import decode
from nafp.models import filterbank, network, numpy_network, numpy_spectrogram, protocol, threaded_network
from nafp.weights import sources
from tests import networks

MUSIC = pathlib.Path(__file__).parents[1] / "recordings" / "music" / "driving.opus"


@pytest.mark.parametrize("stretch, high_hz", [(0.8, 4000.0), (1.25, 3000.0)])
@pytest.mark.parametrize("scale, area_norm", [("slaney", True), ("htk", False)])
def test_a_stretched_bank_is_the_bank_of_a_spectrum_squeezed_as_much(stretch, high_hz, scale, area_norm):
    settings = dict(n_fft=1024, n_mels=64, low_hz=40.0, high_hz=high_hz, scale=scale, area_norm=area_norm)
    ours = filterbank.by_formula(sample_rate_hz=8000, stretch=stretch, **settings).filters
    squeezed = filterbank.by_formula(sample_rate_hz=8000 / stretch, **settings).filters
    np.testing.assert_allclose(ours, squeezed / (stretch if area_norm else 1), atol=1e-7)


def test_filters_beyond_half_the_rate_are_0():
    settings = dict(sample_rate_hz=8000, n_fft=1024, n_mels=64, low_hz=40.0, high_hz=4000.0)
    (bank,) = filterbank.stretched([1.3], **settings)
    assert bank.filters[:, :55].any(axis=0).all()
    assert not bank.filters[:, -4:].any()


@pytest.fixture(scope="module")
def small():
    return sources.load("small", runtime="numpy")


def played(samples, *, pitch):
    """Plays samples `pitch` times as fast and as high."""
    return decode.resample(samples, from_hz=pitch, to_hz=1.0)


@pytest.mark.parametrize("pitch", [0.79, 1.25])
def test_sound_at_another_pitch_gets_about_the_fingerprint_of_its_recording(small, pitch):
    samples = decode.load(MUSIC, sample_rate_hz=8000, start_s=5.0, seconds=8.0)
    middle = 32_000
    own = small(samples[None, middle - 4000 : middle + 4000])[0]
    other = played(samples, pitch=pitch)
    around = round(middle / pitch)
    clip = other[None, around - 4000 : around + 4000]
    undone, near, far = small.transposed(clip, [pitch, 1.01 * pitch, 1.05 * pitch])[:, 0]
    assert own @ undone > 0.75
    assert own @ small(clip)[0] < 0.4
    assert own @ undone > own @ near > own @ far


def test_numpy_and_jax_undo_alike_for_any_number_of_segments():
    c = networks.few_blocks()
    variables = networks.variables(c)
    identity = {"sha256": "0", "source": "x", "step": 0}
    ours = numpy_network.NumpyNetwork(variables, c, identity=identity)
    jax_network = network.JaxNetwork(variables, c, batch_size=4, identity=identity)
    waveforms = np.random.default_rng(1).standard_normal((3, ours.segment)).astype(np.float32)
    ratios = [0.8, 1.0, 1.19]
    found = ours.transposed(waveforms, ratios)
    assert found.shape == (3, 3, ours.dim)
    np.testing.assert_allclose(jax_network.transposed(waveforms, ratios), found, atol=1e-4)
    np.testing.assert_allclose(found[1], ours(waveforms), atol=1e-5)
    assert jax_network.transposed(waveforms[:0], ratios).shape == ours.transposed(waveforms[:0], ratios).shape


def test_the_products_with_stretched_filters_are_not_shared_among_spinning_threads(small, monkeypatch):
    n_threads, transposed = [], numpy_spectrogram.transposed

    def watched(*inputs, **settings):
        libraries = threadpoolctl.threadpool_info()
        n_threads.extend(library["num_threads"] for library in libraries if library["user_api"] == "blas")
        return transposed(*inputs, **settings)

    monkeypatch.setattr(numpy_spectrogram, "transposed", watched)
    with threadpoolctl.threadpool_limits(2):
        small.transposed(np.zeros((1, 8000), np.float32), [1.1])
    assert n_threads
    assert set(n_threads) == {1}


def test_a_runtime_that_takes_waveforms_gets_them_resampled(small):
    samples = decode.load(MUSIC, sample_rate_hz=8000, start_s=5.0, seconds=2.0)
    clip = samples.reshape(2, 8000)
    by_resampling = threaded_network.ThreadedNetwork.transposed(small, clip, [1.1, 0.9])
    np.testing.assert_allclose(by_resampling[1], small(protocol.resampled(clip, 0.9)), atol=1e-6)
    by_filters = small.transposed(clip, [1.1, 0.9])
    assert (np.vecdot(by_resampling, by_filters) > 0.7).all()


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.25])
def test_resampled_segments_keep_their_middle_and_their_length(ratio):
    tone = np.sin(2 * np.pi * 500 * np.arange(8000) / 8000) * np.exp(-(((np.arange(8000) - 4000) / 500) ** 2))
    found = protocol.resampled(tone[None].astype(np.float32), ratio)
    assert found.shape == (1, 8000)
    weights = found[0].astype(float) ** 2
    assert (weights * np.arange(8000)).sum() / weights.sum() == pytest.approx(4000, abs=2)
    loudest = np.abs(np.fft.rfft(found[0])).argmax()
    assert loudest == pytest.approx(500 / ratio, abs=3)
