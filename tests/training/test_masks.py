"""Laws of the masks in spectrograms."""

import json
import pathlib

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


FACTS = json.loads((pathlib.Path(__file__).parents[1] / "vectors" / "masks.json").read_text())


def boxes(**changes):
    """Returns (height, width, first bin, first frame) of 2,000 masks, 0 where there is none."""
    changed, _ = holes(-jnp.ones((2000, 256, 32)), **{"fill": "zeros", **changes})
    found = []
    for axis in (2, 1):
        inside = (changed == 0).any(axis=axis)
        found += [inside.sum(axis=1), inside.argmax(axis=1)]
    return found[0], found[2], found[1], found[3]


@pytest.mark.parametrize(
    "mask, name", [("cutout", "cutout"), ("frequency_mask", "horizontal"), ("time_mask", "vertical")]
)
def test_centred_masks_are_as_large_as_the_originals_and_where_they_are(mask, name):
    found = boxes(**{f"{mask}.probability": 1.0, "mask_placing": "centred"})
    for drawn, fact in zip(found, ("rows_freq", "frames_time", "first_freq", "first_time")):
        theirs = FACTS["original"][name][fact]
        near = max(0.04 * (theirs["max"] - theirs["min"]), 1e-6)
        for measure in ("min", "max", "mean"):
            assert getattr(drawn, measure)() == pytest.approx(theirs[measure], abs=near), (fact, measure)


def test_started_masks_are_those_of_the_benchmark():
    cutout = {"probability": 1.0, "low": 0.0, "high": 0.5, "time_high": 0.1}
    changes = {f"cutout.{key}": value for key, value in cutout.items()} | {"mask_placing": "started"}
    height, width, first_bin, first_frame = boxes(**changes)
    assert (height.max(), width.max()) == (127, 2)
    assert (height == 0).mean() == pytest.approx(FACTS["bench"]["share_empty"], abs=0.04)
    assert (height * width / 8192).mean() == pytest.approx(FACTS["bench"]["mean"], rel=0.1)
    for low, high, start, end in FACTS["bench_boxes"]:
        assert high - low <= height.max()
        assert end - start <= width.max()
        assert low <= first_bin.max()
        assert start <= first_frame.max()
    assert (first_bin.max() < 128, first_frame.max() < 28) == (True, True)
