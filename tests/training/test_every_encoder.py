"""Every encoder trains, fingerprints, is exported, and is the same network again in numpy."""

import jax
import numpy as np
import pytest

from nafp import config as config_lib
from nafp.models import network
from nafp.training import step
from nafp.weights import files
from tests import networks, tunes
from tests.training import test_step

NAFP = {"model.channels": (4, 8), "model.time_strides": (2, 2)}
ENCODERS = {
    "nafp": NAFP,
    "pfann": {
        **NAFP,
        "spectrogram.front_end": "pfann",
        "model.activation": "relu",
        "model.activation_order": "after_norm",
        "model.epsilon": 1e-5,
        "model.depthwise": True,
    },
    "benchmark": {
        **NAFP,
        "spectrogram.front_end": "benchmark",
        "spectrogram.low_hz": 0.0,
        "model.activation": "relu",
        "model.padding": "symmetric",
        "model.head_norm": True,
        "model.epsilon": 1e-5,
    },
    "audsearch": {
        "spectrogram.front_end": "song_mine",
        "spectrogram.low_hz": 0.0,
        "model.name": "audsearch",
        "model.channels": (4, 8),
        "model.time_strides": config_lib.default().model.time_strides,  # Which it does not use.
    },
}


def configured(name):
    # The form "lax" compiles fastest. That both forms are one network, the tests of each network hold.
    c = test_step.tiny(**{**ENCODERS[name], "model.dim": 8, "model.head_hidden": 3, "model.form": "lax"})
    return config_lib.validated(c)


def two_steps(c):
    """Trains two steps on one device. Returns (losses, variables)."""
    recipe = step.recipe_of(c, test_step.augment.settings(audio=c.audio, augment=c.augment), total_steps=10)
    variables = networks.trained_variables(c)
    params, stats = variables["params"], variables["batch_stats"]
    state = step.State(np.int32(0), params, stats, jax.jit(recipe.optimizer.init)(params), None)
    made = test_step.banks(recipe)
    mapped = jax.pmap(
        lambda state, batch: step.train_step(recipe, state, batch, made), axis_name=step.AXIS, devices=jax.devices()[:1]
    )
    losses, state = [], jax.tree.map(lambda x: np.asarray(x)[None], state)
    for _ in range(2):
        batch = {key: value[None] for key, value in test_step.batch(recipe, 4).items()}
        state, scores = mapped(state, batch)
        losses.append(float(scores["loss"][0]))
    return losses, jax.tree.map(lambda x: np.asarray(x[0]), {"params": state.params, "batch_stats": state.batch_stats})


def test_every_architecture_is_among_them():
    names = {encoder.get("model.name", "nafp") for encoder in ENCODERS.values()}
    assert names == set(config_lib.network.ARCHITECTURES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_trains_is_exported_and_is_the_same_in_numpy(tmp_path, monkeypatch, name):
    """The fast tests are those of each network, in tests/models and tests/weights, and test_recipes.py."""
    c = configured(name)
    losses, variables = two_steps(c)
    assert losses[1] < losses[0]  # The same batch again.

    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    sound = tunes.tune(3, sample_rate_hz=8000)
    by_jax = network.JaxNetwork(variables, c, batch_size=8).track(sound)
    np.testing.assert_allclose(np.linalg.norm(by_jax, axis=1), 1, rtol=1e-4)
    assert by_jax.shape == (5, 8)
    assert np.ptp(by_jax, axis=0).max() > 1e-2

    files.write(tmp_path / "network.safetensors", variables, c, step=2, format="safetensors")
    exported = files.load(tmp_path / "network.safetensors")
    np.testing.assert_allclose(exported.track(sound), by_jax, atol=1e-4)
    assert exported.config.to_dict() == c.to_dict()
