"""Losses of the second stage, by the name that config.loss.name chooses.

margin     each clip is a class; additive angular margins that grow with the overlap, and anchors drawn to their centres
arcface    the same without the second part
info_nce   the clean window and a degraded chunk of a clip, against those of the other clips in the batch
triplet    a degraded chunk, its own clean window, and another clip's
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
import optax

from nafp.sequences import networks

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

NAMES = ("margin", "arcface", "info_nce", "triplet")
WITH_CLASSES = ("margin", "arcface")  # Those that learn a centre for each clip.
SIDES = {"margin": 1, "arcface": 1, "info_nce": 2, "triplet": 3}  # Sequences that an example of the batch has.
_TINY = 1e-5  # Under the root of 1 - cos^2, whose gradient is infinite at 0.


def margins(overlap: np.ndarray, n_rows: np.ndarray, *, low: float, high: float) -> np.ndarray:
    """Returns the margin of each chunk, radians: `low` for no overlap with the central window, `high` for all of it.

    overlap: rows that lie in the window. n_rows: rows of the window.
    """
    return ((high - low) * overlap / n_rows + low).astype(np.float32)


def cosines(vectors: Float[Array, "B E"], centres: Float[Array, "C E"]) -> Float[Array, "B C"]:
    """Returns the cosine of every vector to every centre."""
    return networks.unit(vectors) @ networks.unit(centres).T


def margin_logits(
    cosine: Float[Array, "B C"], labels: Int[Array, " B"], margin: Float[Array, " B"], *, scale: float
) -> Float[Array, "B C"]:
    """Returns the logits of ArcFace (Deng et al., CVPR 2019): the angle to the own centre is enlarged by the margin.

    Where the enlarged angle would pass 180 degrees, the cosine is lowered by margin x sin(margin) instead.
    """
    own = jnp.take_along_axis(cosine, labels[:, None], axis=1)[:, 0]
    sine = jnp.sqrt(1.0 - own * own + _TINY)
    turned = own * jnp.cos(margin) - sine * jnp.sin(margin)
    turned = jnp.where(own > jnp.cos(jnp.pi - margin), turned, own - margin * jnp.sin(jnp.pi - margin))
    is_own = labels[:, None] == jnp.arange(cosine.shape[1])[None, :]
    return scale * jnp.where(is_own, turned[:, None], cosine)


def margin(
    vectors: Float[Array, "B E"],
    centres: Float[Array, "C E"],
    labels: Int[Array, " B"],
    margin: Float[Array, " B"],
    is_anchor: Bool[Array, " B"],
    *,
    scale: float,
    centre_weight: float,
) -> Float[Array, ""]:
    """Computes the cross-entropy of the enlarged angles, plus the mean of 1 - cosine of anchors to their centres.

    labels: the class of each vector. is_anchor: True for a clean window. centre_weight: factor of the second part, 0
    for plain ArcFace. A batch without an anchor has no second part; in AMG-Embedding its loss is NaN.
    """
    cosine = cosines(vectors, centres)
    logits = margin_logits(cosine, labels, margin, scale=scale)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    own = jnp.take_along_axis(cosine, labels[:, None], axis=1)[:, 0]
    away = jnp.sum(jnp.where(is_anchor, 1.0 - own, 0.0)) / jnp.maximum(jnp.sum(is_anchor), 1)
    return loss + centre_weight * away


def info_nce(
    queries: Float[Array, "B E"],
    keys: Float[Array, "B E"],
    negatives: Float[Array, "... E"] | None = None,
    *,
    temperature: float,
) -> Float[Array, ""]:
    """Computes the cross-entropy of each query's own key (van den Oord et al., 2018).

    negatives: [M, E] for all queries, or [B, M, E] for each its own. Without them the other keys are the negatives.
    """
    queries, keys = networks.unit(queries), networks.unit(keys)
    if negatives is None:
        labels = jnp.arange(len(queries))
        return optax.softmax_cross_entropy_with_integer_labels(queries @ keys.T / temperature, labels).mean()
    own = jnp.sum(queries * keys, axis=1, keepdims=True)
    others = jnp.einsum("be,me->bm" if negatives.ndim == 2 else "be,bme->bm", queries, networks.unit(negatives))
    logits = jnp.concatenate([own, others], axis=1) / temperature
    return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.zeros(len(queries), int)).mean()


def triplet(
    anchors: Float[Array, "B E"],
    positives: Float[Array, "B E"],
    negatives: Float[Array, "B E"],
    *,
    alpha: float,
    active_only: bool = True,
) -> Float[Array, ""]:
    """Computes the mean of max(cos(anchor, negative) - cos(anchor, positive) + alpha, 0).

    active_only: whether the mean is over the triplets above 0 alone, as in training; it is 0 if there is none.
    """
    anchors = networks.unit(anchors)
    near, far = (jnp.sum(anchors * networks.unit(side), axis=1) for side in (positives, negatives))
    losses = jnp.maximum(far - near + alpha, 0.0)
    n = jnp.maximum(jnp.sum(near - far < alpha), 1) if active_only else len(losses)
    return jnp.sum(losses) / n
