"""The networks of the second stage equal AMG-Embedding's, on its own numbers."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nafp import errors
from nafp.sequences import embedder, foreign, lstm, networks, transformer
from nafp.sequences.layouts import from_torch

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "amg"
GIVEN = np.load(VECTORS / "networks.npz")
TINY = {
    "transformer": (transformer.Transformer(dim=6, width=16, layers=2, heads=2), "mt"),
    "lstm": (lstm.Lstm(dim=6, width=5, layers=2), "mlstm"),
}
KINDS = {"weight": lambda h, fan_in: np.sqrt(3) * h / np.sqrt(fan_in), "bias": lambda h, _: 0.1 * h}
KINDS |= {"beta": KINDS["bias"], "mean": KINDS["bias"]}
KINDS |= {name: lambda h, _: 1 + 0.25 * h for name in ("gamma", "var")}


def tiny(name: str) -> dict:
    if name == "lstm":
        return foreign.read(VECTORS / "tiny_mlstm.pth")[0]
    with np.load(VECTORS / "tiny_mt.npz") as tensors:
        return from_torch(name, dict(tensors), heads=2)


@functools.cache
def compiled(network):
    return jax.jit(network.apply)


def embedded(network, variables, rows, mask) -> np.ndarray:
    return np.asarray(compiled(network)(variables, jnp.asarray(rows), jnp.asarray(mask)))


@pytest.mark.parametrize("name", TINY)
def test_tiny_networks_equal_the_original(name):
    network, short = TINY[name]
    mask = ~GIVEN["tiny_padding_mask"]
    result = embedded(network, tiny(name), GIVEN["tiny_x"], mask)
    np.testing.assert_allclose(result, GIVEN[f"tiny_{short}_embedding_f64"], atol=1e-6)
    assert jax.tree.map(jnp.shape, tiny(name)) == jax.tree.map(
        jnp.shape, networks.abstract_variables(network, n_rows=12, dim=8)
    )


@pytest.mark.parametrize("name", TINY)
def test_what_the_padding_holds_changes_nothing(name):
    mask = ~GIVEN["tiny_padding_mask"]
    filled = np.where(mask[:, :, None], GIVEN["tiny_x"], 7.0).astype(np.float32)
    network, variables = TINY[name][0], tiny(name)
    results = [embedded(network, variables, rows, mask) for rows in (GIVEN["tiny_x"], filled)]
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


def test_the_transformer_knows_no_order():
    network, variables = TINY["transformer"][0], tiny("transformer")
    rows, mask = GIVEN["tiny_x"], np.ones((5, 12), bool)
    results = [embedded(network, variables, x, mask) for x in (rows, rows[:, ::-1])]
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


@pytest.mark.parametrize(
    "name, layers, count",
    [
        ("transformer", 10, 4_023_680),
        pytest.param("lstm", 8, 11_878_528, marks=pytest.mark.slow),
        pytest.param("densenet", 0, 8_106_990, marks=pytest.mark.slow),
    ],
)
def test_networks_have_as_many_parameters_as_they_say(name, layers, count):
    network = networks.create(name, dim=128, width=256, layers=layers, heads=8, feed_forward=256, dropout=0.1)
    assert networks.n_parameters(networks.abstract_variables(network, n_rows=64, dim=128)) == count


def test_an_unknown_network_is_answered_with_the_known_ones():
    with pytest.raises(errors.Invalid, match=r"allowed are densenet, lstm, transformer\. Did you mean 'transformer'"):
        networks.create("tranformer")


def test_a_checkpoint_of_the_original_tells_its_settings():
    network = embedder.load(str(VECTORS / "tiny_mlstm.pth"), seconds=5)
    model = network.config.model
    assert (model.name, model.width, model.layers) == ("lstm", 5, 2)
    assert (network.dim, network.size, network.seconds, network.most) == (8, 6, 5, 12)
    with pytest.raises(errors.Invalid, match="seconds=7: allowed are 5, 10, 15, 30"):
        embedder.load(str(VECTORS / "tiny_mlstm.pth"), seconds=7)
    with pytest.raises(errors.Error, match="test_networks"):
        embedder.load(str(pathlib.Path(__file__).with_suffix(".pth")))


def test_tensors_of_something_else_are_refused():
    with pytest.raises(errors.Invalid, match=r"no parameters of a lstm of AMG-Embedding: 'fc.weight' is missing"):
        from_torch("lstm", {})


def by_formula(layers: list[tuple[str, tuple[int, ...], str, int, int]]) -> dict[str, np.ndarray]:
    """Returns tensors by formula: each (name, shape, kind, fan_in, salt). See the description of the vectors."""
    prime, tensors = 2147483647, {}
    for name, shape, kind, fan_in, salt in layers:
        k = (np.arange(int(np.prod(shape)), dtype=np.int64) + 1 + 1000003 * salt) % prime
        h = 2 * ((k * k % prime) * 1103515245 % prime) / prime - 1
        tensors[name] = KINDS[kind](h, fan_in).reshape(shape).astype(np.float32)
    return tensors


def salted(entries) -> list[tuple[str, tuple[int, ...], str, int, int]]:
    return [(*entry, salt) for salt, entry in enumerate(entries)]


def dense(name: str, n_in: int, n_out: int) -> list:
    return [(f"{name}.weight", (n_out, n_in), "weight", n_in), (f"{name}.bias", (n_out,), "bias", 1)]


def norm(name: str, n: int, *, running: bool = False) -> list:
    kinds = {"weight": "gamma", "bias": "beta"} | ({"running_mean": "mean", "running_var": "var"} if running else {})
    return [(f"{name}.{ending}", (n,), kind, 1) for ending, kind in kinds.items()]


def encoder_layer(name: str) -> list:
    attention = [(f"{name}.self_attn.in_proj_weight", (768, 256), "weight", 256)]
    attention += [(f"{name}.self_attn.in_proj_bias", (768,), "bias", 1)]
    layers = attention + dense(f"{name}.self_attn.out_proj", 256, 256)
    layers += dense(f"{name}.linear1", 256, 256) + dense(f"{name}.linear2", 256, 256)
    return layers + norm(f"{name}.norm1", 256) + norm(f"{name}.norm2", 256)


def true_transformer() -> list:
    layers = dense("linear1", 128, 256) + encoder_layer("encoder_layer")
    for number in range(10):
        layers += encoder_layer(f"encoder.layers.{number}")
    return layers + dense("linear2", 256, 128)


def true_lstm() -> list:
    layers: list = []
    for number in range(8):
        for ending in ("", "_reverse"):
            width = 128 if number == 0 else 512
            name = f"l{number}{ending}"
            layers += [(f"lstm.weight_ih_{name}", (1024, width), "weight", width)]
            layers += [(f"lstm.weight_hh_{name}", (1024, 256), "weight", 256)]
            layers += [(f"lstm.bias_{kind}_{name}", (1024,), "bias", 1) for kind in ("ih", "hh")]
    return layers + dense("fc", 512, 128)


def convolution(name: str, n_in: int, n_out: int, size: int) -> list:
    return [(f"{name}.weight", (n_out, n_in, size, size), "weight", n_in * size * size)]


def true_densenet() -> list:
    layers: list = [("conv.weight", (3, 1, 1, 1), "weight", 1), ("conv.bias", (3,), "bias", 1)]
    above, width = "backbone.features", 64
    layers += convolution(f"{above}.conv0", 3, 64, 7) + norm(f"{above}.norm0", 64, running=True)
    for block, n_layers in enumerate((6, 12, 24, 16), 1):
        for number in range(1, n_layers + 1):
            name = f"{above}.denseblock{block}.denselayer{number}"
            layers += norm(f"{name}.norm1", width, running=True) + convolution(f"{name}.conv1", width, 128, 1)
            layers += norm(f"{name}.norm2", 128, running=True) + convolution(f"{name}.conv2", 128, 32, 3)
            width += 32
        if block < 4:
            name = f"{above}.transition{block}"
            layers += norm(f"{name}.norm", width, running=True) + convolution(f"{name}.conv", width, width // 2, 1)
            width //= 2
    layers += norm(f"{above}.norm5", width, running=True)
    return layers + dense("backbone.classifier", 1024, 1000) + dense("fc", 1000, 128)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, short, layers",
    [("transformer", "mt", true_transformer), ("lstm", "mlstm", true_lstm), ("densenet", "mcnn", true_densenet)],
)
def test_true_sized_networks_equal_the_original(name, short, layers):
    """The fast test is test_tiny_networks_equal_the_original."""
    network = networks.create(name, layers=8 if name == "lstm" else 10)
    variables = from_torch(name, by_formula(salted(layers())))
    rows, mask = GIVEN["true_x_f16"].astype(np.float32), ~GIVEN["true_padding_mask"]
    result = embedded(network, variables, rows, mask)
    np.testing.assert_allclose(result, GIVEN[f"true_{short}_embedding_f64"], atol=2e-6)


@pytest.mark.parametrize(
    "saved", [{"model": None}, {"model": 3}, {"lstm.weight_hh_l0": 1.0}, {"encoder.layers.0.norm1.weight": np.ones(3)}]
)
def test_a_checkpoint_of_something_else_is_refused_in_one_line(monkeypatch, saved):
    monkeypatch.setattr(foreign.torch_files, "read", lambda path: saved)
    with pytest.raises(errors.Invalid, match=r"last\.pth: (no checkpoint|its parameters are not those)"):
        foreign.read("last.pth")
