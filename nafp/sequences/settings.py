"""Every setting of the second stage, once: its default, what is allowed, its unit and its reason.

The defaults are AMG-Embedding's (Su et al., ACM MM 2024). `configs/amg.py` is a short diff of `default()`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from nafp import errors
from nafp.config import rules
from nafp.jobs import choices
from nafp.sequences import chunks, losses, networks

_SECTIONS: dict[str, dict[str, rules.Setting]] = dict(
    data=dict(
        clips=rules.text(""),  # Folder that `nafp amg clips` or `nafp amg split` wrote: ID-00.npy, ID-01.npy ...
        classes=rules.whole(0, least=0),  # Clips to use, from the first on. 0: all. AMG-Embedding: 1000 or 100,000.
        versions=rules.whole(0, least=0),  # Versions of each clip, the clean one counted. 0: all. AMG-Embedding: 10.
        # Digest of the network that made the fingerprints, as `nafp amg clips` notes it. A run fills it in.
        first_stage=rules.text(""),
        val_share=rules.real(0.05, least=0, below=1),  # Share of the clips, the last ones, kept back to validate on.
    ),
    chunk=dict(
        seconds=rules.whole(30, least=1),  # Longest sequence: 5, 10, 15 or 30, padded to 12, 24, 32 or 64 rows.
        margin_low=rules.real(0.2, least=0, most=1.5),  # Angular margin, radians, of a chunk beside the clip's window.
        margin_high=rules.real(0.4, least=0, most=1.5),  # Of a chunk as long as the window; between them by overlap.
    ),
    model=dict(
        name=rules.choice("transformer", tuple(networks.names())),
        fingerprint_dim=rules.whole(128, least=1, most=65_536),  # Numbers in a fingerprint of the first stage.
        dim=rules.whole(128, least=1, most=65_536),  # Numbers in the vector of a sequence.
        width=rules.whole(256, least=1, most=65_536),
        layers=rules.whole(10, least=1, most=1000),  # AMG-Embedding's LSTM has 8.
        heads=rules.whole(8, least=1, most=1024),
        feed_forward=rules.whole(256, least=1, most=65_536),
        dropout=rules.real(0.1, least=0, below=1),
    ),
    loss=dict(
        name=rules.choice("margin", losses.NAMES),
        scale=rules.real(32.0, above=0),  # margin, arcface: the factor of all cosines.
        centre_weight=rules.real(10.0, least=0),  # margin: the weight of 1 - cosine of an anchor to its centre.
        temperature=rules.real(0.1, above=0),  # info_nce: cosines are divided by it.
        alpha=rules.real(0.2, least=0, most=2),  # triplet: the margin of cosines.
    ),
    optimizer=dict(
        learning_rate=rules.real(1e-3, least=0),
        last_learning_rate=rules.real(1e-4, least=0),  # At the end, reached along a cosine, step by step.
        weight_decay=rules.real(1e-5, least=0),  # Added to the gradient, as PyTorch's Adam does.
        b1=rules.real(0.9, least=0, below=1),
        b2=rules.real(0.999, least=0, below=1),
        eps=rules.real(1e-8, above=0),
    ),
    train=dict(
        batch_size=rules.whole(640, least=2),  # Examples; all of them if there are fewer.
        epochs=rules.whole(50, least=1),
        steps=rules.whole(0, least=0),  # The run ends after this many steps, whatever epochs says. 0: epochs decide.
        minutes=rules.real(0.0, least=0),  # The run ends, saved and resumable, after this much wall time. 0: no limit.
        log_every=rules.whole(10, least=1),  # Steps.
    ),
    validate=dict(
        every_epochs=rules.whole(5, least=0),  # 0: never.
    ),
    checkpoint=dict(
        every_steps=rules.whole(500, least=1),
        keep=rules.whole(3, least=1),  # Latest ones. The best one is kept as well.
    ),
)
_SEED = rules.whole(0, least=0, most=2**32 - 1)  # Weights, order, chunks and dropout follow from it.


def _flat() -> Iterator[tuple[str, str, rules.Setting]]:
    for section, entries in _SECTIONS.items():
        for key, setting in entries.items():
            yield section, key, setting


def default() -> ml_collections.ConfigDict:
    """Returns the full configuration, locked: an unknown name raises and says what was meant."""
    values: dict[str, Any] = {name: {k: s.default for k, s in part.items()} for name, part in _SECTIONS.items()}
    return ml_collections.ConfigDict({"seed": _SEED.default, **values}).lock()


def validated(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the configuration. Raises errors.Invalid, which names the setting, for a value that is not allowed."""
    if "chunk" not in config:
        raise errors.Invalid(
            "this configuration is one of the first stage (nafp train); the second stage needs one such as "
            "configs/amg.py"
        )
    _SEED.check("config.seed", config.seed)
    for section, key, setting in _flat():
        setting.check(f"config.{section}.{key}", config[section][key])
    choices.require("config.chunk.seconds", config.chunk.seconds, chunks.PADDED_ROWS)
    if config.chunk.margin_low > config.chunk.margin_high:
        raise errors.Invalid(
            f"config.chunk.margin_low={config.chunk.margin_low}: is above margin_high={config.chunk.margin_high}."
        )
    if config.model.name == "transformer" and config.model.width % config.model.heads:
        raise errors.Invalid(
            f"config.model.heads={config.model.heads}: does not divide config.model.width={config.model.width}."
        )
    if config.loss.name in losses.WITH_CLASSES and config.model.dim != config.model.fingerprint_dim:
        raise errors.Invalid(
            f"config.model.dim={config.model.dim}: with config.loss.name={config.loss.name!r} it must be "
            f"config.model.fingerprint_dim={config.model.fingerprint_dim}, because the centres of classes begin as "
            "mean fingerprints; info_nce and triplet take any."
        )
    return config


def from_dict(settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Lays saved settings over today's defaults. Raises errors.Invalid for those of a network of the first stage."""
    if "chunk" not in settings:
        raise errors.Invalid("this is a network of the first stage; name a run of nafp amg train.")
    config = default()
    config.unlock()
    config.update(ml_collections.ConfigDict(settings, convert_dict=True))
    return config.lock()
