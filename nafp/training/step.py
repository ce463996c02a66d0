"""One training step on one device, and its mapping over all of them.

The step is written once, with the axis name "data". It gathers fingerprints, so that the loss sees the global batch,
and sums gradients. Only `mapped` knows how the step is spread over devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

import nafp.config
from nafp.models import front_ends, network, spectrogram
from nafp.training import augment, draws, losses, masks, optimizers, pipeline, resident

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Num, Shaped

AXIS = "data"
Batch = dict[str, jax.Array]
Pullback = Callable[[jax.Array], Any]  # Gradient by the fingerprints -> gradient by the parameters.


class Past(NamedTuple):
    """Anchors of earlier steps, newest first. z: float32 [M, D]. tracks: int32 [M], -1 where there is none yet."""

    z: jax.Array
    tracks: jax.Array


class State(NamedTuple):
    """What a step changes. step: int32, the steps done. past: None unless config.loss.memory is above 0."""

    step: jax.Array
    params: Any
    batch_stats: Any
    optimizer: Any
    past: Past | None = None


class Banks(NamedTuple):
    """What a step reads besides its batch. None where not used. recordings: None if hosts send clips."""

    rooms: augment.Bank | None
    microphones: augment.Bank | None
    recordings: resident.Recordings | None = None


class Recipe(NamedTuple):
    """What a step is made of, unpacked from the configuration once.

    rate: step -> learning rate, as the optimizer uses it. mel: the keywords of `spectrogram.log_mel`. sees_batch:
    whether the spectrogram of a segment depends on the rest of the global batch. anchors: those of the global batch.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    rate: optax.Schedule
    augment: augment.Settings
    mel: dict[str, Any]
    sees_batch: bool
    seed: int
    anchors: int
    loss: losses.Loss
    mask_same_track: bool
    memory: int
    micro_batch: int


def recipe_of(
    config: ml_collections.ConfigDict, settings: augment.Settings, *, total_steps: int, epoch_steps: int = 0
) -> Recipe:
    """Unpacks the configuration into what a step is made of. epoch_steps: the steps of an epoch, 0 for all steps."""
    rate = learning_rate(
        config.optimizer, total_steps=total_steps, epoch_steps=epoch_steps, batch_size=config.train.batch_size
    )
    return Recipe(
        model=network.create(config, axis_name=AXIS),
        optimizer=_optimizer(config.optimizer, rate),
        rate=rate,
        augment=settings,
        mel=network.mel_settings(config, training=True),
        sees_batch=front_ends.of_settings(config.spectrogram).sees_batch,
        seed=config.seed,
        anchors=nafp.config.anchors(config),
        loss=losses.create(config.loss.name, config.loss),
        mask_same_track=config.loss.mask_same_track,
        memory=config.loss.memory,
        micro_batch=config.train.micro_batch,
    )


def learning_rate(
    section: ml_collections.ConfigDict, *, total_steps: int, batch_size: int, epoch_steps: int = 0
) -> optax.Schedule:
    """Unpacks config.optimizer into step -> learning rate. epoch_steps: the steps of an epoch, 0 for all steps."""
    peak = optimizers.peak_rate(
        learning_rate=section.learning_rate, scale_with_batch=section.scale_with_batch, batch_size=batch_size
    )
    return optimizers.schedule(
        section.schedule,
        peak=peak,
        total_steps=total_steps,
        warmup_steps=section.warmup_steps,
        final_share=section.final_share,
        restart_share=section.restart_share,
        epoch_steps=epoch_steps or total_steps,
        fall_epochs=section.fall_epochs,
        per_epoch=section.rate_per_epoch,
    )


def _optimizer(section: ml_collections.ConfigDict, rate: optax.Schedule) -> optax.GradientTransformation:
    return optimizers.create(
        section.name,
        rate,
        lamb_scales=section.lamb_scales,
        weight_decay=section.weight_decay,
        b1=section.b1,
        b2=section.b2,
        eps=section.eps,
        bias_correction=section.bias_correction,
        norm_clamp=section.norm_clamp,
    )


def initial(recipe: Recipe, *, n_mels: int, n_frames: int) -> State:
    """Returns the state before the first step, the same on every host. n_mels, n_frames: the shape of a spectrogram."""

    def drawn(key: jax.Array, mel: jax.Array) -> State:
        variables = recipe.model.init(key, mel)
        params, stats = variables["params"], variables.get("batch_stats", {})
        past = _empty_past(recipe, variables, mel) if recipe.memory else None
        return State(jnp.zeros((), jnp.int32), params, stats, recipe.optimizer.init(params), past)

    # One program: by itself, every shape of zeros that the optimizer begins with would be compiled as one.
    return jax.jit(drawn)(jax.random.key(recipe.seed), np.zeros((2, n_mels, n_frames), np.float32))


def _empty_past(recipe: Recipe, variables: Any, mel: jax.Array) -> Past:
    n, dim = recipe.memory, jax.eval_shape(recipe.model.apply, variables, mel).shape[-1]
    return Past(jnp.zeros((n, dim), jnp.float32), jnp.full(n, -1, jnp.int32))


def spectrograms(recipe: Recipe, batch: Batch, banks: Banks, *, mapped: bool = False) -> Float[Array, "rows F T"]:
    """Cuts, degrades, transforms and masks a batch of int16 clips of b windows.

    mapped: whether this is one device's share, with the axis "data" around it. Returns [(1 + R) b, F, T], the anchors
    and then each of the R replicas.
    """
    of_masks = mask_keys(recipe, batch["position"])
    if "mels" in batch:  # Ready pairs of spectrograms.
        return jnp.concatenate(_masked(recipe, of_masks, [batch["mels"][:, 0], batch["mels"][:, 1]]))
    keys = keys_of(recipe.seed, batch["position"])
    sounds = heard(recipe.augment, keys, batch, banks)
    return jnp.concatenate(seen(recipe, of_masks, *sounds, mapped=mapped))


def mask_keys(recipe: Recipe, positions: Num[Array, " b"]) -> Shaped[Array, " b"]:
    """Returns the keys that draw the masks of pairs at these positions in the stream: one for each, or one for all.

    The positions of one global batch have the same quotient by its pairs, on every device.
    """
    return keys_of(recipe.seed, positions // recipe.anchors if recipe.augment.chain.mask_batch else positions)


def keys_of(seed: int, positions: Num[Array, " b"]) -> Shaped[Array, " b"]:
    """Folds the seed and the positions in the stream [b] into one key per pair: [b]."""
    base = jax.random.key(seed)
    return jax.vmap(lambda position: jax.random.fold_in(base, position))(positions)


def heard(
    settings: augment.Settings, keys: Shaped[Array, " b"], batch: Batch, banks: Banks
) -> tuple[Float[Array, "b S"], Float[Array, "copies S"]]:
    """Cuts and degrades a batch of int16 clips into waveforms: (anchors [b, S], replicas [R b, S]), float32.

    The R replicas come one after another, each of all anchors.
    """
    real = {
        name: batch[name].astype(jnp.float32) / 32768.0
        for name in ("clip", *augment.ADDED, "degraded")
        if name in batch
    }
    several = settings.replicas > 1
    anchors, replicas = real["clip"], []
    for i in range(settings.replicas):
        own = {
            name: real[name][:, i] if several else real[name] for name in (*augment.ADDED, "degraded") if name in real
        }
        anchors, replica = augment.pairs(
            settings,
            keys,
            real["clip"],
            {name: sound for name, sound in own.items() if name in augment.ADDED},
            banks.rooms,
            banks.microphones,
            own.get("degraded"),
            number=i,
        )
        replicas.append(replica)
    return anchors, replicas[0] if not several else jnp.concatenate(replicas)


def seen(
    recipe: Recipe,
    keys: Shaped[Array, " b"],
    anchors: Float[Array, "b S"],
    replicas: Float[Array, "copies S"],
    *,
    mapped: bool = False,
) -> tuple[Float[Array, "b F T"], Float[Array, "copies F T"]]:
    """Transforms anchors [b, S] and replicas [R b, S] and masks them as the network gets them, with `mask_keys`.

    mapped: as for `spectrograms`.
    """
    if recipe.sees_batch:
        mels = _transformed_together(recipe, anchors, replicas, mapped)
    else:
        mels = [spectrogram.log_mel(side, **recipe.mel) for side in (anchors, replicas)]
    return _masked(recipe, keys, mels)


def _masked(recipe: Recipe, keys: jax.Array, mels: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Masks the spectrograms of anchors and replicas as the recipe says."""
    chain = recipe.augment.chain
    if chain.enabled:
        of_anchors, of_replicas = _side_keys(recipe, keys)
        mels[1] = masks.masked(of_replicas, mels[1], chain=chain)
        if chain.mask_anchors:
            mels[0] = masks.masked(of_anchors, mels[0], chain=chain)
    return mels[0], mels[1]


def _transformed_together(recipe: Recipe, anchors: jax.Array, replicas: jax.Array, mapped: bool) -> list[jax.Array]:
    """Transforms the global batch in one call, for a front end that sees it, and returns this device's two sides."""
    sounds, n = jnp.concatenate([anchors, replicas]), len(anchors)
    if not mapped:
        mels = spectrogram.log_mel(sounds, **recipe.mel)
    else:
        all_mels = spectrogram.log_mel(jax.lax.all_gather(sounds, AXIS, tiled=True), **recipe.mel)
        mels = jax.lax.dynamic_slice_in_dim(all_mels, jax.lax.axis_index(AXIS) * len(sounds), len(sounds))
    return [mels[:n], mels[n:]]


def _side_keys(recipe: Recipe, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the keys that mask the anchors [b] and the replicas [R b], of the mask keys [b].

    Sides are masked independently, unless the whole batch has one mask.
    """
    n = recipe.augment.replicas
    if recipe.augment.chain.mask_batch:
        return keys, jnp.concatenate([keys] * n)
    sides = jax.vmap(jax.random.split)(keys)  # [b, 2].
    copies = [draws.of_replicas(sides[:, 1], i) for i in range(n)]
    return sides[:, 0], copies[0] if n == 1 else jnp.concatenate(copies)


def train_step(recipe: Recipe, state: State, batch: Batch, banks: Banks) -> tuple[State, dict[str, jax.Array]]:
    """Takes one step on this device's share of the global batch. The axis "data" must be mapped around it.

    Returns the next state and the scores `loss`, `grad_norm` and `accuracy`, the same on all devices.
    """
    if banks.recordings is not None:
        keys = keys_of(recipe.seed, batch["position"])
        batch = resident.read(recipe.augment, banks.recordings, keys, batch)
    mels = spectrograms(recipe, batch, banks, mapped=True)
    if recipe.micro_batch and recipe.micro_batch < mels.shape[0]:
        z, pull, stats = _embed_in_parts(recipe, state, mels)
    else:
        z, pull, stats = _embed_at_once(recipe, state, mels)
    loss, dz, accuracy, past = loss_share(recipe, z, batch["track"], state.past)
    grads = jax.lax.psum(pull(dz), AXIS)
    updates, optimizer = recipe.optimizer.update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    scores = dict(
        loss=jax.lax.psum(loss, AXIS), grad_norm=optax.tree.norm(grads), accuracy=jax.lax.pmean(accuracy, AXIS)
    )
    return State(state.step + 1, params, jax.lax.pmean(stats, AXIS), optimizer, past), scores


def _apply(recipe: Recipe, params: Any, stats: Any, mels: jax.Array) -> tuple[jax.Array, Any]:
    z, changed = recipe.model.apply({"params": params, "batch_stats": stats}, mels, train=True, mutable=["batch_stats"])
    return z, changed.get("batch_stats", stats)


def _embed_at_once(recipe: Recipe, state: State, mels: jax.Array) -> tuple[jax.Array, Pullback, Any]:
    """Embeds mels [N, F, T]. Returns (fingerprints [N, D], their pullback to the parameters, batch statistics)."""
    z, pull, stats = jax.vjp(lambda p: _apply(recipe, p, state.batch_stats, mels), state.params, has_aux=True)
    return z, lambda dz: pull(dz)[0], stats


def _embed_in_parts(recipe: Recipe, state: State, mels: jax.Array) -> tuple[jax.Array, Pullback, Any]:
    """Embeds micro-batches one after another, as `_embed_at_once` does all. The pullback repeats each forward pass.

    The loss sees all fingerprints, so the gradient is that of the whole batch, with the memory of one part
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


def loss_share(
    recipe: Recipe, z: jax.Array, tracks: jax.Array, past: Past | None
) -> tuple[jax.Array, jax.Array, jax.Array, Past | None]:
    """Computes this device's share of the loss of fingerprints z [(1 + R) b, D] of `tracks` [b].

    Returns (the share, its gradient by z, the share of replicas whose nearest anchor is their own, the next past).
    """
    mine = z.reshape(1 + recipe.augment.replicas, -1, z.shape[-1])
    everyone = jax.lax.all_gather(mine, AXIS, axis=1, tiled=True)  # [1 + R, B, D]
    all_tracks = jax.lax.all_gather(tracks, AXIS, tiled=True)
    n_mine = mine.shape[1]
    first = jax.lax.axis_index(AXIS) * n_mine
    same_track = tracks[:, None] == all_tracks[None, :] if recipe.mask_same_track else None

    def share(mine: jax.Array, everyone: jax.Array) -> jax.Array:
        return recipe.loss(
            mine,
            everyone,
            first_pair=first,
            same_track=same_track,
            memory=None if past is None else (past.z, _never(past, tracks)),
            over_devices=lambda number: jax.lax.psum(number, AXIS),
        )

    loss, (d_mine, d_everyone) = jax.value_and_grad(share, argnums=(0, 1))(mine, everyone)
    d_mine += jax.lax.psum_scatter(d_everyone, AXIS, scatter_dimension=1, tiled=True)
    nearest = jnp.argmax(mine[1:] @ everyone[0].T, axis=-1)  # [R, b]
    accuracy = (nearest == (first + jnp.arange(n_mine))[None]).mean()
    return loss, d_mine.reshape(z.shape), accuracy, _remembered(past, everyone[0], all_tracks)


def _never(past: Past, tracks: jax.Array) -> jax.Array:
    """Marks the remembered anchors that are no negatives for `tracks` [b]: bool [b, M]. Empty slots are marked too."""
    return (past.tracks[None, :] == tracks[:, None]) | (past.tracks[None, :] < 0)


def _remembered(past: Past | None, anchors: jax.Array, tracks: jax.Array) -> Past | None:
    """Puts the anchors [B, D] of this step before those of earlier steps, and drops the oldest."""
    if past is None:
        return None
    n = len(past.tracks)
    return Past(
        jnp.concatenate([anchors.astype(past.z.dtype), past.z])[:n],
        jnp.concatenate([tracks.astype(past.tracks.dtype), past.tracks])[:n],
    )


def mapped(recipe: Recipe) -> Callable[[State, pipeline.Batch, Banks], tuple[State, dict[str, jax.Array]]]:
    """Maps the step over the devices of all processes. Every argument has a leading device axis."""
    return jax.pmap(
        lambda state, batch, banks: train_step(recipe, state, batch, banks),
        axis_name=AXIS,
        donate_argnums=0,
    )


def replicate(tree: Any) -> Any:
    """Copies a tree onto every local device, with a leading device axis."""
    if not jax.tree.leaves(tree):  # Which pmap takes on one host, and refuses on several.
        return tree
    n = jax.local_device_count()
    return jax.pmap(lambda _, t: t, in_axes=(0, None), axis_name=AXIS)(np.arange(n), tree)


def on_host(tree: Any) -> Any:
    """Copies a replicated tree from the first local device into numpy arrays that nothing else shares."""
    return jax.tree.map(lambda x: np.array(x.addressable_shards[0].data[0]), tree)


def split_over_devices(batch: pipeline.Batch) -> pipeline.Batch:
    """Reshapes a host batch [b, ...] to [devices, b / devices, ...]."""
    n = jax.local_device_count()
    return {name: x.reshape(n, x.shape[0] // n, *x.shape[1:]) for name, x in batch.items()}
