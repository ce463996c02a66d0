"""Training pairs of a configuration that are long enough to listen to."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nafp.audio import segments
from nafp.corpora import corpus
from nafp.training import augment, data, step


class Example(NamedTuple):
    """A pair as training draws it.

    track: the path of its recording. clean, degraded: float32 [S]. clean_mel, degraded_mel: the log-mels [F, T] of
    their first segments, masked as in training.
    """

    track: str
    clean: np.ndarray
    degraded: np.ndarray
    clean_mel: np.ndarray
    degraded_mel: np.ndarray


def examples(config: ml_collections.ConfigDict, *, count: int, seconds: float) -> list[Example]:
    """Draws the first `count` pairs that training with this configuration would, each `seconds` long.

    Everything random is drawn as in training; only the segments are longer. Raises errors.Invalid or errors.NotFound
    as training would.
    """
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.validate.every_epochs = 0
        config.train.batch_size = 2 * max(2, count)
        config.augment.replicas = 1
    longer = config.copy_and_resolve_references()
    with longer.unlocked():
        longer.audio.segment_s = max(seconds, config.audio.segment_s)
    settings = augment.settings(audio=longer.audio, augment=config.augment)
    opened = data.open_data(longer, settings)
    batch, recipe = jax.tree.map(jnp.asarray, next(opened.stream)), step.recipe_of(config, settings, total_steps=1)
    keys = step.keys_of(config.seed, batch["position"])
    anchors, replicas = step.heard(settings, keys, batch, opened.banks)
    segment = segments.to_samples(config.audio.segment_s, config.audio.sample_rate_hz)
    mels = step.seen(recipe, step.mask_keys(recipe, batch["position"]), anchors[:, :segment], replicas[:, :segment])
    tracks = corpus.Corpus.open(config.data.pairs or config.data.corpus).tracks
    paths = [tracks[number].path for number in batch["track"][:count]]
    return [Example(*parts) for parts in zip(paths, *map(np.asarray, (anchors, replicas, *mels)))]
