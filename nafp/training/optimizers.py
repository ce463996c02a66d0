"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

from typing import Any

import jax
import optax

ORIGINAL_BATCH = 640  # The batch size at which the original's 1e-4 holds; its rule scales in proportion.


def peak_rate(*, learning_rate: float, scale_with_batch: bool, batch_size: int) -> float:
    """Returns the highest learning rate, scaled in proportion to the batch if asked."""
    return learning_rate * batch_size / ORIGINAL_BATCH if scale_with_batch else learning_rate


def schedule(
    name: str, *, peak: float, total_steps: int, warmup_steps: int, final_share: float, restart_share: float
) -> optax.Schedule:
    """Returns step -> learning rate: a linear warm-up, then `cosine`, `cosine_restarts` or `constant`.

    final_share: the learning rate at the end, as a share of the peak. restart_share: the length of the first period
    of `cosine_restarts`, as a share of all steps after the warm-up. Each further period is twice as long.
    """
    steps = max(total_steps - warmup_steps, 1)
    if name == "constant":
        main = optax.constant_schedule(peak)
    elif name == "cosine":
        main = optax.cosine_decay_schedule(peak, steps, alpha=final_share)
    else:
        main = _restarts(peak, steps, share=restart_share, final_share=final_share)
    if not warmup_steps:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup_steps), main], [warmup_steps])


def _restarts(peak: float, steps: int, *, share: float, final_share: float) -> optax.Schedule:
    lengths: list[int] = []
    length = max(int(steps * share), 1)
    while sum(lengths) < steps:
        lengths.append(length)
        length *= 2
    parts = [optax.cosine_decay_schedule(peak, n, alpha=final_share) for n in lengths]
    borders = [sum(lengths[: i + 1]) for i in range(len(lengths) - 1)]
    return optax.join_schedules(parts, borders)


def create(
    name: str,
    rate: optax.Schedule,
    *,
    lamb_scales: str,
    weight_decay: float,
    b1: float,
    b2: float,
    eps: float,
) -> optax.GradientTransformation:
    """Returns `adam` or `lamb`, with moments in float32.

    rate: step -> learning rate. lamb_scales: `kernels` gives LAMB's steps to kernels and Adam's to all other
    parameters, `all` gives LAMB's to all. weight_decay: of the parameters that take LAMB's steps.
    """
    if name == "adam":
        return optax.adam(rate, b1=b1, b2=b2, eps=eps)
    if lamb_scales == "all":
        return optax.lamb(rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    return optax.chain(
        optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
        optax.add_decayed_weights(weight_decay, mask=_kernels),
        optax.masked(optax.scale_by_trust_ratio(), _kernels),
        optax.scale_by_learning_rate(rate),
    )


def _kernels(params: Any) -> Any:
    """Marks the kernels in a tree of parameters. Biases, and the scales and biases of norms, are not marked."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key.endswith("kernel"), params)
