"""Measures how fast training and extraction run on this machine's accelerator, and how far each part is from its peak.

python -m benchmarks.accelerator --out=benchmarks/results/accelerator_NAME.json [--scale=whole] [--batch_size=1280]

It times a large matrix product and a copy, which are the ceilings. Then it times a whole training step fed with window
numbers and one fed with clips, extraction, cutting clips out of recordings on the device, the same with augmentation,
the same with spectrograms, and the forward pass of the network. Rates are medians over the repeats, in segments per
second, with the share of the ceiling that the network's multiplications reach.

Then each part of a step is measured alone on one device: cut, augment, front end, network forwards, network forwards
and backwards, loss, optimiser. The table has its time, its operations and bytes, which of the two binds it, and which
share of that bound (the roofline) it reaches. `in_flight` is the time of a step when several are under way.

Recordings are random numbers, because only time is measured. Compiling a step for a GPU tries many ways to convolve and
takes half a minute.

On a CPU nearly all the time is compiling. So the scale is `short` there: the small network alone, 8 segments in a
batch, and what needs another compilation of the augmentation is left out (`training_step_fed_with_clips`,
`cut_and_augment`, `cut_to_mel`). It shows that all parts run, and what they read and compute. Their shares of the
roofline are those of a tiny batch. `--scale=whole` measures all. --out has every line as soon as it is measured.
"""

import collections
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from absl import flags

from benchmarks import _ends, _result, _roofline
from benchmarks._roofline import median_s
from configs import full, small
from nafp.models import network
from nafp.training import augment, in_flight, pipeline, resident, step

_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the numbers are only printed.")
_BATCH = flags.DEFINE_integer(
    "batch_size", 0, "Segments in a batch. Default: 0, which takes 1280 on an accelerator, 64 on CPU, 8 if short."
)
_SCALE = flags.DEFINE_enum("scale", "auto", ["auto", "whole", "short"], "How much to measure. Default: short on CPU.")
_NETWORKS = flags.DEFINE_list("networks", None, "The networks to measure. Default: full,small, or small if short.")
_REPEATS = flags.DEFINE_integer("repeats", 0, "Timed repeats of each part. Default: 0, which takes 10, or 3 if short.")
_IN_A_ROW = 8  # Steps that are timed together where several are under way.
_CONFIGS = {"full": full, "small": small}
Stepped = Callable[[step.State, pipeline.Batch, step.Banks], tuple[step.State, dict[str, jax.Array]]]


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


class Setting(NamedTuple):
    """What is measured: a recipe, its state, and batches of random numbers. banks: with recordings on the device."""

    recipe: step.Recipe
    state: step.State
    banks: step.Banks
    clips: pipeline.Batch
    numbers: pipeline.Batch
    mels: np.ndarray


def setting(config: ml_collections.ConfigDict, n_segments: int) -> Setting:
    """Makes what a configuration computes with, for batches of n_segments."""
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
    clips = random_clips(cut, n_segments // 2)
    numbers = {"window": clips["track"], "position": clips["position"]}
    n_mels, n_frames = network.mel_shape(config)
    state = step.initial(recipe, n_mels=n_mels, n_frames=n_frames)
    banks = step.Banks(rooms, microphones, random_recordings(cut, n_segments // 2))
    mels = rng.standard_normal((n_segments, n_mels, n_frames)).astype(np.float32)
    return Setting(recipe, state, banks, clips, numbers, mels)


def parts(made: Setting, repeats: int) -> Iterator[_roofline.Part]:
    """Measures each part of a training step alone, on one device. Together they are a step, but for what XLA fuses."""
    recipe, state, banks, _, numbers, mels = made
    clips = jax.tree.map(np.asarray, jax.jit(lambda n, b: _cut(recipe, n, b))(numbers, banks))
    sounds = [np.zeros((len(mels) // 2, recipe.augment.segment), np.float32)] * 2

    def augmented(batch: step.Batch, banks: step.Banks) -> Any:
        return step.heard(recipe.augment, step.keys_of(recipe.seed, batch["position"]), batch, banks)

    def front_end(positions: jax.Array, anchors: jax.Array, replicas: jax.Array) -> Any:
        return step.seen(recipe, step.mask_keys(recipe, positions), anchors, replicas)

    def forward(params: Any, mels: jax.Array) -> Any:
        return recipe.model.apply({"params": params, "batch_stats": state.batch_stats}, mels)

    def both(params: Any, mels: jax.Array) -> Any:
        z, pull = jax.vjp(lambda p: forward(p, mels), params)
        return z, pull(z)[0]

    def loss(z: jax.Array, tracks: jax.Array) -> Any:
        return step.loss_share(recipe, z, tracks, state.past)[:3]

    def optimiser(params: Any, moments: Any, grads: Any) -> Any:
        updates, moments = recipe.optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), moments

    z = np.asarray(jax.jit(forward)(state.params, mels))
    measured = functools.partial(_roofline.measured, axis=step.AXIS, repeats=repeats)
    yield measured("cut", functools.partial(_cut, recipe), numbers, banks, picks=True)
    yield measured("augment", augmented, clips, banks._replace(recordings=None))
    yield measured("front_end", front_end, clips["position"], *sounds)
    yield measured("network_forward", forward, state.params, mels)
    yield measured("network_both_ways", both, state.params, mels)
    yield measured("loss", loss, z, clips["track"])
    yield measured("optimiser", optimiser, state.params, state.optimizer, state.params)


def _cut(recipe: step.Recipe, batch: step.Batch, banks: step.Banks) -> step.Batch:
    assert banks.recordings is not None
    return resident.read(recipe.augment, banks.recordings, step.keys_of(recipe.seed, batch["position"]), batch)


def measure(
    config: ml_collections.ConfigDict, made: Setting, n_segments: int, repeats: int, *, is_short: bool
) -> Iterator[tuple[str, float]]:
    """Times training and extraction with one configuration. Yields (part, seconds per batch).

    is_short: leaves out what needs another compilation of the augmentation.
    """
    recipe, state, with_recordings, clips, numbers, mels = made
    banks, rng = with_recordings._replace(recordings=None), np.random.default_rng(3)
    variables = {"params": jax.tree.map(np.asarray, state.params)}
    states, mapped = [step.replicate(state)], step.mapped(recipe)
    yield "training_step", time_training(mapped, states, numbers, step.replicate(with_recordings), repeats)
    yield "in_flight", time_in_flight(mapped, states, numbers, step.replicate(with_recordings), repeats)
    if not is_short:
        yield "training_step_fed_with_clips", time_training(mapped, states, clips, step.replicate(banks), repeats)
    extractor = network.JaxNetwork(variables, config, batch_size=n_segments)
    audio = rng.standard_normal((n_segments, extractor.segment)).astype(np.float32)
    yield "extraction", median_s(lambda: extractor.start(audio).block_until_ready(), repeats)
    if not is_short:
        yield from time_hearing(recipe, numbers, jax.device_put(with_recordings), repeats)
    forward, on_device = jax.jit(lambda v, m: recipe.model.apply(v, m)), jnp.asarray(mels)
    yield "forward", median_s(lambda: forward(variables, on_device).block_until_ready(), repeats)


def time_hearing(
    recipe: step.Recipe, numbers: pipeline.Batch, banks: step.Banks, repeats: int
) -> Iterator[tuple[str, float]]:
    """Times cutting a batch, cutting and augmenting it, and all up to its spectrograms. Yields (part, seconds)."""

    cut = functools.partial(_cut, recipe)

    def augmented(batch: step.Batch, banks: step.Banks) -> tuple[jax.Array, jax.Array]:
        keys = step.keys_of(recipe.seed, batch["position"])
        return step.heard(recipe.augment, keys, cut(batch, banks), banks)

    def mel(batch: step.Batch, banks: step.Banks) -> jax.Array:
        return step.spectrograms(recipe, cut(batch, banks), banks)

    stages: dict[str, Callable[..., Any]] = {"cut": cut, "cut_and_augment": augmented, "cut_to_mel": mel}
    for name, part in stages.items():
        yield name, median_s(functools.partial(_finish, functools.partial(jax.jit(part), numbers, banks)), repeats)


def _finish(work: Callable[[], Any]) -> None:
    jax.block_until_ready(work())


def time_training(
    mapped: Stepped, states: list[step.State], batch: pipeline.Batch, banks: step.Banks, repeats: int
) -> float:
    """Returns the seconds of one training step. states: one state on the devices, replaced by that of the last step."""

    def train() -> None:
        states[0], scores = mapped(states[0], step.split_over_devices(batch), banks)
        jax.block_until_ready(scores)

    return median_s(train, repeats)


def time_in_flight(
    mapped: Stepped, states: list[step.State], batch: pipeline.Batch, banks: step.Banks, repeats: int
) -> float:
    """Returns the seconds of one training step when as many are under way as training has on this machine."""
    flying = in_flight.most(0)
    waiting: collections.deque[Any] = collections.deque()

    def train() -> None:
        states[0], scores = mapped(states[0], step.split_over_devices(batch), banks)
        waiting.append(scores)
        if len(waiting) >= flying:
            jax.block_until_ready(waiting.popleft())

    def several() -> None:
        for _ in range(_IN_A_ROW):
            train()
        jax.block_until_ready(list(waiting))
        waiting.clear()

    return median_s(several, max(1, repeats // _IN_A_ROW)) / _IN_A_ROW


def main() -> None:
    on_cpu = jax.default_backend() == "cpu"
    is_short = _SCALE.value == "short" or (_SCALE.value == "auto" and on_cpu)
    size, repeats = (
        _BATCH.value or (8 if is_short else 64 if on_cpu else 1280),
        _REPEATS.value or (3 if is_short else 10),
    )
    most = _roofline.ceilings(
        jnp.float32 if on_cpu else jnp.bfloat16,
        n=2048 if on_cpu else 8192,
        n_bytes=2**28 if on_cpu else 2**33,
        repeats=repeats,
    )
    numbers = about(size, most, on_cpu=on_cpu, is_short=is_short)
    for name in _NETWORKS.value or (["small"] if is_short else ["full", "small"]):
        numbers[name] = {"segments_per_s": {}, "share_of_matrix_product": {}, "parts": {}}
        for _ in measured(name, numbers[name], most, size, repeats, is_short=is_short):
            _result.write(numbers, _OUT.value)


def about(size: int, most: _roofline.Ceilings, *, on_cpu: bool, is_short: bool) -> dict[str, Any]:
    """Prints and returns what is measured on which device, and its ceilings."""
    device, dtype = jax.devices()[0], "float32" if on_cpu else "bfloat16"
    numbers = {
        "device": getattr(device, "device_kind", str(device)),
        "n_devices": jax.device_count(),
        "jax": jax.__version__,
        "scale": "short" if is_short else "whole",
        "batch_size": size,
        "matrix_product_flop_per_s": most.flop_per_s,
        "copy_byte_per_s": most.byte_per_s,
    }
    print(
        f"{numbers['device']}: matrix product {most.flop_per_s / 1e12:.2f} TFLOP/s {dtype}, "
        f"copy {most.byte_per_s / 1e9:.1f} GB/s",
        flush=True,
    )
    return numbers


def measured(
    name: str, found: dict[str, Any], most: _roofline.Ceilings, size: int, repeats: int, *, is_short: bool
) -> Iterator[None]:
    """Measures one network, prints each line, and puts it into `found`. Yields after each."""
    config = _CONFIGS[name].get_config()
    flops, made = forward_flops(_CONFIGS[name].get_config()), setting(config, size)
    found["forward_flop"] = flops
    for label, seconds in measure(config, made, size, repeats, is_short=is_short):
        rate = found["segments_per_s"][label] = size / seconds
        passes = {"forward": 1, "training_step": 3}.get(label)  # The backward pass counts twice.
        share = ""
        if passes:
            reached = found["share_of_matrix_product"][label] = passes * flops * rate / most.flop_per_s
            share = f"  {100 * reached:.1f} % of the matrix product"
        print(f"{name:7s} {label:28s} {rate:10.0f} segments/s{share}", flush=True)
        yield
    for part in parts(made, repeats):
        told = found["parts"][part.name] = part.told(most, size)
        print(
            f"{name:7s} {part.name:28s} {told['segments_per_s']:10.0f} segments/s  {part.flop / 1e9:9.2f} GFLOP  "
            f"{part.bytes / 1e6:9.1f} MB ({part.least_bytes / 1e6:.1f} at least)  bound by {told['bound_by']}, "
            f"{100 * told['share_of_roofline']:.1f} % of it",
            flush=True,
        )
        yield


if __name__ == "__main__":
    _ends.run(main)
