"""The networks of the second stage by name: fingerprints of a clip in, one unit vector out.

Every network is called as `network.apply(variables, rows, mask, train=False)`. rows: float [B, T, D], padded at the
end. mask: bool [B, T], True where there is a row. It returns float [B, E] of unit length. Training needs a random key
under the name `dropout`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from nafp.jobs import choices

if TYPE_CHECKING:
    import flax.linen as nn
    from jaxtyping import Array, Float

# Name -> (module, class, fields that it takes of config.model). A further network is one file here and one line.
_NETWORKS = {
    "transformer": ("transformer", "Transformer", ("dim", "width", "layers", "heads", "feed_forward", "dropout")),
    "lstm": ("lstm", "Lstm", ("dim", "width", "layers", "dropout")),
    "densenet": ("densenet", "DenseNet", ("dim",)),
}
_SHORTEST = 1e-12  # Lengths below it count as this one.


def names() -> list[str]:
    """Lists the networks that `create` knows."""
    return sorted(_NETWORKS)


def create(name: str = "transformer", **settings: Any) -> nn.Module:
    """Builds a network. settings: the keywords of `config.model`. Those that a network has no use for are ignored.

    Raises nafp.errors.Invalid for an unknown name.
    """
    choices.require("config.model.name", name, names())
    module, class_name, fields = _NETWORKS[name]
    made = getattr(importlib.import_module(f"nafp.sequences.{module}"), class_name)
    return made(**{field: settings[field] for field in fields if field in settings})


def abstract_variables(network: nn.Module, *, n_rows: int, dim: int) -> dict[str, Any]:
    """Returns the shapes of a network's variables, without computing them. n_rows, dim: T and D of its input."""
    rows = jax.ShapeDtypeStruct((1, n_rows, dim), jnp.float32)
    mask = jax.ShapeDtypeStruct((1, n_rows), bool)
    shapes = jax.eval_shape(network.init, jax.random.key(0), rows, mask)
    return {"params": shapes["params"], "batch_stats": shapes.get("batch_stats", {})}


def n_parameters(variables: Any) -> int:
    """Counts the parameters of a network, without running statistics."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def unit(vectors: Float[Array, "*B E"]) -> Float[Array, "*B E"]:
    """Brings vectors to unit length."""
    length = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1, keepdims=True))
    return vectors / jnp.maximum(length, _SHORTEST)
