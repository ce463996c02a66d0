"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

from typing import Any

import jax
import optax

ORIGINAL_BATCH = 640  # The batch at which the original's 1e-4 holds; its rule scales in proportion.


def schedule(optimizer: Any, *, total_steps: int, batch_size: int) -> optax.Schedule:
    """Returns step -> learning rate: warm-up, then cosine, cosine with restarts, or constant.

    optimizer: config.optimizer. Restarts double in length from `restart_share` of all steps.
    """
    peak = optimizer.learning_rate
    if optimizer.scale_with_batch:
        peak *= batch_size / ORIGINAL_BATCH
    warmup = optimizer.warmup_steps
    after = max(total_steps - warmup, 1)
    if optimizer.schedule == "constant":
        main = optax.constant_schedule(peak)
    elif optimizer.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, after, alpha=optimizer.final_share)
    else:
        main = _restarts(peak, after, share=optimizer.restart_share, final_share=optimizer.final_share)
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])


def _restarts(peak: float, steps: int, *, share: float, final_share: float) -> optax.Schedule:
    periods, length, done = [], max(int(steps * share), 1), 0
    while done < steps:
        periods.append(length)
        done, length = done + length, length * 2
    parts = [optax.cosine_decay_schedule(peak, n, alpha=final_share) for n in periods]
    borders = [sum(periods[: i + 1]) for i in range(len(periods) - 1)]
    return optax.join_schedules(parts, borders)


def create(optimizer: Any, *, total_steps: int, batch_size: int) -> optax.GradientTransformation:
    """Returns LAMB or Adam of config.optimizer, moments in float32."""
    rate = schedule(optimizer, total_steps=total_steps, batch_size=batch_size)
    common = dict(b1=optimizer.b1, b2=optimizer.b2, eps=optimizer.eps)
    if optimizer.name == "adam":
        return optax.adam(rate, **common)
    if optimizer.lamb_scales == "all":
        return optax.lamb(rate, weight_decay=optimizer.weight_decay, **common)
    return optax.chain(
        optax.scale_by_adam(**common),
        optax.add_decayed_weights(optimizer.weight_decay, mask=_kernels),
        optax.masked(optax.scale_by_trust_ratio(), _kernels),
        optax.scale_by_learning_rate(rate),
    )


def _kernels(params: Any) -> Any:
    """Marks the kernels in a tree of parameters; biases, and the scales and biases of norms, are none."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key.endswith("kernel"), params)
