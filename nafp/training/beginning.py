"""What is checked, and read from other runs, before a run begins."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

import nafp.config
from nafp import errors
from nafp.weights import run_folders, sources

# Sections that may not change within a run.
_FIXED = ("audio", "spectrogram", "model", "seed", "data", "augment", "loss")
# The learning rate may change, the rule of the steps may not.
_FIXED_OF_OPTIMIZER = ("name", "lamb_scales", "bias_correction", "norm_clamp")
_PLACES = ("corpus", "noise_corpus", "pairs")  # Settings of config.data that may differ from host to host.
_OF_THE_MACHINE = ("form", "dtype")  # Settings of config.model that leave the parameters as they are.


def check_devices(config: ml_collections.ConfigDict) -> None:
    """Raises errors.Invalid if the devices cannot share the batches of config.train."""
    train, anchors, devices = config.train, nafp.config.anchors(config), jax.device_count()
    if anchors % devices:
        copies = config.augment.replicas
        what = "pairs" if copies == 1 else f"anchors with {copies} replicas each"
        raise errors.Invalid(
            f"config.train.batch_size={train.batch_size} is {anchors} {what}, which do not divide among "
            f"{devices} devices; use a multiple of {(1 + copies) * devices}."
        )
    segments = train.batch_size // devices
    if train.micro_batch and segments % train.micro_batch:
        raise errors.Invalid(
            f"config.train.micro_batch={train.micro_batch} does not divide the {segments} segments "
            f"that each of {devices} devices has."
        )


def facts(config: ml_collections.ConfigDict) -> dict[str, str]:
    """Returns what must be the same on every host: a digest of the settings, but for the places of its files."""
    settings = config.to_dict()
    settings["data"] = {name: value for name, value in settings["data"].items() if name not in _PLACES}
    text = json.dumps(settings, sort_keys=True, default=str)
    return {"the settings' digest": hashlib.sha256(text.encode()).hexdigest()[:12]}


def parameters(source: str, model: ml_collections.ConfigDict) -> dict[str, Any] | None:
    """Reads the parameters that a new run begins with: {"params": ..., "batch_stats": ...}, None without a source.

    Raises errors.Invalid if the network of `source` differs from config.model.
    """
    if not source:
        return None
    variables, config, _, name = sources.read(source)
    before, now = config.model.to_dict(), model.to_dict()
    differing = [key for key in now if key not in _OF_THE_MACHINE and before[key] != now[key]]
    if differing:
        raise errors.Invalid(
            f"config.train.begin_from={source!r}: {name} has "
            f"{', '.join(f'model.{key}={before[key]}, not {now[key]}' for key in differing)}. "
            "Give this run the same config.model, or begin from nothing."
        )
    arrays = jax.tree.map(jnp.asarray, variables)
    return {"params": arrays["params"], "batch_stats": arrays.get("batch_stats", {})}


def check_unchanged(run: run_folders.Folder, config: ml_collections.ConfigDict) -> None:
    """Raises errors.Invalid if resuming `run` with these settings would make it another experiment."""
    path = run / "config.json"
    if not path.exists() or not (run / "checkpoints").exists():
        return
    before, now = nafp.config.from_json(path.read_text()).to_dict(), config.to_dict()
    refuse_changes(run, _fixed(before), _fixed(now))


def refuse_changes(run: pathlib.Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises errors.Invalid, naming the settings that differ, unless a run began with those of now."""
    changes = list(_differences(before, now))
    if changes:
        raise errors.Invalid(
            f"{run} was begun with other settings: {'; '.join(changes)}. Use another --workdir, or the old settings."
        )


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that may not change within a run."""
    rule = {key: settings["optimizer"][key] for key in _FIXED_OF_OPTIMIZER}
    return {section: settings[section] for section in _FIXED} | {"optimizer": rule}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in before:
        if isinstance(before[key], dict):
            yield from _differences(before[key], now[key], f"{prefix}{key}.")
        elif before[key] != now[key]:
            yield f"{prefix}{key} was {before[key]}, now {now[key]}"
