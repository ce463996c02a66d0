"""Configuration files of the original (YAML), pfann (JSON) and the benchmark (JSON, YAML), read as they are."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections
import yaml

import nafp.config
from nafp import errors
from nafp.config import foreign_benchmark, foreign_keys, foreign_original, foreign_pfann

SUFFIXES = (".json", ".yaml", ".yml")
# What a system's code takes where a file has no such key.
_DEFAULTS: dict[str, Mapping[str, Any]] = {foreign_benchmark.NAME: foreign_benchmark.DEFAULTS}
_SYSTEMS = (foreign_pfann, foreign_original, foreign_benchmark)
_BY_NAME = {"pfann": foreign_pfann, "original": foreign_original, "benchmark": foreign_benchmark}


class Reading(NamedTuple):
    """What a file of another system means here. notes: one line for each of its keys."""

    system: str
    config: ml_collections.ConfigDict
    notes: list[str]


def base(system: str, *more: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Returns the default configuration with what the code of a system fixes, and further settings.

    system: `pfann`, `original` or `benchmark`. more: settings by full name.
    """
    return _changed({**_BY_NAME[system].FIXED, **{k: v for settings in more for k, v in settings.items()}})


def get_config(path: str) -> ml_collections.ConfigDict:
    """Returns the configuration of a file, for --config=THIS_FILE:path of `nafp train`."""
    return read(path).config


def read(path: str) -> Reading:
    """Reads a file of another system.

    Raises errors.NotFound without one, and errors.Invalid, in one line, naming what nafp has nothing for.
    """
    tree = _parsed(pathlib.Path(path))
    system = next((system for system in _SYSTEMS if system.is_of(tree)), None)
    if system is None:
        names = ", ".join(system.NAME for system in _SYSTEMS)
        raise errors.Invalid(
            f"{path}: has no key by which nafp knows a configuration of {names}. nafp's own are Python files, such as "
            "configs/default.py."
        )
    if system is foreign_benchmark:
        tree = foreign_benchmark.flat(tree)
    whole = _over(_DEFAULTS.get(system.NAME, {}), tree)
    keys = foreign_keys.read(whole, system.KEYS, system=system.NAME)
    if keys.refused:
        raise errors.Invalid(f"{path}, a configuration of {system.NAME}: {'; '.join(keys.refused)}")
    return Reading(system.NAME, _changed({**system.FIXED, **keys.settings}), keys.notes)


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lays one tree over another, section by section."""
    nested = {k: _over(below[k], v) for k, v in above.items() if isinstance(v, Mapping) and k in below}
    return {**below, **above, **nested}


def _changed(settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
    config = nafp.config.default()
    with config.unlocked():
        config.update_from_flattened_dict(dict(settings))
    return config


def _parsed(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise errors.NotFound(f"--config={path}: no such configuration file") from error
    except OSError as error:
        raise errors.Invalid(f"--config={path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise errors.Invalid(f"{path}: is not text in UTF-8") from error
    try:
        tree = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise errors.Invalid(f"{path}: is not {kind}: {' '.join(str(error).split())}") from error
    if not isinstance(tree, Mapping):
        raise errors.Invalid(f"{path}: holds no settings by name")
    return tree
