"""Small networks to test with: random numbers in place of training, and runs that hold them."""

import functools
import importlib.util
import pathlib

import jax
import numpy as np

from nafp import config as config_lib
from nafp.models import (
    convolution,
    fingerprinter,
    head,
    layers,
    network,
    norms,
    numpy_network,
    numpy_spectrogram,
    onnx_network,
    protocol,
    spectrogram,
    threaded_network,
)
from nafp.weights import checkpoints, sources

# What computes a network: modules whose signatures state shapes, for `tests.shapes.held`.
MODULES = (
    convolution,
    fingerprinter,
    head,
    layers,
    network,
    norms,
    numpy_network,
    numpy_spectrogram,
    onnx_network,
    spectrogram,
    threaded_network,
)


# A network with every kind of layer, which compiles in a moment.
FEW_BLOCKS = {"model.channels": (4, 16), "model.time_strides": (2, 1), "model.dim": 16, "model.head_hidden": 4}


# The runtime that answers soonest: nothing is compiled.
SOONEST = "onnx" if importlib.util.find_spec("onnxruntime") else "numpy"


@functools.cache
def small() -> protocol.Network:
    """Opens the shipped network for tests that ask what it hears, in the runtime that answers soonest."""
    return sources.load("small", runtime=SOONEST)


def config(**changes):
    """The default configuration with a network small enough for a test."""
    c = config_lib.default()
    with c.unlocked():
        c.model.channels, c.model.dim, c.model.head_hidden = (4, 4, 8, 8, 8, 8, 16, 16), 16, 4
        c.spectrogram.n_mels = 32
        c.update_from_flattened_dict(changes)
    return c


def few_blocks():
    """The default configuration with a network that JAX compiles in a moment."""
    return config(**FEW_BLOCKS)


def variables(c, *, seed=0):
    """Random parameters as an initialiser gives them, without compiling one."""
    return draw(network.abstract_variables(c), seed=seed)


def draw(shapes, *, seed=0):
    """Draws parameters of these shapes, a tree."""
    rng = np.random.default_rng(seed)

    def leaf(path, shape):
        values, name = rng.standard_normal(shape.shape, np.float32), str(path[-1])
        if "scale" in name:
            return 1 + values / 10
        share = 0.1 if "bias" in name else np.prod(shape.shape[:-1]) ** -0.5
        return values * np.float32(share)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def trained_variables(c, *, seed=0):
    """Random ones with the signs and the type that training gives."""
    return trained(variables(c, seed=seed))


def trained(variables):
    """Returns random parameters with the signs and the type that training gives."""
    tree = jax.tree.map(np.float32, variables)
    stats = tree["batch_stats"].items()
    positive = {k: np.abs(v) + 0.5 if "variance" in k else v for k, v in stats}
    return {"params": tree["params"], "batch_stats": positive}


def extractor(c, *, seed=0, **settings):
    return network.JaxNetwork(variables(c, seed=seed), c, **settings)


def write_run(folder: pathlib.Path, c, scores: dict[int, float | None]) -> pathlib.Path:
    """Writes a run with a checkpoint at each step. The step is the seed of its parameters."""
    folder.mkdir()
    kept = checkpoints.Checkpoints(folder, keep=len(scores))
    for step, score in scores.items():
        tree = variables(c, seed=step)
        kept.save(
            step,
            variables=tree,
            state={"step": np.int32(step)},
            config=c,
            score=score,
        )
    kept.wait()
    kept.close()
    return folder
