"""The recipe of `nafp/config` gives the losses that it gave before further losses, samplings and rules were added."""

import json
import pathlib

import numpy as np
import pytest

from nafp import config as config_lib
from nafp.corpora import corpus, manifest
from nafp.training import loop

RECORDINGS = pathlib.Path(__file__).parents[1] / "recordings" / "RECORDINGS.csv"
SMALL = {
    "model.channels": (4, 4, 8, 8, 8, 8, 16, 16),
    "model.dim": 16,
    "model.head_hidden": 4,
    "spectrogram.n_mels": 32,
    "optimizer.learning_rate": 1e-2,
    "train.batch_size": 16,
    "train.steps": 2,
    "validate.every_epochs": 0,
    "data.read_threads": 2,
}
# The losses of steps 1 and 2 before the change, on a 2-core CPU, by where the recordings lie.
BEFORE = {"no": (2.9342446327209473, 2.672154188156128), "yes": (2.8821702003479004, 2.673074245452881)}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unchanged") / "corpus"
    corpus.build(manifest.read(RECORDINGS), folder, jobs=2)
    return folder


@pytest.mark.parametrize("on_device", BEFORE)
def test_two_steps_of_the_default_recipe_cost_what_they_did(recordings, tmp_path, on_device):
    c = config_lib.default()
    with c.unlocked():
        c.update_from_flattened_dict({**SMALL, "data.corpus": str(recordings), "data.on_device": on_device})
    loop.train(c, str(tmp_path / "run"))
    lines = (tmp_path / "run" / "losses.jsonl").read_text().splitlines()
    losses = [float.fromhex(json.loads(line)["hex"]) for line in lines]
    np.testing.assert_allclose(losses, BEFORE[on_device], rtol=1e-4)
