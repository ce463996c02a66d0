"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

ORIGINAL_BATCH = 640  # The batch size at which the original's 1e-4 holds; its rule scales in proportion.


def peak_rate(*, learning_rate: float, scale_with_batch: bool, batch_size: int) -> float:
    """Returns the highest learning rate, scaled in proportion to the batch if asked."""
    return learning_rate * batch_size / ORIGINAL_BATCH if scale_with_batch else learning_rate


def schedule(
    name: str,
    *,
    peak: float,
    total_steps: int,
    warmup_steps: int,
    final_share: float,
    restart_share: float,
    epoch_steps: int,
    fall_epochs: int,
    per_epoch: bool,
) -> optax.Schedule:
    """Returns step -> learning rate: a linear warm-up, then one of config.optimizer.schedule.

    final_share: the lowest learning rate, as a share of the peak. restart_share: the length of the first period
    of `cosine_restarts`, as a share of all steps after the warm-up. Each further period is twice as long. fall_epochs:
    the epochs in which `cosine_waves` falls, and then rises again. per_epoch: the rate of an epoch's first step holds
    for all of its epoch_steps.
    """
    steps = max(total_steps - warmup_steps, 1)
    if name == "constant":
        main = optax.constant_schedule(peak)
    elif name == "cosine":
        main = optax.cosine_decay_schedule(peak, steps, alpha=final_share)
    elif name == "cosine_waves":
        main = _waves(peak, fall_epochs * epoch_steps, final_share=final_share)
    else:
        main = _restarts(peak, steps, share=restart_share, final_share=final_share)
    if per_epoch:
        main = _held(main, epoch_steps)
    if not warmup_steps:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup_steps), main], [warmup_steps])


def _waves(peak: float, fall_steps: int, *, final_share: float) -> optax.Schedule:
    def rate(step: jax.Array) -> jax.Array:
        return peak * (final_share + (1 - final_share) * (1 + jnp.cos(jnp.pi * step / fall_steps)) / 2)

    return rate


def _held(schedule: optax.Schedule, epoch_steps: int) -> optax.Schedule:
    return lambda step: schedule(step // epoch_steps * epoch_steps)


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
    bias_correction: str = "moments",
    norm_clamp: float = 0.0,
) -> optax.GradientTransformation:
    """Returns `adam` or `lamb`, with moments in float32.

    rate: step -> learning rate. lamb_scales: `kernels` gives LAMB's steps to kernels and Adam's to all other
    parameters, `all` gives LAMB's to all. weight_decay: of the parameters that take LAMB's steps. bias_correction: as
    config.optimizer. norm_clamp: the largest norm of a parameter that LAMB counts with, 0 for any.
    """
    if name == "adam" and bias_correction == "moments":
        return optax.adam(rate, b1=b1, b2=b2, eps=eps)
    plain = bias_correction == "moments" and not norm_clamp
    if plain and lamb_scales == "all":
        return optax.lamb(rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    moments = optax.scale_by_adam if bias_correction == "moments" else _scale_by_raw_moments
    parts = [moments(b1=b1, b2=b2, eps=eps)]
    if name == "lamb":
        ratio = _scale_by_clamped_ratio(norm_clamp) if norm_clamp else optax.scale_by_trust_ratio()
        masked = lamb_scales == "kernels"
        parts.append(optax.add_decayed_weights(weight_decay, mask=_kernels if masked else None))
        parts.append(optax.masked(ratio, _kernels) if masked else ratio)
    if bias_correction == "step":
        parts.append(optax.scale_by_schedule(lambda step: _correction(step + 1, b1, b2)))
    return optax.chain(*parts, optax.scale_by_learning_rate(rate))


def _scale_by_raw_moments(*, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Returns Adam's steps m / (sqrt(v) + eps) of moments that begin at zero, uncorrected."""

    def update(gradients: Any, state: optax.ScaleByAdamState, params: Any = None) -> tuple[Any, Any]:
        mu = jax.tree.map(lambda g, m: b1 * m + (1 - b1) * g, gradients, state.mu)
        nu = jax.tree.map(lambda g, v: b2 * v + (1 - b2) * g * g, gradients, state.nu)
        steps = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu)
        return steps, optax.ScaleByAdamState(state.count + 1, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1=b1, b2=b2, eps=eps).init, update)


def _correction(step: jax.Array, b1: float, b2: float) -> jax.Array:
    """Returns the factor of the learning rate that undoes the zeros that both moments begin with. step: from 1."""
    return jnp.sqrt(1 - b2**step) / (1 - b1**step)


def _scale_by_clamped_ratio(most: float) -> optax.GradientTransformation:
    """Scales the step of each parameter by the parameter's norm, at most `most`, over the norm of the step."""

    def scaled(step: jax.Array, parameter: jax.Array) -> jax.Array:
        size, norm = jnp.minimum(jnp.linalg.norm(parameter), most), jnp.linalg.norm(step)
        nothing = (size == 0) | (norm == 0)
        return step * jnp.where(nothing, 1.0, size / jnp.where(nothing, 1.0, norm))

    return optax.stateless_with_tree_map(scaled)


def _kernels(params: Any) -> Any:
    """Marks the kernels in a tree of parameters. Biases, and the scales and biases of norms, are not marked."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key.endswith("kernel"), params)
