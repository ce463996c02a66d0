"""Measures how fast training and extraction run on this machine's accelerator, and their share of its peak.

python -m benchmarks.accelerator --out=benchmarks/results/accelerator_NAME.json [--batch_size=1280]

It times a large matrix product, which is the ceiling. Then it times a whole training step fed with window numbers and
one fed with clips, extraction, cutting clips out of recordings on the device, the same with augmentation, the same with
spectrograms, and the forward pass of the network. Rates are medians over the repeats, in segments per second, with the
share of the ceiling that the network's multiplications reach. Recordings are random numbers, because only time is
measured. Compiling a step for a GPU tries many ways to convolve and takes half a minute.
"""

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import app, flags

from benchmarks import _result
from configs import full, small
from nafp.models import network
from nafp.training import augment, pipeline, resident, step

_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the numbers are only printed.")
_BATCH = flags.DEFINE_integer(
    "batch_size", 0, "Segments in a batch. Default: 0, which takes 1280 on an accelerator and 64 on CPU."
)
_NETWORKS = flags.DEFINE_list("networks", ["full", "small"], "The networks to measure, out of full and small.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Timed repeats of each part. Default: 10.")
_CONFIGS = {"full": full, "small": small}


def median_s(work: Callable[[], object], repeats: int) -> float:
    """Returns the median of the seconds that `work` takes, after two runs to warm up. It must wait for its result."""
    work(), work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def matrix_flops(dtype: Any, n: int, repeats: int) -> float:
    """Returns the FLOP/s of a matrix product of n x n random numbers."""
    a, b = (jax.random.normal(jax.random.key(i), (n, n)).astype(dtype) for i in (0, 1))
    product = jax.jit(lambda a, b: a @ b)
    return 2 * n**3 / median_s(lambda: product(a, b).block_until_ready(), repeats)


def copy_bytes_per_s(n_bytes: int, repeats: int) -> float:
    """Returns the bytes read and written per second by adding one to an array of n_bytes."""
    x = jax.random.normal(jax.random.key(0), (n_bytes // 4,))
    add = jax.jit(lambda x: x + 1)
    return 2 * n_bytes / median_s(lambda: add(x).block_until_ready(), repeats)


def forward_flops(config: ml_collections.ConfigDict) -> float:
    """Returns the multiplications and additions of one segment's forward pass, as XLA counts them in the plain form."""
    with config.unlocked():
        config.model.form = "lax"
    model = network.create(config, dtype="float32")
    variables = network.abstract_variables(config)
    mel = jax.ShapeDtypeStruct((1, *network.mel_shape(config)), jnp.float32)
    with jax.default_device(jax.devices("cpu")[0]):  # Other backends count nothing before they compile.
        return float((jax.jit(model.apply).lower(variables, mel).cost_analysis() or {})["flops"])


def random_clips(s: augment.Settings, n_pairs: int) -> pipeline.Batch:
    """Returns a batch of clips and noise as a host sends it, of random numbers."""
    rng = np.random.default_rng(0)
    sizes = {"clip": s.clip_samples, "noise": s.heard_samples}
    clips = {name: rng.integers(-9000, 9000, (n_pairs, n)).astype(np.int16) for name, n in sizes.items()}
    index = np.arange(n_pairs)
    return {**clips, "track": index.astype(np.int32), "position": index.astype(np.uint32)}


def random_recordings(s: augment.Settings, n_pairs: int) -> resident.Recordings:
    """Returns two hours of noise, with one window for each pair."""
    rng, cell = np.random.default_rng(2), s.sample_rate_hz // 2
    samples = rng.integers(-9000, 9000, (2 * 7200, cell)).astype(np.int16)
    row, offset = (rng.integers(0, n, n_pairs).astype(np.int32) for n in (2 * 7190, cell))
    zeros = np.zeros(n_pairs, np.int32)
    windows = resident.Places(row=row, offset=offset, left=zeros, right=zeros + s.clip_samples, track=zeros)
    noise = resident.Stretches(
        row=np.array([0, 2 * 3600], np.int32),
        n_samples=np.array([cell * 2 * 3600] * 2, np.int32),
        share=np.array([0.5, 1.0], np.float32),
        quiet=np.asarray(30.0, np.float32),
    )
    return resident.Recordings(samples, windows, added={"noise": noise})


def measure(config: ml_collections.ConfigDict, n_segments: int, repeats: int) -> Iterator[tuple[str, float]]:
    """Times the parts of training and extraction with one configuration. Yields (part, seconds per batch)."""
    cut = augment.settings(audio=config.audio, augment=config.augment)
    recipe = step.recipe_of(config, cut, total_steps=1000)
    rng = np.random.default_rng(1)
    rooms, microphones = (
        augment.bank(
            rng.standard_normal((50, n)).astype(np.float32) * 0.03,
            clip_samples=cut.heard_samples,
            kept_samples=cut.segment,
        )
        for n in (8000, 2000)
    )
    banks = step.Banks(rooms, microphones)
    clips = random_clips(cut, n_segments // 2)
    numbers = {"window": clips["track"], "position": clips["position"]}
    with_recordings = banks._replace(recordings=random_recordings(cut, n_segments // 2))
    n_mels, n_frames = network.mel_shape(config)
    state = step.initial(recipe, n_mels=n_mels, n_frames=n_frames)
    variables = {"params": jax.tree.map(np.asarray, state.params)}
    states = [step.replicate(state)]
    yield "training_step", time_training(recipe, states, numbers, step.replicate(with_recordings), repeats)
    yield "training_step_fed_with_clips", time_training(recipe, states, clips, step.replicate(banks), repeats)
    extractor = network.JaxNetwork(variables, config, batch_size=n_segments)
    audio = rng.standard_normal((n_segments, extractor.segment)).astype(np.float32)
    yield "extraction", median_s(lambda: extractor.start(audio).block_until_ready(), repeats)
    yield from time_hearing(recipe, numbers, jax.device_put(with_recordings), repeats)
    mels = jnp.asarray(rng.standard_normal((n_segments, n_mels, n_frames)), jnp.float32)
    forward = jax.jit(lambda v, m: recipe.model.apply(v, m))
    yield "forward", median_s(lambda: forward(variables, mels).block_until_ready(), repeats)


def time_hearing(
    recipe: step.Recipe, numbers: pipeline.Batch, banks: step.Banks, repeats: int
) -> Iterator[tuple[str, float]]:
    """Times cutting a batch, cutting and augmenting it, and all up to its spectrograms. Yields (part, seconds)."""

    def cut(batch: step.Batch, banks: step.Banks) -> step.Batch:
        assert banks.recordings is not None
        keys = step.keys_of(recipe.seed, batch["position"])
        return resident.read(recipe.augment, banks.recordings, keys, batch)

    def augmented(batch: step.Batch, banks: step.Banks) -> tuple[jax.Array, jax.Array]:
        keys = step.keys_of(recipe.seed, batch["position"])
        return step.heard(recipe.augment, keys, cut(batch, banks), banks)

    def mel(batch: step.Batch, banks: step.Banks) -> jax.Array:
        return step.spectrograms(recipe, cut(batch, banks), banks)

    parts: dict[str, Callable[..., Any]] = {"cut": cut, "cut_and_augment": augmented, "cut_to_mel": mel}
    for name, part in parts.items():
        yield name, median_s(functools.partial(_finish, functools.partial(jax.jit(part), numbers, banks)), repeats)


def _finish(work: Callable[[], Any]) -> None:
    jax.block_until_ready(work())


def time_training(
    recipe: step.Recipe, states: list[step.State], batch: pipeline.Batch, banks: step.Banks, repeats: int
) -> float:
    """Returns the seconds of one training step. states: one state on the devices, replaced by that of the last step."""
    mapped = step.mapped(recipe)

    def train() -> None:
        states[0], scores = mapped(states[0], step.split_over_devices(batch), banks)
        jax.block_until_ready(scores)

    return median_s(train, repeats)


def main(argv: list[str]) -> None:
    del argv
    device, on_cpu = jax.devices()[0], jax.default_backend() == "cpu"
    size = _BATCH.value or (64 if on_cpu else 1280)
    dtype = jnp.float32 if on_cpu else jnp.bfloat16
    peak = matrix_flops(dtype, 2048 if on_cpu else 8192, _REPEATS.value)
    numbers: dict[str, Any] = {
        "device": getattr(device, "device_kind", str(device)),
        "n_devices": jax.device_count(),
        "jax": jax.__version__,
        "batch_size": size,
        "matrix_product_flop_per_s": peak,
        "copy_byte_per_s": copy_bytes_per_s(2**28 if on_cpu else 2**33, _REPEATS.value),
    }
    print(f"{numbers['device']}: matrix product {peak / 1e12:.2f} TFLOP/s {jnp.dtype(dtype).name}", flush=True)
    for name in _NETWORKS.value:
        flops = forward_flops(_CONFIGS[name].get_config())
        rates, shares = {}, {}
        for part, seconds in measure(_CONFIGS[name].get_config(), size, _REPEATS.value):
            rates[part] = size / seconds
            passes = {"forward": 1, "training_step": 3}.get(part)  # The backward pass counts twice.
            if passes:
                shares[part] = passes * flops * rates[part] / peak
            share = f"  {100 * shares[part]:.1f} % of the matrix product" if passes else ""
            print(f"{name:7s} {part:28s} {rates[part]:10.0f} segments/s{share}", flush=True)
        numbers[name] = {"forward_flop": flops, "segments_per_s": rates, "share_of_matrix_product": shares}
    _result.write(numbers, _OUT.value)


if __name__ == "__main__":
    app.run(main)
