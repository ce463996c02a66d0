"""Measures how fast the network turns spectrograms into fingerprints on one core, beside its rivals.

python -m benchmarks.encoder [--networks=full,narrow] [--torch_python=PATH] [--out=FILE.json]

Our network (the "gemm" form) is compared with the same network in plain Flax Linen (`nn.Conv`) and in PyTorch. All get
the same parameters and spectrograms, in float32. PyTorch runs as it comes and with an allocator that keeps its pages,
and takes the batch whole and in parts of 8. All run in turn in every round, on one core. CPU time counts, and ratios
are medians over the rounds, so they hold on a machine that does other work too. The share of the peak is relative to
JAX's matrix product on the same core.
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
_BATCH = flags.DEFINE_integer("batch_size", 32, "Segments in a batch. Default: 32.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds. Each runs every form of a network once. Default: 7.")
_TORCH = flags.DEFINE_string(
    "torch_python", None, "The interpreter that has PyTorch. Default: the present one, if it has PyTorch."
)
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the numbers are only printed.")


def peak_flops(n: int = 1024) -> float:
    """Returns the FLOP/s of JAX's matrix product of n x n on this core, the median of fifteen."""
    a = jax.random.normal(jax.random.key(0), (n, n))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    seconds = [_one_core.cpu_s(lambda: product(a).block_until_ready()) for _ in range(15)]
    return 2 * n**3 / statistics.median(seconds)


def compiled(model: Any, params: dict, mel: jax.Array) -> Callable[[], jax.Array]:
    """Returns a function that fingerprints `mel` [B, F, T] and waits for the result."""
    run = jax.jit(model.apply).lower({"params": params}, mel).compile()
    return lambda: run({"params": params}, mel).block_until_ready()


def compare(which: str, python: str | None) -> dict[str, Any]:
    """Times one network in all its forms. Returns the numbers for JSON."""
    rng = np.random.default_rng(1)
    mel = rng.standard_normal((_BATCH.value, *_networks.MEL_SHAPE), np.float32)
    params = _networks.parameters(which)
    ours = compiled(_networks.ours(which), params, jnp.asarray(mel))
    linen = compiled(_networks.plain(which), _networks.for_plain(params), jnp.asarray(mel))
    works: dict[str, Callable[[], float]] = {
        "ours": lambda: _one_core.cpu_s(ours),
        "linen": lambda: _one_core.cpu_s(linen),
    }
    difference = {"linen": float(jnp.abs(ours() - linen()).max())}
    rivals = _torch.rivals(python, which, params, mel)
    for name, rival in rivals.items():
        works[name] = functools.partial(rival.run, f"forward {_BATCH.value}")
        works[f"{name}_parts_of_8"] = functools.partial(rival.run, "forward 8")
        works[name]()
        difference[name] = float(np.abs(ours() - rival.result["fingerprints"]).max())
    seconds = _one_core.interleaved({**works, "peak": peak_flops}, rounds=_ROUNDS.value)
    peaks = seconds.pop("peak")
    for rival in rivals.values():
        rival.close()
    return summary(which, seconds, peaks, difference)


def summary(
    which: str, seconds: dict[str, list[float]], peaks: list[float], difference: dict[str, float]
) -> dict[str, Any]:
    """Computes rates, ratios and the share of the peak from the seconds of all rounds."""
    flops = _networks.flops(which)
    shares = [flops * _BATCH.value / ours_s / peak for ours_s, peak in zip(seconds["ours"], peaks)]
    return {
        "segments_per_core_second": {
            name: round(_BATCH.value / statistics.median(times), 1) for name, times in seconds.items()
        },
        "times_as_fast_as": _one_core.ratios(seconds, of="ours"),
        "largest_difference": difference,
        "gflop_per_segment": round(flops / 1e9, 3),
        "matrix_product_gflops": round(statistics.median(peaks) / 1e9, 1),
        "share_of_matrix_product": round(statistics.median(shares), 3),
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
        print(f"{which}: ours is {times}; {numbers['share_of_matrix_product']:.0%} of the peak,")
        print(f"  {numbers['matrix_product_gflops']} GFLOP/s; differences {numbers['largest_difference']}")
    _result.write(result, _OUT.value)


if __name__ == "__main__":
    _ends.run(main)
