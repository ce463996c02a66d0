"""A run of the second stage learns, resumes to the bit, and refuses to become another experiment."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from nafp import errors
from nafp.sequences import embedder, settings, step, training
from nafp.training import journal
from tests.sequences import tones


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return tones.folder(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    """A run of six steps, and its last state."""
    run = tmp_path_factory.mktemp("run")
    return run, training.train(tones.tiny(clips, **{"train.steps": 6}), str(run))


def losses(run) -> list[str]:
    return [json.loads(line)["hex"] for line in (run / "losses.jsonl").read_text().splitlines()]


def test_a_run_that_was_stopped_goes_on_to_the_bit(clips, whole, tmp_path):
    run, state = whole
    steps = {"train.steps": 6, "checkpoint.every_steps": 3}
    training.train(tones.tiny(clips, **steps), str(tmp_path))
    resumed = training.train(tones.tiny(clips, **steps), str(tmp_path), resume_from=3)
    assert losses(tmp_path) == [*losses(run), *losses(run)[3:]]
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(resumed)):
        np.testing.assert_array_equal(one, other)
    assert (tmp_path / "set_aside").is_dir()


def test_sigterm_ends_a_run_with_a_checkpoint_and_code_75(clips, whole, tmp_path, monkeypatch):
    original = journal.RunLog.loss

    def loss(log, done, *rest):
        original(log, done, *rest)
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(journal.RunLog, "loss", loss)
    config = tones.tiny(clips, **{"train.steps": 6})
    with pytest.raises(errors.StartAgain, match="terminated at step 2; the same command goes on from there"):
        training.train(config, str(tmp_path))
    training.train(config, str(tmp_path))
    assert losses(tmp_path) == losses(whole[0])


def test_a_run_opens_as_a_network_that_embeds(whole):
    run, state = whole
    network = embedder.load(str(run))
    assert network.n_parameters == sum(x.size for x in jax.tree.leaves(state.params))
    assert network.config.data.first_stage == "ab"
    sequences = [tones.sequence(1, 9), tones.sequence(1, 5), tones.sequence(2, 12)]
    vectors = network(sequences)
    assert vectors.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(network(sequences[1:2]), vectors[1:2], atol=1e-6)
    assert network.n_operations() > 0


def test_the_log_says_what_was_found_among_the_clips_kept_back(whole):
    log = (whole[0] / "log.txt").read_text()
    assert "starts anew" in log
    assert "found among the clips kept back" in log
    assert "stopped at step 6: all steps done; checkpoint at 6" in log


def test_a_run_does_not_become_another_experiment(clips, whole):
    run = str(whole[0])
    with pytest.raises(errors.Invalid, match=r"begun with other settings: chunk\.margin_high was 0\.4, now 0\.3"):
        training.train(tones.tiny(clips, **{"chunk.margin_high": 0.3}), run)
    with pytest.raises(errors.Invalid, match=r"train\.batch_size was 8, now 6"):
        training.train(tones.tiny(clips, **{"train.batch_size": 6}), run)
    with pytest.raises(errors.Invalid, match="fingerprints of another network"):
        training.train(tones.tiny(clips, **{"data.first_stage": "cd"}), run)


def test_a_loss_that_is_no_number_ends_the_run(clips, tmp_path, monkeypatch):
    scores = {"loss": np.float32("nan"), "grad_norm": np.float32(1)}
    monkeypatch.setattr(step, "take", lambda recipe, state, batch: (state, scores))
    with pytest.raises(errors.NotFinite, match=r"step 1: loss nan.* Lower config\.optimizer\.learning_rate"):
        training.train(tones.tiny(clips, **{"train.steps": 6}), str(tmp_path))


SLOW = [(name, loss) for name in ("transformer", "lstm") for loss in ("arcface", "triplet")]


@pytest.mark.parametrize(
    "name, loss", [("transformer", "info_nce"), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW)]
)
def test_every_loss_trains_every_network(clips, tmp_path, loss, name):
    config = tones.tiny(clips, **{"loss.name": loss, "model.name": name, "train.steps": 2})
    state = training.train(config, str(tmp_path))
    assert int(state.step) == 2
    assert loss == "arcface" or not np.any(state.centres)
    assert embedder.load(str(tmp_path))([tones.sequence(0, 5)]).shape == (1, 8)


@pytest.mark.slow
def test_the_second_stage_learns_to_find_degraded_clips(tmp_path):
    """The fast test, of two steps, is test_every_loss_trains_every_network."""
    clips = tones.folder(tmp_path / "clips", n_clips=40, versions=6)
    config = tones.tiny(clips, **{"train.steps": 150, "train.batch_size": 64, "optimizer.learning_rate": 3e-3})
    training.train(config, str(tmp_path / "run"))
    lines = (tmp_path / "run" / "losses.jsonl").read_text().splitlines()
    found = [json.loads(line)["loss"] for line in lines]
    assert np.mean(found[-10:]) < 0.7 * np.mean(found[:10])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"chunk.seconds": 7}, r"config\.chunk\.seconds=7: allowed are 5, 10, 15, 30"),
        ({"chunk.margin_low": 0.5}, "is above margin_high=0.4"),
        ({"model.heads": 3}, "does not divide config.model.width=8"),
        ({"model.dim": 4}, "must be config.model.fingerprint_dim=8"),
        ({"loss.name": "tam"}, "allowed are margin"),
        ({"train.batch_size": 1}, "must be a whole number of at least 2"),
    ],
)
def test_settings_that_cannot_be_are_named(clips, changes, message):
    with pytest.raises(errors.Invalid, match=message):
        settings.validated(tones.tiny(clips, **changes))


def test_a_configuration_of_the_first_stage_is_refused():
    from nafp import config

    with pytest.raises(errors.Invalid, match=r"first stage .* configs/amg\.py"):
        settings.validated(config.default())
    with pytest.raises(errors.Invalid, match="first stage"):
        settings.from_dict(config.default().to_dict())
