"""Adam and its learning rate, as AMG-Embedding trains."""

from __future__ import annotations

import optax


def cosine(first: float, last: float, *, total_steps: int) -> optax.Schedule:
    """Returns step -> learning rate, from `first` to `last` along half a cosine, and `last` from then on."""
    return optax.cosine_decay_schedule(first, max(total_steps, 1), alpha=last / first if first else 0.0)


def create(
    rate: optax.Schedule, *, weight_decay: float, b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
    """Returns Adam, whose weight decay is added to the gradient (PyTorch's Adam), not to the step (AdamW)."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(rate, b1=b1, b2=b2, eps=eps))
