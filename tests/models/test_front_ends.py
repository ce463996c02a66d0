"""Front ends by name compute what their systems compute, in JAX and in numpy."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from nafp import config as config_lib
from nafp import errors
from nafp.models import filterbank, front_ends, network, numpy_spectrogram, spectrogram

VECTORS = pathlib.Path(__file__).parent.parent / "vectors" / "front_ends.npz"
# Rows of the waveforms: 0 music, 1 the loudest music, 2 silence, 3 noise.
CASES = [
    # Vector, rows of the waveforms, settings, tolerance.
    ("original", [0, 1, 2, 3], {"front_end": "original"}, 5e-6),
    ("pfann_training", [0, 1, 2, 3], {"front_end": "pfann", "training": True}, 4e-3),
    ("pfann", [0, 3], {"front_end": "pfann"}, 4e-3),
    (
        "pfann_naf_mode_log10_max",
        [0, 2],
        {"front_end": "pfann", "training": True, "naf_mode": True, "mel_log": "log10", "spec_norm": "max"},
        2e-5,
    ),
    ("pfann_log10_l2", [0, 2], {"front_end": "pfann", "training": True, "mel_log": "log10"}, 4e-3),
    # Empty bands of a waveform of peak 1 hold the rounding errors of the filters and of the transform.
    ("pfann_log_max", [0, 2], {"front_end": "pfann", "training": True, "spec_norm": "max"}, 4e-2),
    ("pfann_nolog_l2", [0, 2], {"front_end": "pfann", "training": True, "mel_log": "none"}, 3e-5),
    ("benchmark", [0, 1, 2, 3], {"front_end": "benchmark", "low_hz": 0.0}, 2e-3),
    ("song_mine", [0, 2], {"front_end": "song_mine", "low_hz": 0.0}, 2e-3),
]


@pytest.fixture(scope="module")
def vectors():
    with np.load(VECTORS) as file:
        return dict(file)


def both(waveforms, **changes):
    """Returns the spectrograms [B,F,T] by JAX and by numpy."""
    settings = network.mel_settings(config_lib.default()) | changes
    return [np.asarray(log_mel(waveforms, **settings)) for log_mel in (spectrogram.log_mel, numpy_spectrogram.log_mel)]


def seen(spectrograms):
    """Returns the cells that the vectors hold."""
    return spectrograms[..., ::8, ::2]


@pytest.mark.parametrize("name, rows, settings, tolerance", CASES)
def test_a_front_end_computes_what_its_system_does(vectors, name, rows, settings, tolerance):
    for ours in both(vectors["waveforms"][rows], **settings):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(seen(ours), vectors[name], rtol=0, atol=tolerance)
        assert np.median(np.abs(seen(ours) - vectors[name])) < max(tolerance / 50, 1e-6)


@pytest.mark.parametrize("name, settings", [("original_alone", {}), ("original_maxnorm_alone", {"maxnorm": True})])
def test_the_original_depends_on_what_is_given_together(vectors, name, settings):
    rows = [0, 1, 2, 3] if name == "original_alone" else [0, 2, 3]
    for row, alone in zip(rows, vectors[name], strict=True):
        for ours in both(vectors["waveforms"][row : row + 1], front_end="original", **settings):
            np.testing.assert_allclose(seen(ours)[0], alone, atol=5e-6)
    assert np.abs(vectors["original"][0] - vectors["original_alone"][0]).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in config_lib.network.FRONT_ENDS if name != "original"])
def test_every_other_front_end_sees_each_segment_alone(vectors, name):
    assert not front_ends.create(name).sees_batch
    together, alone = both(vectors["waveforms"], front_end=name)[1], both(vectors["waveforms"][2:3], front_end=name)[1]
    np.testing.assert_allclose(together[2:3], alone, atol=1e-6)


@pytest.mark.parametrize("build", [filterbank.by_librosa, filterbank.by_formula])
def test_the_filters_are_those_of_pfann_and_the_benchmark(vectors, build):
    sizes = dict(sample_rate_hz=8000, n_fft=1024, n_mels=256, high_hz=4000.0)
    htk = build(**sizes, low_hz=300.0, scale="htk", area_norm=False).filters
    np.testing.assert_allclose(htk[:, ::16], vectors["pfann_filters"], atol=5e-5)  # Theirs are rounded on the way.
    np.testing.assert_allclose(build(**sizes, low_hz=0.0).filters[:, ::16], vectors["benchmark_filters"], atol=1e-8)


def test_silence_is_where_each_system_has_it(vectors):
    for mel in both(vectors["waveforms"][2:3], front_end="benchmark"):
        assert (mel == -80).all()
    for mel in both(vectors["waveforms"][2:3], front_end="song_mine"):
        assert (mel == 0).all()


def test_the_mean_is_removed_at_inference_alone(vectors):
    shifted = vectors["waveforms"][:1] + np.float32(0.1)
    for plain, moved in zip(both(vectors["waveforms"][:1], front_end="pfann"), both(shifted, front_end="pfann")):
        assert np.median(np.abs(plain - moved)) < 1e-4
    settings = {"front_end": "pfann", "training": True}
    plain, moved = both(vectors["waveforms"][:1], **settings)[0], both(shifted, **settings)[0]
    assert np.median(np.abs(plain - moved)) > 0.1


def test_levels_are_the_same_in_both_modules(vectors):
    for norm in config_lib.network.WAVEFORM_NORMS:
        level = front_ends.create(waveform_norm=norm).level
        np.testing.assert_allclose(
            level(jnp, vectors["waveforms"]), level(np, vectors["waveforms"]), rtol=1e-5, atol=1e-9
        )


def test_an_unknown_choice_is_met_with_the_known_ones():
    with pytest.raises(errors.Invalid, match="nafp, original, pfann, benchmark, song_mine"):
        front_ends.create("kapre")
    with pytest.raises(errors.Invalid, match="Did you mean 'log10'"):
        front_ends.create("pfann", mel_log="log1O")
