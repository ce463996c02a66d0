"""How fast training and extraction run on this machine's accelerator, and what share of its peak that is.

python -m benchmarks.accelerator --out=benchmarks/results/accelerator_NAME.json [--batch_size=1280]

Prints medians over repeats of: a large matrix product (the ceiling), a whole training step fed with numbers and one
fed with clips, extraction, cutting clips out of recordings on the device, the same with augmentation, and with
spectrograms, and the network forward; in segments per second, with the share of the ceiling that the network's
multiplications take. Recordings are random numbers: only time is measured here. Compiling a step for a GPU tries many
ways to convolve: half a minute each.
"""

import functools
import json
import pathlib
import statistics
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from configs import full, small
from nafp.models import network
from nafp.training import augment, resident, step

_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")
_BATCH = flags.DEFINE_integer("batch_size", 0, "Segments in a batch; 0: 1280 on accelerators, 64 on CPU.")
_NETWORKS = flags.DEFINE_list("networks", ["full", "small"], "Which networks: full, small.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Timed repeats.")
_CONFIGS = {"full": full, "small": small}


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
    with jax.default_device(jax.devices("cpu")[0]):  # Others count nothing before they compile.
        return jax.jit(model.apply).lower(variables, mel).cost_analysis()["flops"]


def random_clips(s: augment.Settings, n_pairs: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = {"clip": s.clip_samples, "noise": s.heard_samples}
    clips = {k: rng.integers(-9000, 9000, (n_pairs, n)).astype(np.int16) for k, n in sizes.items()}
    index = np.arange(n_pairs)
    return {**clips, "track": index.astype(np.int32), "position": index.astype(np.uint32)}


def random_recordings(s: augment.Settings, n_pairs: int) -> resident.Recordings:
    """Two hours of noise, a window for every pair."""
    rng, cell = np.random.default_rng(2), s.sample_rate_hz // 2
    samples = rng.integers(-9000, 9000, (2 * 7200, cell)).astype(np.int16)
    row, offset = (rng.integers(0, n, n_pairs).astype(np.int32) for n in (2 * 7190, cell))
    left = np.zeros(n_pairs, np.int32)
    whole = left + s.clip_samples
    noise = resident.Stretches(
        row=np.int32([0, 2 * 3600]),
        n_samples=np.int32([cell * 2 * 3600] * 2),
        share=np.float32([0.5, 1.0]),
        quiet=np.float32(30.0),
    )
    return resident.Recordings(samples, resident.Places(row, offset, left, whole, left), noise, None)


def measure(config, n_segments: int, repeats: int) -> Iterator[tuple[str, float]]:
    """Times the parts of training and extraction with one configuration, one after another: (part, seconds)."""
    cut = augment.settings(audio=config.audio, augment=config.augment)
    recipe = step.recipe_of(config, cut, total_steps=1000)
    rng = np.random.default_rng(1)
    sizes = dict(clip_samples=cut.context + cut.segment, kept_samples=cut.segment)
    responses = [rng.standard_normal((50, n)).astype(np.float32) * 0.03 for n in (8000, 2000)]
    banks = step.Banks(*(augment.bank(r, **sizes) for r in responses))
    clips = random_clips(cut, n_segments // 2)
    numbers = {"window": clips["track"], "position": clips["position"]}
    lying = banks._replace(recordings=random_recordings(cut, n_segments // 2))
    n_mels, n_frames = network.mel_shape(config)
    state = step.initial(recipe, n_mels=n_mels, n_frames=n_frames)
    variables, held = {"params": jax.tree.map(np.asarray, state.params)}, [step.replicate(state)]
    for name, batch, there in (
        ("training_step", numbers, lying),
        ("training_step_fed_with_clips", clips, banks),
    ):
        yield name, time_training(recipe, held, batch, step.replicate(there), repeats)
    extractor = network.JaxNetwork(variables, config, batch_size=n_segments)
    audio = rng.standard_normal((n_segments, extractor.segment)).astype(np.float32)
    yield "extraction", median_s(lambda: extractor.start(audio).block_until_ready(), repeats)
    yield from time_hearing(recipe, numbers, jax.device_put(lying), repeats)
    mels = jnp.asarray(rng.standard_normal((n_segments, n_mels, n_frames)), jnp.float32)
    forward = jax.jit(lambda v, m: recipe.model.apply(v, m))
    yield "forward", median_s(lambda: forward(variables, mels).block_until_ready(), repeats)


def time_hearing(recipe, numbers, banks, repeats: int) -> Iterator[tuple[str, float]]:
    """Seconds until a batch is cut, until it is augmented too, and until it is spectrograms."""

    def cut(batch, banks):
        keys = step.keys_of(recipe.seed, batch["position"])
        return keys, resident.read(recipe.augment, banks.recordings, keys, batch)

    def heard(batch, banks):
        return step.heard(recipe.augment, *cut(batch, banks), banks)

    def seen(batch, banks):
        return step.spectrograms(recipe, cut(batch, banks)[1], banks)

    parts = {"cut": lambda b, k: cut(b, k)[1], "cut_and_augment": heard, "cut_to_mel": seen}
    for name, part in parts.items():
        work = functools.partial(jax.jit(part), numbers, banks)
        yield name, median_s(functools.partial(_waited, work), repeats)


def _waited(work) -> None:
    jax.block_until_ready(work())


def time_training(recipe, held: list, batch, banks, repeats: int) -> float:
    mapped = step.mapped(recipe)

    def train() -> None:
        held[0], scores = mapped(held[0], step.split_over_devices(batch), banks)
        jax.block_until_ready(scores)

    return median_s(train, repeats)


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
        rates, shares = {}, {}
        for part, seconds in measure(_CONFIGS[name].get_config(), size, _REPEATS.value):
            rates[part] = size / seconds
            passes = {"forward": 1, "training_step": 3}.get(part)  # Back is twice forth.
            if passes:
                shares[part] = passes * flops * rates[part] / peak
            share = f"  {100 * shares[part]:.1f} % of the matrix product" if passes else ""
            print(f"{name:7s} {part:28s} {rates[part]:10.0f} segments/s{share}", flush=True)
        numbers[name] = {
            "forward_flop": flops,
            "segments_per_s": rates,
            "share_of_matrix_product": shares,
        }
    if _OUT.value:
        pathlib.Path(_OUT.value).write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
