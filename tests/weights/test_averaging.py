"""The mean of networks that one began from another: its parameters, and which networks have one."""

import jax
import numpy as np
import pytest

from nafp import errors
from nafp.verbs import export
from nafp.weights import averaging, files, sources, trained
from tests import networks


def network(*, seed=0, moved=0.0, name="a.npz", **settings):
    """Builds a network whose kernels lie `moved` of their own length from those of `seed`."""
    config = networks.config(**settings)
    variables = networks.variables(config, seed=seed)
    rng = np.random.default_rng(1)

    def away(array):
        step = rng.standard_normal(np.shape(array)).astype(np.float32)
        return np.asarray(array) + moved * np.linalg.norm(array) * step / max(1e-9, np.linalg.norm(step))

    return trained.Trained(jax.tree.map(away, variables), config, 10, name)


def test_every_parameter_is_the_mean_of_both():
    one, other = network(), network(moved=0.1, name="run@20")
    both = averaging.mean([one, other])
    jax.tree.map(
        lambda mean, x, y: np.testing.assert_allclose(mean, (np.asarray(x) + np.asarray(y)) / 2, atol=1e-7),
        both.variables,
        one.variables,
        other.variables,
    )
    assert (both.source, both.step) == ("mean of a.npz, run@20", 10)
    assert both.config is one.config


def test_a_network_is_the_mean_of_itself():
    one = network()
    jax.tree.map(np.testing.assert_array_equal, averaging.mean([one, one]).variables, one.variables)


@pytest.mark.parametrize(
    "other, words",
    [
        (network(seed=1), "of their length apart"),  # As far as networks are that were not trained from one another.
        (network(**{"model.dim": 8}), "different settings"),
        (network(moved=np.nan), "of their length apart"),
    ],
)
def test_networks_that_were_trained_apart_have_no_mean(other, words):
    with pytest.raises(errors.Invalid, match=words):
        averaging.mean([network(), other])


def test_a_mean_is_exported_and_opened_by_its_file(tmp_path, capsys):
    one, other = network(), network(moved=0.1)
    for name, written in (("one.npz", one), ("other.npz", other)):
        files.write(tmp_path / name, written.variables, written.config, step=10, source=name)
    given = {"checkpoint": str(tmp_path / "one.npz"), "average": [str(tmp_path / "other.npz")]}
    export.run(tmp_path / "mean.safetensors", **given)
    assert capsys.readouterr().out.startswith("mean of one.npz, other.npz  →")
    again = sources.read(str(tmp_path / "mean.safetensors"))
    jax.tree.map(np.testing.assert_array_equal, again.variables, averaging.mean([one, other]).variables)
    with pytest.raises(errors.Invalid, match="--average goes with --checkpoint"):
        export.run(tmp_path / "no.npz", foreign="model.pt", average=["small"])
