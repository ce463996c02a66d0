"""The ONNX graph of every network computes what numpy does, each fingerprint from its segment alone."""

import itertools

import numpy as np
import pytest

from nafp import config as config_lib
from nafp import errors
from nafp.audio import decode
from nafp.models import filterbank, numpy_network, onnx_fingerprinter, onnx_network, onnx_writer
from nafp.weights import files
from tests import networks
from tests.models import test_published_networks as published

pytest.importorskip("onnx", reason="no onnx: pip install 'nafp[onnx]'")
pytest.importorskip("onnxruntime", reason="no onnxruntime: pip install 'nafp[onnx]'")

MUSIC = "tests/recordings/music/driving.opus"


@pytest.fixture(scope="module")
def recording():
    """Four seconds of music at 8 kHz, one of them silent and one very quiet."""
    samples = decode.load(MUSIC, sample_rate_hz=8000, start_s=5, seconds=4).copy()
    samples[:8000], samples[8000:16000] = 0, samples[8000:16000] / 1000
    return samples


def both(c, variables):
    """Opens a network in both runtimes."""
    bank = filterbank.by_formula(**files.bank_settings(c))
    model = onnx_writer.graph(variables, c, bank=bank).model(
        segment=int(c.audio.segment_s * c.audio.sample_rate_hz), dim=c.model.dim, about={}
    )
    by_onnx = onnx_network.OnnxNetwork(model, c, identity={})
    return by_onnx, numpy_network.NumpyNetwork(variables, c, identity={}, bank=bank)


def require_same(c, variables, samples, atol=2e-5):
    by_onnx, by_numpy = both(c, variables)
    n = len(samples) // by_onnx.segment
    segments = samples[: n * by_onnx.segment].reshape(n, -1)
    found = by_onnx(segments)
    wanted = np.concatenate([by_numpy(segment[None]) for segment in segments])  # Batches of one, see `original`.
    assert (found.shape, found.dtype) == ((n, c.model.dim), np.float32)
    np.testing.assert_allclose(found, wanted, atol=atol)
    assert (found * wanted).sum(axis=1).min() > 0.99999
    np.testing.assert_allclose(by_onnx(segments[3:4]), found[3:4], atol=1e-6)  # Alone as in a batch.


CHOICES = itertools.product(config_lib.network.NORMS, config_lib.network.ACTIVATIONS, config_lib.network.ORDERS)
# In turn, so that each meets every norm: padding, depthwise, head_norm.
OTHERS = itertools.cycle([("same", False, True), ("symmetric", True, False), ("same", True, False)])


@pytest.mark.parametrize(
    "norm, activation, order, padding, depthwise, head_norm",
    [(*choice, *other) for choice, other in zip(CHOICES, OTHERS)],
)
@pytest.mark.parametrize("blocks", [networks.FEW_BLOCKS, pytest.param({}, marks=pytest.mark.slow)], ids=["2", "8"])
def test_every_layer_computes_what_numpy_does(
    recording, norm, activation, order, padding, depthwise, head_norm, blocks
):
    """Few blocks have every kind of layer, and eight more lengths of an axis."""
    c = networks.config(**blocks)
    with c.unlocked():
        c.model.norm, c.model.activation, c.model.activation_order = norm, activation, order
        c.model.padding, c.model.depthwise, c.model.head_norm = padding, depthwise, head_norm
    # Random networks of few channels amplify rounding, in numpy and JAX as well.
    require_same(c, networks.trained_variables(c, seed=1), recording, atol=2e-4)


SPECTROGRAMS = [
    *({"kind": kind, "floor": floor} for kind in ("magnitude", "power") for floor in ("relative", "fixed")),
    *({"waveform_norm": norm, "floor": "fixed"} for norm in ("rms", "peak")),
    *({"front_end": "original", "maxnorm": maxnorm} for maxnorm in (False, True)),
    *({"front_end": "pfann", "mel_log": log} for log in ("log", "log10", "none")),
    *({"front_end": "pfann", "spec_norm": norm, "naf_mode": True} for norm in ("l2", "max")),
    *({"front_end": name, "low_hz": 0.0} for name in ("benchmark", "song_mine")),
    {"n_fft": 600, "stft_hop": 250, "n_mels": 40},
    {"n_fft": 501, "stft_hop": 167},
    {"n_fft": 509, "stft_hop": 160, "front_end": "pfann"},
]


@pytest.mark.parametrize("changes", SPECTROGRAMS, ids=str)
@pytest.mark.parametrize("blocks", [networks.FEW_BLOCKS, pytest.param({}, marks=pytest.mark.slow)], ids=["2", "8"])
def test_every_spectrogram_is_that_of_numpy(recording, changes, blocks):
    named = {f"spectrogram.{name}": value for name, value in changes.items()}
    c = networks.config(**blocks, **named)
    require_same(c, networks.trained_variables(c, seed=1), recording)


@pytest.mark.parametrize(
    "changes",
    [
        {"audio.segment_s": 0.7, "spectrogram.n_mels": 21},
        {"audio.segment_s": 0.05, "spectrogram.front_end": "pfann"},  # Reflected more than once.
        {"model.dim": 12, "model.head_hidden": 3},
        {"model.time_strides": (1, 3, 4, 2, 1, 1, 2, 2), "model.padding": "symmetric"},
        {"model.name": "audsearch", "model.channels": (4, 4, 8, 8, 8, 16)},
    ],
    ids=str,
)
def test_every_shape_computes_what_numpy_does(recording, changes):
    c = networks.config(**changes)
    require_same(c, networks.trained_variables(c, seed=1), recording)


@pytest.mark.parametrize("activation", ["elu", "relu"])
def test_a_norm_over_many_values_computes_what_numpy_does(recording, monkeypatch, activation):
    c = networks.config(**{"model.activation": activation})
    monkeypatch.setattr(onnx_fingerprinter, "_SUMMED_AT_ONCE", 200)
    graph = onnx_writer.graph(
        networks.trained_variables(c, seed=1), c, bank=filterbank.by_formula(**files.bank_settings(c))
    )
    assert 0 < sum(node.kind == "LayerNormalization" for node in graph.nodes) < 16  # Both forms are met.
    require_same(c, networks.trained_variables(c, seed=1), recording)


@pytest.mark.slow
@pytest.mark.parametrize("name, changes, n_parameters", published.CASES)
def test_published_networks_compute_what_numpy_does(recording, name, changes, n_parameters):
    """The fast tests are those of every layer, spectrogram and shape above."""
    c = published.configured(changes)
    require_same(c, networks.trained_variables(c), recording)


def test_a_transform_of_a_large_prime_length_is_refused():
    c = networks.config(**{"spectrogram.n_fft": 4099})
    with pytest.raises(errors.Invalid, match=r"n_fft=4099.*such as 1024"):
        both(c, networks.trained_variables(c))


def test_a_graph_takes_no_segment_and_holds_the_filters_without_their_zeros():
    c = networks.few_blocks()
    by_onnx, _ = both(c, networks.trained_variables(c, seed=1))
    assert by_onnx._session.run(None, {"waveform": np.zeros((0, 8000), np.float32)})[0].shape == (0, 16)
    bank = filterbank.by_formula(**files.bank_settings(c))
    graph = onnx_writer.graph(networks.trained_variables(c, seed=1), c, bank=bank)
    held = [array for name, array in graph.constants.items() if name.startswith("spectrogram/filters")]
    assert sum(array.nbytes for array in held) < bank.filters.nbytes / 4
