"""How fast the network turns spectrograms into fingerprints on one core, against its rivals.

python -m benchmarks.encoder [--networks=full,narrow] [--torch_python=PATH] [--out=FILE.json]

Ours (the "gemm" form) against the same network in plain Flax Linen (`nn.Conv`) and in PyTorch, the same parameters
and spectrograms, float32; PyTorch as it comes and with an allocator that keeps its pages, the batch whole and in parts
of 8. All run in turn in every round, on one core, and CPU time counts: the medians of the rounds'
ratios hold on a machine that does other work too. The share is that of this machine's own matrix product.
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
_BATCH = flags.DEFINE_integer("batch_size", 32, "Segments in a batch.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds; each runs every network once.")
_TORCH = flags.DEFINE_string("torch_python", None, "Interpreter that has PyTorch; default: this.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")


def peak_flops(n: int = 1024) -> float:
    """FLOP/s of this core's matrix product in JAX, n x n, the median of fifteen."""
    a = jax.random.normal(jax.random.key(0), (n, n))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    seconds = [_one_core.cpu_s(lambda: product(a).block_until_ready()) for _ in range(15)]
    return 2 * n**3 / statistics.median(seconds)


def compiled(model, params: dict, mel: np.ndarray):
    """Returns a function that fingerprints `mel` and waits."""
    run = jax.jit(model.apply).lower({"params": params}, mel).compile()
    return lambda: run({"params": params}, mel).block_until_ready()


def compare(which: str, python: str | None) -> dict:
    """Times one network in all its forms. Returns the numbers, ready for JSON."""
    rng = np.random.default_rng(1)
    mel = rng.standard_normal((_BATCH.value, *_networks.MEL_SHAPE), np.float32)
    params = _networks.parameters(which)
    ours = compiled(_networks.ours(which), params, jnp.asarray(mel))
    linen = compiled(_networks.plain(which), _networks.for_plain(params), jnp.asarray(mel))
    works = {"ours": lambda: _one_core.cpu_s(ours), "linen": lambda: _one_core.cpu_s(linen)}
    difference = {"linen": float(jnp.abs(ours() - linen()).max())}
    rivals = _torch.rivals(python, which, params, mel)
    for name, rival in rivals.items():
        works[name] = functools.partial(rival.run, f"forward {_BATCH.value}")
        works[f"{name}_parts_of_8"] = functools.partial(rival.run, "forward 8")
        works[name]()
        difference[name] = float(np.abs(ours() - rival.result["fingerprints"]).max())
    measured = _one_core.interleaved({**works, "peak": peak_flops}, rounds=_ROUNDS.value)
    for rival in rivals.values():
        rival.close()
    return summary(which, measured, measured.pop("peak"), difference)


def summary(which: str, seconds: dict[str, list[float]], peaks: list[float], difference: dict[str, float]) -> dict:
    """Turns the rounds' seconds into rates, ratios and the share of the peak."""
    flops = _networks.flops(which)
    shares = [flops * _BATCH.value / s / p for s, p in zip(seconds["ours"], peaks)]
    return {
        "segments_per_core_second": {
            name: round(_BATCH.value / statistics.median(s), 1) for name, s in seconds.items()
        },
        "times_as_fast_as": _one_core.ratios(seconds, of="ours"),
        "largest_difference": difference,
        "gflop_per_segment": round(flops / 1e9, 3),
        "matrix_product_gflops": round(statistics.median(peaks) / 1e9, 1),
        "share_of_matrix_product": round(statistics.median(shares), 3),
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
        print(f"{which}: ours is {times}; {found['share_of_matrix_product']:.0%} of the peak,")
        print(f"  {found['matrix_product_gflops']} GFLOP/s; differences {found['largest_difference']}")
    _one_core.save(result, _OUT.value)


if __name__ == "__main__":
    app.run(main)
