"""Every setting of the package, once: its default, what is allowed, its unit and its reason.

`configs/*.py` are short diffs of `default()`. Values follow the original system (Chang et al., ICASSP 2021) unless the
comment says why not. Library functions below the doors take plain keywords and never see a configuration.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from nafp import errors
from nafp.config import learning, network, rules

_SECTIONS: dict[str, Any] = learning.SECTIONS | network.SECTIONS


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, rules.Setting]]:
    for key, entry in tree.items():
        if isinstance(entry, rules.Setting):
            yield above + key, entry
        else:
            yield from _flat(entry, f"{above}{key}.")


SETTINGS: dict[str, rules.Setting] = dict(_flat(_SECTIONS))  # By full name: "audio.segment_s".


def default() -> ml_collections.ConfigDict:
    """Returns the full configuration, locked: an unknown name raises and says what was meant."""

    def values(tree: Mapping[str, Any]) -> dict[str, Any]:
        return {k: e.default if isinstance(e, rules.Setting) else values(e) for k, e in tree.items()}

    return ml_collections.ConfigDict(values(_SECTIONS)).lock()


def validated(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the configuration. Raises errors.Invalid, which names the setting, for a value that is not allowed."""
    for name, setting in SETTINGS.items():
        setting.check(f"config.{name}", _value(config, name))
    _check_ranges(config)
    _check_used(config)
    _check_together(config)
    return config


def _value(config: ml_collections.ConfigDict, name: str) -> Any:
    return functools.reduce(lambda section, key: section[key], name.split("."), config)


def _check_ranges(c: ml_collections.ConfigDict) -> None:
    """Checks that every `low...` is at most its `high...`."""
    for name in SETTINGS:
        section, _, key = name.rpartition(".")
        upper = f"{section}.{key.replace('low', 'high')}"
        if "low" in key and upper in SETTINGS and _value(c, name) > _value(c, upper):
            raise errors.Invalid(
                f"config.{name}={_value(c, name)}: the lower end is above the upper end, "
                f"config.{upper}={_value(c, upper)}."
            )


def _check_used(c: ml_collections.ConfigDict) -> None:
    """Refuses settings that would be ignored: those of another front end or architecture than the chosen one."""
    for name, (chooser, users) in network.USED_BY.items():
        choice, value = _value(c, chooser), _value(c, name)
        if choice not in users and value != SETTINGS[name].default:
            raise errors.Invalid(
                f"config.{name}={value!r} has no effect with config.{chooser}={choice!r}. "
                f"It belongs to {', '.join(users)}. Leave it at {SETTINGS[name].default!r}."
            )


def _check_together(c: ml_collections.ConfigDict) -> None:
    """Checks what the settings must have in common."""
    nyquist_hz = c.audio.sample_rate_hz / 2
    if not c.spectrogram.low_hz < c.spectrogram.high_hz <= nyquist_hz:
        raise errors.Invalid(
            f"config.spectrogram.low_hz={c.spectrogram.low_hz}, high_hz={c.spectrogram.high_hz}: "
            f"need low_hz < high_hz <= {nyquist_hz:g} (half of config.audio.sample_rate_hz)."
        )
    if c.audio.hop_s > c.audio.segment_s:
        raise errors.Invalid(f"config.audio.hop_s={c.audio.hop_s}: must be at most segment_s={c.audio.segment_s}.")
    if c.model.name == "nafp" and len(c.model.channels) != len(c.model.time_strides):
        raise errors.Invalid(
            f"config.model.channels={c.model.channels}: must be {len(c.model.time_strides)} whole numbers, one for "
            "each of config.model.time_strides."
        )
    if c.model.channels[-1] % c.model.dim:
        raise errors.Invalid(
            f"config.model.dim={c.model.dim} does not divide the last of config.model.channels="
            f"{tuple(c.model.channels)}. The head gives every dimension an equal slice."
        )
    if c.data.on_device == "yes" and c.data.pairs:
        raise errors.Invalid(
            "config.data.on_device='yes' with config.data.pairs: a static set is read by the host. Use 'auto'."
        )
    _check_sampling(c)
    _check_learning(c)
    if c.train.micro_batch % 2:
        raise errors.Invalid(f"config.train.micro_batch={c.train.micro_batch}: must be even, or 0 for none.")
    if c.train.micro_batch and (c.model.norm == "batch_norm" or c.model.name == "audsearch"):
        norm = "norm='batch_norm'" if c.model.name == "nafp" else f"name={c.model.name!r}, which has batch norm"
        raise errors.Invalid(
            f"config.train.micro_batch with config.model.{norm}: batch statistics of a part are not those of "
            "the whole, so the gradient would not be exact. Use a layer norm, or micro_batch=0."
        )


def _check_sampling(c: ml_collections.ConfigDict) -> None:
    """Checks what windows, anchors and replicas must have in common."""
    copies, augment = c.augment.replicas, c.augment
    if c.train.batch_size % (1 + copies):
        must = "even" if copies == 1 else f"a multiple of {1 + copies} (config.augment.replicas={copies})"
        raise errors.Invalid(
            f"config.train.batch_size={c.train.batch_size}: counts anchors and replicas, so it must be {must}."
        )
    if anchors(c) < 2:
        raise errors.Invalid(
            f"config.train.batch_size={c.train.batch_size} with config.augment.replicas={copies}: one anchor has no "
            f"negatives. Use at least {2 * (1 + copies)}."
        )
    if augment.offset_least_s > augment.offset_s:
        raise errors.Invalid(
            f"config.augment.offset_least_s={augment.offset_least_s}: must be at most offset_s={augment.offset_s}."
        )
    if augment.filters_together and augment.low_pass.probability != augment.high_pass.probability:
        raise errors.Invalid(
            f"config.augment.filters_together with probabilities {augment.low_pass.probability} of low_pass and "
            f"{augment.high_pass.probability} of high_pass: one draw decides on both, so they must be equal."
        )
    if augment.circular and augment.room.seconds > augment.context_s + c.audio.segment_s:
        raise errors.Invalid(
            f"config.augment.circular with config.augment.room.seconds={augment.room.seconds}: a response must not be "
            f"longer than what is heard, {augment.context_s + c.audio.segment_s:g} s (context_s + segment_s)."
        )
    if c.data.windows == "one_a_track" and c.data.shuffle_tracks:
        raise errors.Invalid(
            "config.data.shuffle_tracks with config.data.windows='one_a_track': every track has one window, so there "
            "is nothing to shuffle together. Use shuffle_tracks=0."
        )


def _check_learning(c: ml_collections.ConfigDict) -> None:
    """Checks what losses and schedules need."""
    if c.loss.memory and c.loss.name not in learning.LOSSES_WITH_MEMORY:
        raise errors.Invalid(
            f"config.loss.memory={c.loss.memory} with config.loss.name={c.loss.name!r}: only "
            f"{' and '.join(learning.LOSSES_WITH_MEMORY)} use earlier anchors. Use memory=0."
        )
    if c.optimizer.schedule == "cosine_waves" and not c.optimizer.fall_epochs:
        raise errors.Invalid(
            "config.optimizer.schedule='cosine_waves' with config.optimizer.fall_epochs=0: say how many epochs the "
            "rate falls before it rises again."
        )


def anchors(config: ml_collections.ConfigDict) -> int:
    """Returns the number of anchors in the global batch. The rest of the batch are their replicas."""
    return int(config.train.batch_size // (1 + config.augment.replicas))


def cpu_shares(config: ml_collections.ConfigDict, *, cores: int) -> int:
    """Returns the number of equal shares that a CPU cuts a training batch into, at most one per core."""
    if config.train.cpu_shares:
        return config.train.cpu_shares
    pairs, micro = anchors(config), config.train.micro_batch
    fits = (n for n in range(cores, 0, -1) if pairs % n == 0)
    return next(n for n in fits if n == 1 or not micro or (config.train.batch_size // n) % micro == 0)


def to_json(config: ml_collections.ConfigDict) -> str:
    """Writes the configuration as JSON, the form that travels in checkpoints and stores."""
    return json.dumps(config.to_dict(), indent=1, sort_keys=True)


def from_json(text: str) -> ml_collections.ConfigDict:
    """Reads what `to_json` wrote. See `from_dict`."""
    return from_dict(json.loads(text))


def from_dict(settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Lays saved settings over today's defaults, so that older files gain newer settings. Checks no values."""
    c = default()
    c.unlock()
    if "optimizer" in settings:
        c.optimizer.lamb_scales = "all"  # Files from before this choice scaled all parameters.
    c.update(ml_collections.ConfigDict(settings, convert_dict=True))
    for name in (name for name, setting in SETTINGS.items() if isinstance(setting.default, tuple)):
        section, _, key = name.rpartition(".")
        _value(c, section)[key] = tuple(_value(c, name))
    return c.lock()
