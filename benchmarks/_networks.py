"""The network as anybody would write it in Flax Linen, with random parameters for it and its rivals."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from nafp import models

CHANNELS = {
    "full": (128, 128, 256, 256, 512, 512, 1024, 1024),
    "narrow": (32, 32, 64, 64, 128, 128, 256, 256),
}
MEL_SHAPE = (256, 32)
EPSILON = 1e-3


class PlainLinen(nn.Module):
    """Our network in float32, with nn.Conv for convolutions, nn.LayerNorm for norms and two einsums for the head.

    mel: float32 [B, F, T]. Returns fingerprints float32 [B, D] of unit length.
    """

    channels: tuple[int, ...]
    time_strides: tuple[int, ...]
    dim: int = 128
    n_hidden: int = 32

    @nn.compact
    def __call__(self, mel: jax.Array) -> jax.Array:
        x = mel[..., None]
        for c, stride in zip(self.channels, self.time_strides):
            for kernel, strides in (((1, 3), (1, stride)), ((3, 1), (2, 1))):
                x = nn.elu(nn.Conv(c, kernel, strides, padding="SAME")(x))
                axes = (1, 2, 3)
                x = nn.LayerNorm(epsilon=EPSILON, reduction_axes=axes, feature_axes=axes)(x)
        slices = x.reshape(x.shape[0], self.dim, -1)
        shape, normal = (self.dim, slices.shape[2], self.n_hidden), nn.initializers.normal()
        hidden = jnp.einsum("bds,dsu->bdu", slices, self.param("hidden_kernel", normal, shape))
        hidden = nn.elu(hidden + self.param("hidden_bias", normal, shape[::2]))
        values = jnp.einsum("bdu,du->bd", hidden, self.param("output_kernel", normal, shape[::2]))
        values = values + self.param("output_bias", normal, shape[:1])
        return values / jnp.linalg.norm(values, axis=1, keepdims=True)


def ours(which: str, form: str = "gemm") -> Any:
    """Creates our network, `nafp.models.nafp.Nafp`. which: "full" or "narrow"."""
    return models.create("nafp", channels=CHANNELS[which], form=form, dtype="float32")


def parameters(which: str) -> dict:
    """Draws parameters of our network. No scale or bias of a norm keeps its initial one or zero."""
    model, mel = ours(which), jnp.zeros((1, *MEL_SHAPE))
    shapes = jax.eval_shape(model.init, jax.random.key(0), mel)["params"]
    rng = np.random.default_rng(0)

    def draw(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> np.ndarray:
        noise = rng.standard_normal(shape.shape, np.float32)
        name = path[-1].key
        if name == "norm_scale":
            return 1 + 0.1 * noise
        fan_in = np.prod(shape.shape[:-1]) if name == "kernel" else 32
        return noise * np.float32(fan_in**-0.5 if name.endswith("kernel") else 0.1)

    return jax.tree.map_with_path(draw, shapes)


def plain(which: str) -> PlainLinen:
    """Creates the same network in plain Linen."""
    return PlainLinen(CHANNELS[which], ours(which).time_strides)


def for_plain(params: dict) -> dict:
    """Renames our parameters to those of `PlainLinen`."""
    renamed = dict(params["head"])
    for i, layer in enumerate(ours("full").plan(MEL_SHAPE)):
        arrays = params[layer.name]
        renamed[f"Conv_{i}"] = {"kernel": arrays["kernel"], "bias": arrays["bias"]}
        renamed[f"LayerNorm_{i}"] = {"scale": arrays["norm_scale"], "bias": arrays["norm_bias"]}
    return renamed


def flops(which: str) -> float:
    """Counts multiplications and additions of one segment's forward pass, without taps that only meet padding."""
    total = 0
    for layer in ours(which).plan(MEL_SHAPE):
        taps = 1 if layer.n_positions == 1 else 3
        total += 2 * np.prod(layer.shape) * taps * layer.n_inputs
    return float(total)


def nt_xent(z: jax.Array) -> jax.Array:
    """Computes the contrastive loss of a batch. z: [2N, D], where the second half are the replicas of the first."""
    n = len(z)
    logits = jnp.where(jnp.eye(n, dtype=bool), -1e9, z @ z.T / 0.05)
    pairs = (jnp.arange(n) + n // 2) % n
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), pairs[:, None], axis=1))
