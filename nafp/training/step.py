"""One training step on one device, and its mapping over all of them.

The step is written once with the axis name "data": fingerprints are gathered so that the loss sees the global batch,
gradients are summed. `mapped` is the only place that knows about devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from nafp.models import network, spectrogram
from nafp.training import augment, losses, optimizers, resident

AXIS = "data"


class Past(NamedTuple):
    """Anchors of the steps before, newest first: fingerprints [M, D] and their tracks [M], -1 where none is yet."""

    z: jax.Array
    tracks: jax.Array


class State(NamedTuple):
    """What a step changes. params and batch_stats: the network's; step: int32; past: None unless the loss asks."""

    step: jax.Array
    params: Any
    batch_stats: Any
    optimizer: Any
    past: Past | None = None


class Banks(NamedTuple):
    """Responses on the device, and the recordings where they lie there; None where there are none."""

    rooms: augment.Bank | None
    microphones: augment.Bank | None
    recordings: resident.Laid | None = None


class Recipe(NamedTuple):
    """What a step is made of, unpacked from the configuration once."""

    model: Any
    optimizer: optax.GradientTransformation
    augment: augment.Settings
    mel: dict[str, Any]
    seed: int
    temperature: float
    mask_same_track: bool
    memory: int
    micro_batch: int


def recipe_of(config: ml_collections.ConfigDict, cut: augment.Settings, *, total_steps: int) -> Recipe:
    """Unpacks the configuration into what a step is made of."""
    return Recipe(
        model=network.create(config, axis_name=AXIS if config.model.norm == "batch_norm" else None),
        optimizer=optimizers.create(config.optimizer, total_steps=total_steps, batch_size=config.train.batch_size),
        augment=cut,
        mel=network.mel_settings(config),
        seed=config.seed,
        temperature=config.loss.temperature,
        mask_same_track=config.loss.mask_same_track,
        memory=config.loss.memory,
        micro_batch=config.train.micro_batch,
    )


def initial(recipe: Recipe, *, n_mels: int, n_frames: int) -> State:
    """Returns the state before the first step, the same on every host."""
    mel = jnp.zeros((2, n_mels, n_frames), jnp.float32)
    variables = jax.jit(recipe.model.init)(jax.random.key(recipe.seed), mel)
    params = variables["params"]
    return State(
        jnp.zeros((), jnp.int32),
        params,
        variables.get("batch_stats", {}),
        recipe.optimizer.init(params),
        _nothing_past(recipe, variables, mel) if recipe.memory else None,
    )


def _nothing_past(recipe: Recipe, variables: Any, mel: jax.Array) -> Past:
    n, dim = recipe.memory, jax.eval_shape(recipe.model.apply, variables, mel).shape[-1]
    return Past(jnp.zeros((n, dim), jnp.float32), jnp.full(n, -1, jnp.int32))


def spectrograms(recipe: Recipe, batch: dict[str, jax.Array], banks: Banks) -> jax.Array:
    """Cuts, degrades, transforms and masks a batch of int16 clips: [2b, F, T], anchors then replicas."""
    keys = keys_of(recipe, batch)
    return jnp.concatenate(seen(recipe, keys, *heard(recipe.augment, keys, batch, banks)))


def keys_of(recipe: Recipe, batch: dict[str, jax.Array]) -> jax.Array:
    """Folds the seed and the positions in the stream into one key a pair: [b]."""
    base = jax.random.key(recipe.seed)
    return jax.vmap(lambda position: jax.random.fold_in(base, position))(batch["position"])


def heard(
    cut: augment.Settings, keys: jax.Array, batch: dict[str, jax.Array], banks: Banks
) -> tuple[jax.Array, jax.Array]:
    """Cuts and degrades a batch of int16 clips: (anchors, replicas), each [b, S]."""
    real = {
        name: batch[name].astype(jnp.float32) / 32768.0
        for name in ("clip", "noise", "speech", "degraded")
        if name in batch
    }
    return augment.pairs(
        cut,
        keys,
        real["clip"],
        real.get("noise"),
        real.get("speech"),
        banks.rooms,
        banks.microphones,
        real.get("degraded"),
    )


def seen(recipe: Recipe, keys: jax.Array, anchors: jax.Array, replicas: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Transforms both sides [b, S] and masks them, as the network gets them: [b, F, T] each."""
    mels = [spectrogram.log_mel(side, **recipe.mel) for side in (anchors, replicas)]
    settings = recipe.augment.augment
    if settings.enabled:
        sides = jax.vmap(jax.random.split)(keys)  # [b, 2] keys: the two sides are masked independently.
        mels[1] = augment.masked(sides[:, 1], mels[1], augment=settings)
        if settings.mask_anchors:
            mels[0] = augment.masked(sides[:, 0], mels[0], augment=settings)
    return mels[0], mels[1]


def train_step(recipe: Recipe, state: State, batch: dict[str, jax.Array], banks: Banks) -> tuple[State, dict]:
    """One step on this device's share of the global batch; needs the axis "data" around it."""
    if banks.recordings is not None:
        keys = keys_of(recipe, batch)
        batch = resident.read(recipe.augment, banks.recordings, keys, batch)
    mels = spectrograms(recipe, batch, banks)
    if recipe.micro_batch and recipe.micro_batch < mels.shape[0]:
        z, pull, stats = _embed_in_parts(recipe, state, mels)
    else:
        z, pull, stats = _embed_at_once(recipe, state, mels)
    loss, dz, same, past = _loss(recipe, z, batch["track"], state.past)
    grads = jax.lax.psum(pull(dz), AXIS)
    loss = jax.lax.psum(loss, AXIS)
    updates, optimizer = recipe.optimizer.update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    scores = dict(loss=loss, grad_norm=optax.tree.norm(grads), accuracy=jax.lax.pmean(same, AXIS))
    return State(state.step + 1, params, jax.lax.pmean(stats, AXIS), optimizer, past), scores


def _apply(recipe: Recipe, params: Any, stats: Any, mels: jax.Array) -> tuple[jax.Array, Any]:
    z, changed = recipe.model.apply({"params": params, "batch_stats": stats}, mels, train=True, mutable=["batch_stats"])
    return z, changed.get("batch_stats", stats)


def _embed_at_once(recipe: Recipe, state: State, mels: jax.Array):
    z, pull, stats = jax.vjp(lambda p: _apply(recipe, p, state.batch_stats, mels), state.params, has_aux=True)
    return z, lambda dz: pull(dz)[0], stats


def _embed_in_parts(recipe: Recipe, state: State, mels: jax.Array):
    """Embeds micro-batches one after another; the pullback runs each forward again.

    The loss sees all fingerprints, so the gradient is that of the whole batch, at the memory of a part
    (gradient caching, Gao et al. 2021).
    """
    parts = mels.reshape(-1, recipe.micro_batch, *mels.shape[1:])

    def embed(params, part):
        return _apply(recipe, params, state.batch_stats, part)[0]

    z = jax.lax.map(lambda part: embed(state.params, part), parts)

    def pull(dz):
        def add(total, part_and_dz):
            part, d = part_and_dz
            grads = jax.vjp(lambda p: embed(p, part), state.params)[1](d)[0]
            return jax.tree.map(jnp.add, total, grads), None

        zero = jax.tree.map(jnp.zeros_like, state.params)
        return jax.lax.scan(add, zero, (parts, dz.reshape(z.shape)))[0]

    return z.reshape(-1, z.shape[-1]), pull, state.batch_stats


def _loss(
    recipe: Recipe, z: jax.Array, tracks: jax.Array, past: Past | None
) -> tuple[jax.Array, jax.Array, jax.Array, Past | None]:
    """Returns (this device's share of the loss, its gradient by z [2b, D], share of replicas found first, past)."""
    mine = z.reshape(2, -1, z.shape[-1])
    everyone = jax.lax.all_gather(mine, AXIS, axis=1, tiled=True)  # [2, B, D]
    all_tracks = jax.lax.all_gather(tracks, AXIS, tiled=True)
    n_mine, more = mine.shape[1], {}
    if recipe.mask_same_track:
        more = dict(my_tracks=tracks, all_tracks=all_tracks)
    if past is not None:
        never = (past.tracks[None, :] == tracks[:, None]) | (past.tracks[None, :] < 0)
        more |= dict(past=past.z, never=never)
    first = jax.lax.axis_index(AXIS) * n_mine

    def share(mine, everyone):
        return losses.nt_xent(mine, everyone, first_pair=first, temperature=recipe.temperature, **more)

    loss, (d_mine, d_everyone) = jax.value_and_grad(share, argnums=(0, 1))(mine, everyone)
    d_mine += jax.lax.psum_scatter(d_everyone, AXIS, scatter_dimension=1, tiled=True)
    found = jnp.argmax(mine[1] @ everyone[0].T, axis=1) == first + jnp.arange(n_mine)
    return loss, d_mine.reshape(z.shape), found.mean(), _remembered(past, everyone[0], all_tracks)


def _remembered(past: Past | None, anchors: jax.Array, tracks: jax.Array) -> Past | None:
    """Puts the anchors [B, D] of this step before those of earlier ones, and drops the oldest."""
    if past is None:
        return None
    n = len(past.tracks)
    return Past(
        jnp.concatenate([anchors.astype(past.z.dtype), past.z])[:n],
        jnp.concatenate([tracks.astype(past.tracks.dtype), past.tracks])[:n],
    )


def mapped(recipe: Recipe) -> Callable[[State, dict, Banks], tuple[State, dict]]:
    """Maps the step over the devices of all processes; every argument has a leading device axis."""
    return jax.pmap(
        lambda state, batch, banks: train_step(recipe, state, batch, banks),
        axis_name=AXIS,
        donate_argnums=0,
    )


def replicate(tree: Any) -> Any:
    """Copies a tree onto every local device, with a leading device axis."""
    n = jax.local_device_count()
    return jax.pmap(lambda _, t: t, in_axes=(0, None), axis_name=AXIS)(np.arange(n), tree)


def on_host(tree: Any) -> Any:
    """Copies a replicated tree back from the first local device: numpy arrays of our own."""
    return jax.tree.map(lambda x: np.array(x.addressable_shards[0].data[0]), tree)


def split_over_devices(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gives a host batch [b, ...] a leading device axis: [devices, b / devices, ...]."""
    n = jax.local_device_count()
    return {name: x.reshape(n, x.shape[0] // n, *x.shape[1:]) for name, x in batch.items()}
