"""audsearch's pieces compute what the system's do, and the whole network is one in both forms and in numpy."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nafp import errors, models
from nafp.models import attention_residual, head, planes
from tests import networks

VECTORS = pathlib.Path(__file__).parent.parent / "vectors" / "networks.npz"
SMALL = {"dim": 4, "channels": (2, 4), "head_hidden": 3, "form": "lax", "dtype": "float32"}


@pytest.fixture(scope="module")
def vectors():
    with np.load(VECTORS) as file:
        return {name.removeprefix("tiny_"): file[name] for name in file if name.startswith("tiny_")}


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def test_attention_weighs_bins_and_frames(vectors):
    weights = (vectors[f"attention_{name}"][..., 0] for name in ("Wspect", "Wtemp"))
    ours = attention_residual.attend(channels_last(vectors["attention_in"]), *weights)
    np.testing.assert_allclose(ours, channels_last(vectors["attention_out"]), atol=1e-5)


def test_the_head_is_the_systems(vectors):
    hidden = vectors["head/linear1.weight"][..., 0].reshape(4, 3, 4).transpose(0, 2, 1)
    p = {"hidden_kernel": hidden, "hidden_bias": vectors["head/linear1.bias"].reshape(4, 3)}
    p |= {"output_kernel": vectors["head/linear2.weight"][..., 0], "output_bias": vectors["head/linear2.bias"]}
    ours = head.encode(vectors["head_in"].reshape(3, 4, 4), p)
    np.testing.assert_allclose(ours, vectors["head_out"], atol=1e-6)


class OneBlock(attention_residual.AttentionResidual):
    """The network without what is before and behind a block."""

    block: attention_residual.Block | None = None

    @attention_residual.nn.compact
    def __call__(self, x, train=False):
        return self._block(x, self.block, train)


def block_of(vectors, stride):
    """Returns (network of one block, its variables) of the vectors."""
    tensors = {k.split("/")[1]: v for k, v in vectors.items() if k.startswith(f"resblock_stride{stride}/")}
    d, c = tensors["conv1.weight"].shape[:2]
    shape = (*tensors_shape(tensors), d)
    first = attention_residual.Layer("first", stride, c, shape, True)
    second = attention_residual.Layer("second", 1, d, shape, True)
    block = attention_residual.Block(first, second, "shortcut" if stride == 2 else None)
    params, stats = {}, {}
    for name, i in (("first", 1), ("second", 2)):
        params[name] = {
            "kernel": tensors[f"conv{i}.weight"].transpose(2, 3, 1, 0),
            "bias": tensors[f"conv{i}.bias"],
            "norm_scale": tensors[f"bn{i}.weight"],
            "norm_bias": tensors[f"bn{i}.bias"],
            "spectral": tensors[f"attention{i}.Wspect"][..., 0],
            "temporal": tensors[f"attention{i}.Wtemp"][..., 0],
        }
        stats[f"{name}_mean"] = tensors[f"bn{i}.running_mean"].reshape(1, 1, 1, -1)
        stats[f"{name}_variance"] = tensors[f"bn{i}.running_var"].reshape(1, 1, 1, -1)
    if stride == 2:
        kernel, bias = (tensors[f"identity_downsample.{kind}"] for kind in ("weight", "bias"))
        params["shortcut"] = {"kernel": kernel[:, :, 0, 0].T, "bias": bias}
    return OneBlock(form="lax", dtype="float32", block=block), {"params": params, "batch_stats": stats}


def tensors_shape(tensors):
    return tensors["attention1.Wtemp"].shape[1], tensors["attention1.Wspect"].shape[1]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_residual_block_computes_trains_and_remembers_as_the_systems(vectors, stride):
    name, (network, variables) = f"resblock_stride{stride}", block_of(vectors, stride)
    x = channels_last(vectors[f"{name}_in"])
    train = jax.jit(functools.partial(network.apply, train=True, mutable=["batch_stats"]))
    nothing = {**variables, "batch_stats": jax.tree.map(np.zeros_like, variables["batch_stats"])}
    ours, changed = train(nothing, x)
    np.testing.assert_allclose(ours, channels_last(vectors[f"{name}_out_train"]), rtol=1e-4, atol=1e-4)
    # The vectors hold the running statistics after that step. The fingerprints without training are from before it.
    before = jax.tree.map(lambda after, seen: (after - seen) / 0.9, variables["batch_stats"], changed["batch_stats"])
    ours = jax.jit(network.apply)({**variables, "batch_stats": before}, x)
    np.testing.assert_allclose(ours, channels_last(vectors[f"{name}_out_eval"]), rtol=1e-4, atol=1e-4)
    for place, after in train({**variables, "batch_stats": before}, x)[1]["batch_stats"].items():
        np.testing.assert_allclose(after, variables["batch_stats"][place], rtol=1e-5, atol=1e-6)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("shape", [(3, 8, 6, 2), (2, 5, 1, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_both_forms_are_the_same_convolution_with_the_same_gradients(monkeypatch, shape, stride):
    monkeypatch.setattr(planes, "_CACHED", 1)  # One segment at a time.
    x, kernel, bias = normal(0, *shape), normal(1, 3, 3, shape[3], 4), normal(2, 4)

    def value_and_gradients(form):
        convolve = functools.partial(planes.convolve, stride=stride, form=form)
        return jax.jit(lambda *given: (convolve(*given), jax.vjp(convolve, *given)[1](convolve(*given))))(
            x, kernel, bias
        )

    for ours, theirs in zip(
        *map(jax.tree.leaves, (value_and_gradients("gemm"), value_and_gradients("lax"))), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def variables_of(model, mel):
    shapes = jax.eval_shape(model.init, jax.random.key(0), mel)
    return networks.trained(networks.draw({"params": shapes["params"], "batch_stats": shapes["batch_stats"]}))


def test_statistics_are_shared_over_the_named_axis():
    mel, model = normal(3, 4, 8, 6), models.create("audsearch", **SMALL)
    variables = variables_of(model, mel)

    def train(model):
        return lambda mel: model.apply(variables, mel, train=True, mutable=["batch_stats"])

    whole, remembered = jax.jit(train(model))(mel)
    sharing = train(models.create("audsearch", axis_name="data", **SMALL))
    parts, shared = jax.jit(jax.vmap(sharing, axis_name="data"))(mel.reshape(2, 2, 8, 6))
    np.testing.assert_allclose(parts.reshape(whole.shape), whole, atol=1e-4)
    for name, theirs in shared["batch_stats"].items():
        np.testing.assert_allclose(theirs[0], remembered["batch_stats"][name], rtol=1e-4, atol=1e-5)


def test_a_dim_that_does_not_divide_the_features_is_refused():
    model = models.create("audsearch", **{**SMALL, "dim": 7})
    with pytest.raises(errors.Invalid, match="dim=7 does not divide the 48 features"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 6)))
