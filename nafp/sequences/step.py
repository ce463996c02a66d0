"""One step of training the second stage, as a pure function."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from nafp.sequences import losses

Batch = dict[str, jax.Array]


class State(NamedTuple):
    """What a step changes. centres: float32 [C, E], one for each class.

    For a loss without classes there is a single centre of zeros, which never changes: orbax saves no empty arrays.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    centres: jax.Array
    optimizer: Any


class Recipe(NamedTuple):
    """What stays the same over a run. loss: its name. terms: the keywords of config.loss."""

    network: nn.Module
    optimizer: optax.GradientTransformation
    loss: str
    terms: dict[str, float]
    seed: int


def initial(recipe: Recipe, *, n_rows: int, dim: int, centres: jax.Array) -> State:
    """Returns the state before the first step. n_rows, dim: the shape of a padded sequence."""
    rows, mask = jnp.zeros((1, n_rows, dim)), jnp.ones((1, n_rows), bool)
    variables = jax.jit(recipe.network.init)(jax.random.key(recipe.seed), rows, mask)
    trained = (variables["params"], centres)
    return State(
        jnp.zeros((), jnp.int32),
        variables["params"],
        variables.get("batch_stats", {}),
        centres,
        recipe.optimizer.init(trained),
    )


def take(recipe: Recipe, state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
    """Takes one step. Returns the next state and the scores `loss` and `grad_norm`."""
    key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)

    def loss(trained: tuple[Any, jax.Array]) -> tuple[jax.Array, Any]:
        params, centres = trained
        variables = {"params": params, "batch_stats": state.batch_stats}
        vectors, changed = recipe.network.apply(
            variables, batch["rows"], batch["mask"], train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return _loss(recipe, jnp.asarray(vectors), centres, batch), changed.get("batch_stats", state.batch_stats)

    trained = (state.params, state.centres)
    (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(trained)
    updates, optimizer = recipe.optimizer.update(gradients, state.optimizer, trained)
    params, centres = optax.apply_updates(trained, updates)
    scores = {"loss": value, "grad_norm": optax.tree.norm(gradients)}
    return State(state.step + 1, params, stats, centres, optimizer), scores


def _loss(recipe: Recipe, vectors: jax.Array, centres: jax.Array, batch: Batch) -> jax.Array:
    terms, sides = recipe.terms, jnp.split(vectors, losses.SIDES[recipe.loss])
    if recipe.loss == "info_nce":
        return losses.info_nce(sides[0], sides[1], temperature=terms["temperature"])
    if recipe.loss == "triplet":
        return losses.triplet(sides[0], sides[1], sides[2], alpha=terms["alpha"])
    weight = terms["centre_weight"] if recipe.loss == "margin" else 0.0
    return losses.margin(
        vectors,
        centres,
        batch["label"],
        batch["margin"],
        batch["is_anchor"],
        scale=terms["scale"],
        centre_weight=weight,
    )
