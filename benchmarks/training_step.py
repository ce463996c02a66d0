"""Measures how fast forward pass, NT-Xent loss and backward pass run on one core, beside Linen and PyTorch.

python -m benchmarks.training_step [--networks=full,narrow] [--torch_python=PATH] [--out=FILE.json]

A work turns a batch of spectrograms, half of them replicas, into the gradients of all parameters. No optimizer runs.
Our network is the "gemm" form with its backward pass by hand. The rivals are plain Flax Linen and PyTorch, as it comes
and with an allocator that keeps its pages. All run in turn in every round, on one core. CPU time counts, and ratios are
medians over the rounds.
"""

from benchmarks import _ends, _one_core

_one_core.pin()  # Must come before JAX counts the cores.

import functools  # noqa: E402
import statistics  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from benchmarks import _networks, _result, _torch  # noqa: E402

_NETWORKS = flags.DEFINE_list("networks", ["full", "narrow"], "The networks to measure, out of full and narrow.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Segments in a batch, half of them replicas. Default: 128.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds. Each runs every form of a network once. Default: 3.")
_TORCH = flags.DEFINE_string(
    "torch_python", None, "The interpreter that has PyTorch. Default: the present one, if it has PyTorch."
)
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the numbers are only printed.")


def compiled(model: Any, params: dict, mel: jax.Array) -> Callable[[], tuple[jax.Array, Any]]:
    """Returns a function that computes (loss, gradients) of `mel` [B, F, T] and waits for them."""

    def loss(params: dict) -> jax.Array:
        return _networks.nt_xent(model.apply({"params": params}, mel))

    run = jax.jit(jax.value_and_grad(loss)).lower(params).compile()
    return lambda: jax.block_until_ready(run(params))


def forward_compiled(model: Any, params: dict, mel: jax.Array) -> Callable[[], jax.Array]:
    """Returns a function that only fingerprints `mel` [B, F, T] and waits for the result."""
    run = jax.jit(model.apply).lower({"params": params}, mel).compile()
    return lambda: run({"params": params}, mel).block_until_ready()


def compare(which: str, python: str | None) -> dict[str, Any]:
    """Times the step of one network in all its forms. Returns the numbers for JSON."""
    rng = np.random.default_rng(1)
    mel = rng.standard_normal((_BATCH.value, *_networks.MEL_SHAPE), np.float32)
    params = _networks.parameters(which)
    ours = compiled(_networks.ours(which), params, jnp.asarray(mel))
    linen = compiled(_networks.plain(which), _networks.for_plain(params), jnp.asarray(mel))
    forward = forward_compiled(_networks.ours(which), params, jnp.asarray(mel))
    passes: dict[str, Callable[[], object]] = {"ours": ours, "ours_forward_only": forward, "linen": linen}
    works: dict[str, Callable[[], float]] = {
        name: functools.partial(_one_core.cpu_s, work) for name, work in passes.items()
    }
    gradient = ours()[1]["block2_time"]["kernel"]
    difference = {"linen": relative(linen()[1]["Conv_2"]["kernel"], gradient)}
    rivals = _torch.rivals(python, which, params, mel)
    for name, rival in rivals.items():
        works[name] = functools.partial(rival.run, "train")
        works[name]()
        difference[name] = relative(rival.result["gradient"], gradient)
    seconds = _one_core.interleaved(works, rounds=_ROUNDS.value)
    for rival in rivals.values():
        rival.close()
    return summary(seconds, difference)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the largest difference of two arrays, relative to the largest entry of b."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def summary(seconds: dict[str, list[float]], difference: dict[str, float]) -> dict[str, Any]:
    """Computes rates and ratios from the seconds of all rounds."""
    forward = seconds.pop("ours_forward_only")
    return {
        "segments_per_core_second": {
            name: round(_BATCH.value / statistics.median(times), 1) for name, times in seconds.items()
        },
        "times_as_fast_as": _one_core.ratios(seconds, of="ours"),
        "times_own_forward": round(statistics.median(a / b for a, b in zip(seconds["ours"], forward)), 2),
        "relative_difference_of_a_gradient": difference,
    }


def main() -> None:
    python = _torch.interpreter(_TORCH.value)
    result: dict[str, Any] = {
        "machine": _one_core.machine(),
        "batch_size": _BATCH.value,
        "rounds": _ROUNDS.value,
    }
    print(f"one core of {result['machine']['cores']}, {result['machine']['processor']}")
    for which in _NETWORKS.value:
        result[which] = numbers = compare(which, python)
        rates = ", ".join(f"{name} {rate}" for name, rate in numbers["segments_per_core_second"].items())
        times = ", ".join(f"{ratio} x {name}" for name, ratio in numbers["times_as_fast_as"].items())
        print(f"{which}: segments per core-second: {rates}")
        print(f"{which}: ours is {times}, and {numbers['times_own_forward']} x its own forward pass;")
        print(f"  a gradient differs by {numbers['relative_difference_of_a_gradient']}")
    _result.write(result, _OUT.value)


if __name__ == "__main__":
    _ends.run(main)
