"""Reads the trained networks of other systems: whose a file is, its parameters in our layout, and its configuration.

original    a checkpoint of TensorFlow: its prefix, its .index, or the folder that names its latest checkpoint
pfann       model.pt or checkpointN.ckpt, with the configs.json beside it, or MODEL.json beside MODEL.pt
benchmark   the .pt of a fingerprinter, of which song_mine's is one, or of audsearch
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

import nafp.config
from nafp import errors
from nafp.config import foreign
from nafp.jobs import choices, plain_files
from nafp.models import identities
from nafp.weights import from_audsearch, from_benchmark, from_original, from_pfann, tensor_bundles, torch_files, trained

_KNOWN = "need a checkpoint of TensorFlow (the original), or a model.pt of pfann or the benchmark"

Converted = tuple[dict[str, Any], ml_collections.ConfigDict, int]  # Variables, configuration, step.


def read(
    source: str | os.PathLike, *, settings_file: str | os.PathLike | None = None, front_end: str | None = None
) -> trained.Trained:
    """Reads a trained network of another system.

    source: a file of torch.save, or a checkpoint of TensorFlow. settings_file: pfann's JSON, where it is not beside the
    parameters, or the original's YAML, where it is not `default.yaml`. front_end: "nafp" (default) or "original" for a
    network of the original, "benchmark" (default) or "song_mine" for one of these two, see `from_original` and
    `nafp.models.front_ends`; pfann's file says its own. Raises errors.NotFound, and errors.Invalid for what is not a
    network that can be converted.
    """
    path = pathlib.Path(source)
    prefix = tensor_bundles.latest(path)
    if prefix is None and not path.is_file():
        raise errors.NotFound(f"{path}: no checkpoint of that name; {_KNOWN}.")
    try:
        if prefix:
            chosen = _chosen(front_end, from_original.FRONT_ENDS)
            arrays = tensor_bundles.read(prefix, under=from_original.UNDER)
            given = foreign.read(os.fspath(settings_file)).config if settings_file else None
            variables, config, step = from_original.convert(arrays, front_end=chosen, given=given)
        else:
            variables, config, step = _from_torch(path, settings_file, front_end)
    except errors.Error:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # Of parameters or settings.
        raise errors.Invalid(f"{path}: not a network that can be converted ({error}); {_KNOWN}.") from None
    variables = _as_float32(variables)
    _require_shapes(path, variables, config)
    return trained.Trained(variables, config, step, (prefix or path).name)


def _chosen(front_end: str | None, allowed: tuple[str, ...]) -> str:
    choices.require("--from_front_end", front_end or allowed[0], allowed)
    return front_end or allowed[0]


def _from_torch(path: pathlib.Path, settings_file: str | os.PathLike | None, front_end: str | None) -> Converted:
    """Reads a file of torch.save, which holds the parameters by name, or a training checkpoint with a "model"."""
    contents = torch_files.read(path)
    arrays = contents.get("model", contents) if isinstance(contents, dict) else {}
    if not arrays or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise errors.Invalid(f"{path}: holds no parameters by name; {_KNOWN}.")
    if from_pfann.MARK in arrays:
        _chosen(front_end, ("pfann",))
        epoch = contents.get("epoch", 0) if "model" in contents else 0
        return (*from_pfann.convert(arrays, _pfann_settings(path, settings_file)), int(epoch))
    network = from_audsearch if from_audsearch.MARK in arrays else from_benchmark
    return (*network.convert(arrays, front_end=_chosen(front_end, network.FRONT_ENDS)), 0)


def _pfann_settings(path: pathlib.Path, settings_file: str | os.PathLike | None) -> dict[str, Any]:
    named = (
        [pathlib.Path(settings_file)] if settings_file else [path.with_suffix(".json"), path.parent / "configs.json"]
    )
    for candidate in named:
        if candidate.is_file():
            return plain_files.json_object(candidate)
    raise errors.NotFound(
        f"{path}: needs pfann's configuration, {' or '.join(map(str, named))}; name it: --from_config=FILE.json"
    )


def _as_float32(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _as_float32(values) if isinstance(values, Mapping) else np.ascontiguousarray(values, np.float32)
        for name, values in tree.items()
    }


def _require_shapes(path: pathlib.Path, variables: Mapping[str, Any], config: ml_collections.ConfigDict) -> None:
    """Raises errors.Invalid unless the parameters are those of the network that the configuration describes."""
    from nafp.models import network

    nafp.config.validated(config)
    expected = identities.named(network.abstract_variables(config))
    given = identities.named(variables)
    for name in sorted(expected.keys() | given.keys()):
        shapes = [tuple(tree[name].shape) if name in tree else None for tree in (expected, given)]
        if shapes[0] != shapes[1]:
            raise errors.Invalid(
                f"{path}: {name} is of shape {shapes[1]}, but a network of these settings has {shapes[0]}."
            )
