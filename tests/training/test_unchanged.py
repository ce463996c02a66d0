"""The recipe of `nafp/config` gives the losses that it gave before further losses, samplings and rules were added."""

import json

import numpy as np
import pytest

from nafp import config as config_lib
from nafp.training import loop
from tests import networks

SMALL = {
    "spectrogram.n_mels": 32,
    "optimizer.learning_rate": 1e-2,
    "train.batch_size": 16,
    "train.steps": 2,
    "validate.every_epochs": 0,
    "data.read_threads": 2,
}
EIGHT_BLOCKS = {"model.channels": (4, 4, 8, 8, 8, 8, 16, 16), "model.dim": 16, "model.head_hidden": 4}
# The losses of steps 1 and 2 before the change, on a 2-core CPU, by where the recordings lie.
BEFORE = {"no": (2.9342446327209473, 2.672154188156128), "yes": (2.8821702003479004, 2.673074245452881)}
# The same for the first of the blocks: written down later, by code that gave the losses above.
OF_FEW_BLOCKS = {"no": (3.6701138019561768, 2.772651195526123), "yes": (3.6927237510681152, 2.798506498336792)}


def losses_of(folder, run, **changes):
    c = config_lib.default()
    with c.unlocked():
        c.update_from_flattened_dict({**SMALL, "data.corpus": str(folder), **changes})
    loop.train(c, str(run))
    return [float.fromhex(json.loads(line)["hex"]) for line in (run / "losses.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("on_device", ["no", pytest.param("yes", marks=pytest.mark.slow)])
def test_two_steps_of_the_default_recipe_cost_what_they_did(shipped_corpus, tmp_path, on_device):
    losses = losses_of(shipped_corpus, tmp_path / "run", **networks.FEW_BLOCKS, **{"data.on_device": on_device})
    np.testing.assert_allclose(losses, OF_FEW_BLOCKS[on_device], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("on_device", BEFORE)
def test_two_steps_through_eight_blocks_cost_what_they_did(shipped_corpus, tmp_path, on_device):
    """The fast test is test_two_steps_of_the_default_recipe_cost_what_they_did."""
    losses = losses_of(shipped_corpus, tmp_path / "run", **EIGHT_BLOCKS, **{"data.on_device": on_device})
    np.testing.assert_allclose(losses, BEFORE[on_device], rtol=1e-4)
