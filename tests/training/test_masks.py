"""Laws of the masks in spectrograms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nafp.training import masks
from tests import shapes
from tests.training import test_augment

masked = jax.jit(shapes.checked(masks.masked), static_argnames="chain")


def holes(mels, **changes):
    s = test_augment.only(**changes)
    keys = jax.random.split(jax.random.key(3), mels.shape[0])
    return np.asarray(masked(keys, mels, chain=s.chain)), s


def test_masks_have_the_sizes_asked_for_and_differ_from_example_to_example():
    mels = -jnp.ones((64, 256, 32)) * jnp.arange(1.0, 257.0)[None, :, None] / 256
    changed, _ = holes(mels, **{"frequency_mask.probability": 1.0, "fill": "zeros"})
    bins = (changed == 0).all(axis=2).sum(axis=1)
    assert bins.min() >= 5
    assert bins.max() <= 20
    assert len(np.unique((changed == 0).all(axis=2).argmax(axis=1))) > 20
    changed, _ = holes(mels, **{"time_mask.probability": 1.0, "fill": "zeros"})
    frames = (changed == 0).all(axis=1).sum(axis=1)
    assert frames.min() >= 5
    assert frames.max() <= 16
    changed, _ = holes(mels, **{"cutout.probability": 1.0, "fill": "zeros"})
    assert 0 < (changed == 0).mean() < 0.17


@pytest.mark.parametrize("fill", ["zeros", "min", "mean", "random", "range"])
def test_holes_are_filled_as_asked(fill):
    mels = jnp.array(np.random.default_rng(0).uniform(-3, -1, (4, 256, 32)).astype(np.float32))
    changed, _ = holes(mels, **{"cutout.probability": 1.0, "fill": fill, "fill_low": -9.0, "fill_high": -8.0})
    inside = changed != np.asarray(mels)
    for mel, hole, new in zip(np.asarray(mels), inside, changed):
        values = new[hole]
        if fill in ("zeros", "min", "mean"):
            expected = {"zeros": 0.0, "min": mel.min(), "mean": mel.mean()}[fill]
            np.testing.assert_allclose(values, expected, rtol=1e-5)
        else:
            low, high = (mel.min(), mel.max()) if fill == "random" else (-9.0, -8.0)
            assert low <= values.min()
            assert values.max() <= high
            assert values.std() > 0
