"""What training sounds like: a configuration's own chain, over stretches long enough to listen to."""

from __future__ import annotations

from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from nafp.audio import segments
from nafp.corpora import corpus
from nafp.training import augment, data, step


class Example(NamedTuple):
    """clean, degraded: float32 [S]; the log-mels [F, T] are of their first segments, masked as in training."""

    track: str
    clean: np.ndarray
    degraded: np.ndarray
    clean_mel: np.ndarray
    degraded_mel: np.ndarray


def examples(config: ml_collections.ConfigDict, *, count: int, seconds: float) -> list[Example]:
    """Draws the first pairs that training with this configuration would, cut `seconds` long.

    Everything random is drawn as training draws it; only the segment is longer, so that it can be
    heard. Raises ValueError or FileNotFoundError as training would.
    """
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.validate.every_epochs = 0
        config.train.batch_size = 2 * max(2, count)
    longer = config.copy_and_resolve_references()
    with longer.unlocked():
        longer.audio.segment_s = max(seconds, config.audio.segment_s)
    cut = augment.settings(audio=longer.audio, augment=config.augment)
    opened = data.open_data(longer, cut)
    batch, recipe = next(opened.stream), step.recipe_of(config, cut, total_steps=1)
    keys = jax.vmap(lambda p: jax.random.fold_in(jax.random.key(config.seed), p))(batch["position"])
    anchors, replicas = step.heard(cut, keys, batch, opened.banks)
    segment = segments.to_samples(config.audio.segment_s, config.audio.sample_rate_hz)
    mels = step.seen(recipe, keys, anchors[:, :segment], replicas[:, :segment])
    tracks = corpus.Corpus.open(config.data.pairs or config.data.corpus).tracks
    names = [tracks[number].path for number in batch["track"][:count]]
    return [Example(*each) for each in zip(names, *map(np.asarray, (anchors, replicas, *mels)))]
