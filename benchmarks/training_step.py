"""How fast forward, NT-Xent loss and backward run on one core, against the same in Linen and PyTorch.

python -m benchmarks.training_step [--networks=full,narrow] [--torch_python=PATH] [--out=FILE.json]

A batch of two views, spectrograms in, gradients of all parameters out; no optimiser on either side. Ours is the "gemm"
form with its backward pass by hand, the rivals are plain Flax Linen and PyTorch, as it comes and with an allocator
that keeps its pages. All run in turn in every round, on one core; CPU time counts, medians of the rounds' ratios.
"""

from benchmarks import _one_core

_one_core.pin()  # Before JAX counts the cores.

import functools  # noqa: E402
import statistics  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from benchmarks import _networks, _torch  # noqa: E402

_NETWORKS = flags.DEFINE_list("networks", ["full", "narrow"], "Which networks: full, narrow.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Segments in a batch, half of them replicas.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds; each runs every network once.")
_TORCH = flags.DEFINE_string("torch_python", None, "Interpreter that has PyTorch; default: this.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")


def compiled(model, params: dict, mel: jax.Array):
    """Returns a function that computes (loss, gradients) and waits."""

    def loss(params):
        return _networks.nt_xent(model.apply({"params": params}, mel))

    run = jax.jit(jax.value_and_grad(loss)).lower(params).compile()
    return lambda: jax.block_until_ready(run(params))


def forward_compiled(model, params: dict, mel: jax.Array):
    """Returns a function that only fingerprints and waits."""
    run = jax.jit(model.apply).lower({"params": params}, mel).compile()
    return lambda: run({"params": params}, mel).block_until_ready()


def compare(which: str, python: str | None) -> dict:
    """Times one network's step in all its forms. Returns the numbers, ready for JSON."""
    rng = np.random.default_rng(1)
    mel = rng.standard_normal((_BATCH.value, *_networks.MEL_SHAPE), np.float32)
    params = _networks.parameters(which)
    ours = compiled(_networks.ours(which), params, jnp.asarray(mel))
    linen = compiled(_networks.plain(which), _networks.for_plain(params), jnp.asarray(mel))
    forward = forward_compiled(_networks.ours(which), params, jnp.asarray(mel))
    works = {"ours": ours, "ours_forward_only": forward, "linen": linen}
    works = {name: lambda work=work: _one_core.cpu_s(work) for name, work in works.items()}
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
    """Largest difference as a share of the largest entry."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def summary(seconds: dict[str, list[float]], difference: dict[str, float]) -> dict:
    """Turns the rounds' seconds into rates and ratios."""
    forward = seconds.pop("ours_forward_only")
    return {
        "segments_per_core_second": {
            name: round(_BATCH.value / statistics.median(s), 1) for name, s in seconds.items()
        },
        "times_as_fast_as": _one_core.ratios(seconds, of="ours"),
        "times_own_forward": round(statistics.median(a / b for a, b in zip(seconds["ours"], forward)), 2),
        "relative_difference_of_a_gradient": difference,
    }


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise app.UsageError(f"unknown arguments {argv[1:]}: settings are --name=value")
    python = _torch.interpreter(_TORCH.value)
    result = {"machine": _one_core.machine(), "batch_size": _BATCH.value, "rounds": _ROUNDS.value}
    print(f"one core of {result['machine']['cores']}, {result['machine']['processor']}")
    for which in _NETWORKS.value:
        result[which] = found = compare(which, python)
        rates = ", ".join(f"{k} {v}" for k, v in found["segments_per_core_second"].items())
        times = ", ".join(f"{v} x {k}" for k, v in found["times_as_fast_as"].items())
        print(f"{which}: segments per core-second: {rates}")
        print(f"{which}: ours is {times}, and {found['times_own_forward']} x its own forward pass;")
        print(f"  a gradient differs by {found['relative_difference_of_a_gradient']}")
    _one_core.save(result, _OUT.value)


if __name__ == "__main__":
    app.run(main)
