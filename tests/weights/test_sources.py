"""A trained network is found by name, and a name that does not exist is answered with those that do."""

import jax
import numpy as np
import pytest

import nafp
from nafp.models import identities
from nafp.weights import files, sources
from tests import networks, tunes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    scores = {10: 0.5, 20: 0.75, 30: None}
    return networks.write_run(tmp_path_factory.mktemp("trained") / "run", networks.config(), scores)


@pytest.mark.parametrize("which, step", [("", 30), ("@latest", 30), ("@best", 20), ("@10", 10)])
def test_a_checkpoint_is_found_by_run_step_or_score(run, which, step):
    variables, config, found, name = sources.read(f"{run}{which}")
    assert (found, name) == (step, f"run@{step}")
    assert config.to_dict() == networks.config().to_dict()
    jax.tree.map(np.testing.assert_array_equal, variables, networks.variables(config, seed=step))


def test_an_extractor_says_which_network_it_is_and_what_it_computes_in(run):
    opened = sources.open_extractor(str(run), batch_size=4)
    identity = opened.identity
    assert opened.dim == 16
    assert identity["source"] == "run@30"
    assert identity["step"] == 30
    assert identity["dtype"] == "float32"
    other = sources.open_extractor(f"{run}@10").identity
    assert identity["sha256"] != other["sha256"]


def test_an_exported_network_is_the_one_it_was_exported_from(run, tmp_path):
    variables, config, step, _ = sources.read(f"{run}@20")
    files.write(tmp_path / "small.npz", variables, config, step=step)
    again, same_config, same_step, name = sources.read(str(tmp_path / "small.npz"))
    assert (same_config.to_dict(), same_step, name) == (config.to_dict(), 20, "small.npz")
    digests = [identities.sha256(v) for v in (variables, again)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("devices, suits", [(1, 64), (2, 64), (4, 128)])
def test_the_batch_suits_the_devices(monkeypatch, devices, suits):
    monkeypatch.setattr(jax, "local_devices", lambda: [None] * devices)
    assert sources.default_batch_size() == suits


def test_a_step_that_is_not_there_is_told_the_steps_that_are(run):
    with pytest.raises(ValueError, match=r"no checkpoint at step 11; there are \[10, 20, 30\]"):
        sources.open_extractor(f"{run}@11")


def test_best_needs_a_validation(tmp_path):
    run = networks.write_run(tmp_path / "run", networks.config(), {7: None})
    with pytest.raises(ValueError, match=r"no checkpoint was validated yet.*\[7\]"):
        sources.open_extractor(f"{run}@best")


@pytest.mark.parametrize("which", ["", "@best", "@7"])
def test_a_run_without_checkpoints_says_how_to_get_one(tmp_path, which):
    with pytest.raises(FileNotFoundError, match=r"no finished checkpoint.*nafp train --workdir"):
        sources.open_extractor(f"{tmp_path}{which}")
    assert not list(tmp_path.iterdir())  # Looking leaves nothing behind.


@pytest.mark.parametrize("which", ["", "@best", "@7", "@bset"])
def test_a_missing_run_says_what_is_allowed(tmp_path, which):
    with pytest.raises(FileNotFoundError, match=r"no such run folder.*RUN@STEP or RUN@best"):
        sources.open_extractor(f"{tmp_path / 'run'}{which}")


def test_a_missing_export_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such exported network.*nafp export"):
        sources.open_extractor(str(tmp_path / "small.npz"))


def test_the_shipped_network_is_small_and_both_runtimes_agree():
    file = sources.weights_file("small")
    assert file.stat().st_size <= 4_000_000
    under_jax, under_numpy = nafp.load("small"), nafp.load("small", runtime="numpy")
    clip = tunes.tune(4.0, sample_rate_hz=under_jax.sample_rate_hz)
    np.testing.assert_allclose(under_jax.track(clip), under_numpy.track(clip), atol=2e-4)
    assert under_jax.identity["sha256"] == under_numpy.identity["sha256"]


def test_an_unknown_network_says_which_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"smal: .*small.*Did you mean 'small'"):
        nafp.load("smal")
    with pytest.raises(ValueError, match="allowed are auto, jax, numpy"):
        nafp.load("small", runtime="torch")
    with pytest.raises(ValueError, match="nafp export"):
        nafp.load("runs/a@best", runtime="numpy")
