"""Networks of published systems, with their own parameters, compute what the systems compute."""

import pathlib

import numpy as np
import pytest

from nafp import config as config_lib
from nafp import models
from nafp.models import attention_residual, numpy_network
from tests import formula

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
PFANN = {
    "spectrogram.front_end": "pfann",
    "model.time_strides": (2,) * 8,
    "model.epsilon": 1e-5,
    "model.activation": "relu",
    "model.activation_order": "after_norm",
}
BENCHMARK = {
    "spectrogram.front_end": "benchmark",
    "spectrogram.low_hz": 0.0,
    "model.time_strides": (2,) * 8,
    "model.padding": "symmetric",
    "model.epsilon": 1e-5,
    "model.activation": "relu",
    "model.head_norm": True,
}
AUDSEARCH = {
    "spectrogram.front_end": "benchmark",
    "spectrogram.low_hz": 0.0,
    "model.name": "audsearch",
    "model.channels": (32, 64, 128, 256, 512, 1024),
}
N640D64 = {**PFANN, "model.channels": (64, 64, 128, 128, 256, 256, 1024, 1024), "model.dim": 64}
ORIGINAL = {"spectrogram.front_end": "original"}
# pfann's form of the original's network; its vectors are of the original's spectrograms, each for itself.
NAF_LIKE = {"spectrogram.floor": "fixed", "model.epsilon": 1e-5}
CASES = [
    pytest.param("naf_layer_norm2d_128", ORIGINAL, 16_939_008),
    pytest.param("naf_layer_norm1d_128", {**ORIGINAL, "model.norm": "layer_norm1d"}, 14_662_656),
    # 14,673,856 with the running statistics.
    pytest.param("naf_batch_norm_64", {**ORIGINAL, "model.norm": "batch_norm", "model.dim": 64}, 14_658_496),
    pytest.param("pfann_default", PFANN, 16_914_432),
    pytest.param("pfann_default_separable", {**PFANN, "model.depthwise": True}, 8_570_112),
    pytest.param("pfann_n640d64", {**N640D64, "model.depthwise": True}, 5_507_712),
    pytest.param("pfann_naf_like", NAF_LIKE, 16_939_008),
    pytest.param("bench_fingerprinter", BENCHMARK, 16_922_624),
    pytest.param("bench_audsearch", AUDSEARCH, 19_968_256),
]


def configured(changes):
    c = config_lib.default()
    with c.unlocked():
        c.update_from_flattened_dict(changes)
    return config_lib.validated(c)


def variables_of(name, model):
    if name == "bench_audsearch":
        front, blocks = attention_residual.plan((256, 32), model.channels)
        return formula.audsearch(front, blocks, dim=model.dim)
    settings = {key: model[key] for key in ("dim", "channels", "time_strides", "depthwise")}
    plan = models.create("nafp", **settings).plan((256, 32))
    if name.startswith("naf"):
        return formula.naf(plan, dim=model.dim, norm=model.norm)
    return (formula.pfann if name.startswith("pfann") else formula.benchmark)(plan, dim=model.dim)


@pytest.mark.parametrize("name, changes, n_parameters", CASES)
def test_a_network_with_its_systems_parameters_has_its_systems_fingerprints(name, changes, n_parameters):
    c = configured(changes)
    variables = variables_of(name, c.model)
    assert sum(array.size for layer in variables["params"].values() for array in layer.values()) == n_parameters
    with np.load(VECTORS / "front_ends.npz") as file:
        waveforms = file["waveforms"]
    with np.load(VECTORS / "networks.npz") as file:
        expected = file[name]
    run = numpy_network.NumpyNetwork(variables, c, identity={})
    run._mel["training"] = True  # The vectors are of spectrograms whose mean was left in.
    found = run(waveforms)[[0, 2, 3]]
    np.testing.assert_allclose(found, expected, atol=3e-5)
