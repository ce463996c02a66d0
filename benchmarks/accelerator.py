"""How fast training and extraction run on this machine's accelerator, and what share of its peak that is.

python -m benchmarks.accelerator --out=benchmarks/results/accelerator_NAME.json [--batch_size=1280]

Prints medians over repeats of: a large matrix product (the ceiling), the memory's copy rate, augmentation alone,
the network forward, a whole training step, and extraction; in segments per second, with the share of the ceiling that
the network's multiplications take. Clips are random numbers: only time is measured here.
"""

import json
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from configs import default, narrow
from nafp.models import network
from nafp.training import augment, step

_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")
_BATCH = flags.DEFINE_integer(
    "batch_size", 0, "Segments in a batch; 0: 1280 on accelerators, 64 on CPU."
)
_NETWORKS = flags.DEFINE_list("networks", ["full", "narrow"], "Which networks: full, narrow.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Timed repeats.")
_CONFIGS = {"full": default, "narrow": narrow}


def median_s(work, repeats: int) -> float:
    """Runs `work` (which must wait for its result) twice to warm up, then times it."""
    work(), work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def matrix_flops(dtype, n: int, repeats: int) -> float:
    """FLOP/s of an n x n product of random numbers."""
    a, b = (jax.random.normal(jax.random.key(i), (n, n)).astype(dtype) for i in (0, 1))
    product = jax.jit(lambda a, b: a @ b)
    return 2 * n**3 / median_s(lambda: product(a, b).block_until_ready(), repeats)


def copy_bytes_per_s(n_bytes: int, repeats: int) -> float:
    """Bytes read plus written per second by adding one to a large array."""
    x = jax.random.normal(jax.random.key(0), (n_bytes // 4,))
    add = jax.jit(lambda x: x + 1)
    return 2 * n_bytes / median_s(lambda: add(x).block_until_ready(), repeats)


def forward_flops(config) -> float:
    """Multiplications and additions of one segment's forward pass, as XLA counts them in the plain form."""
    with config.unlocked():
        config.model.form = "lax"
    model = network.create(config, dtype="float32")
    variables = network.abstract_variables(config)
    mel = jax.ShapeDtypeStruct((1, *network.mel_shape(config)), jnp.float32)
    return jax.jit(model.apply).lower(variables, mel).cost_analysis()["flops"]


def random_batch(s: augment.Settings, n_pairs: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = {"clip": s.context + s.segment + 2 * s.margin, "noise": s.context + s.segment}
    clips = {k: rng.integers(-9000, 9000, (n_pairs, n)).astype(np.int16) for k, n in sizes.items()}
    index = np.arange(n_pairs)
    return {**clips, "track": index.astype(np.int32), "position": index.astype(np.uint32)}


def measure(config, n_segments: int, repeats: int) -> dict[str, float]:
    """Times the parts of training and extraction with one configuration; segments per second."""
    with config.unlocked():
        config.augment.speed = 0.05
    cut = augment.settings(audio=config.audio, augment=config.augment)
    recipe = step.recipe_of(config, cut, total_steps=1000)
    n_mels, n_frames = network.mel_shape(config)
    rng = np.random.default_rng(1)
    sizes = dict(clip_samples=cut.context + cut.segment, kept_samples=cut.segment)
    responses = [rng.standard_normal((50, n)).astype(np.float32) * 0.03 for n in (8000, 2000)]
    banks = step.Banks(*(augment.bank(r, **sizes) for r in responses))
    batch = jax.device_put(random_batch(cut, n_segments // 2))
    hearing = jax.jit(lambda b, k: step.spectrograms(recipe, b, k))
    mels = hearing(batch, banks)
    state = step.initial(recipe, n_mels=n_mels, n_frames=n_frames)
    variables = {"params": state.params}
    forward = jax.jit(lambda v, m: recipe.model.apply(v, m))
    seconds = {
        "augment_and_mel": median_s(lambda: hearing(batch, banks).block_until_ready(), repeats),
        "forward": median_s(lambda: forward(variables, mels).block_until_ready(), repeats),
    }
    mapped, held = step.mapped(recipe), [step.replicate(state)]
    banks, host_batch = (
        step.replicate(banks),
        step.split_over_devices(random_batch(cut, n_segments // 2)),
    )

    def train() -> None:
        held[0], scores = mapped(held[0], host_batch, banks)
        jax.block_until_ready(scores)

    seconds["training_step"] = median_s(train, repeats)
    extractor = network.Extractor(variables, config, batch_size=n_segments)
    audio = rng.standard_normal((n_segments, extractor.segment)).astype(np.float32)
    seconds["extraction"] = median_s(lambda: extractor.start(audio).block_until_ready(), repeats)
    return {name: n_segments / s for name, s in seconds.items()}


def main(argv: list[str]) -> None:
    del argv
    device, on_cpu = jax.devices()[0], jax.default_backend() == "cpu"
    size = _BATCH.value or (64 if on_cpu else 1280)
    dtype = jnp.float32 if on_cpu else jnp.bfloat16
    numbers = {
        "device": getattr(device, "device_kind", str(device)),
        "n_devices": jax.device_count(),
        "jax": jax.__version__,
        "batch_size": size,
        "matrix_product_flop_per_s": matrix_flops(dtype, 2048 if on_cpu else 8192, _REPEATS.value),
        "copy_byte_per_s": copy_bytes_per_s(2**28 if on_cpu else 2**33, _REPEATS.value),
    }
    peak = numbers["matrix_product_flop_per_s"]
    print(
        f"{numbers['device']}: matrix product {peak / 1e12:.2f} TFLOP/s {jnp.dtype(dtype).name}",
        flush=True,
    )
    for name in _NETWORKS.value:
        flops = forward_flops(_CONFIGS[name].get_config())
        rates = measure(_CONFIGS[name].get_config(), size, _REPEATS.value)
        shares = {
            "forward": flops * rates["forward"] / peak,
            "training_step": 3 * flops * rates["training_step"] / peak,
        }
        numbers[name] = {
            "forward_flop": flops,
            "segments_per_s": rates,
            "share_of_matrix_product": shares,
        }
        for part, rate in rates.items():
            share = f"  {100 * shares[part]:.1f} % of the matrix product" if part in shares else ""
            print(f"{name:7s} {part:16s} {rate:10.0f} segments/s{share}", flush=True)
    if _OUT.value:
        pathlib.Path(_OUT.value).write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
