"""Opens AMG-Embedding's own checkpoints (last.pth): the network, and what its shapes tell of its settings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import ml_collections

from nafp import errors
from nafp.sequences import layouts, settings
from nafp.weights import torch_files

ENDINGS = (".pth", ".pt")
SECONDS = 10  # AMG-Embedding's default for the longest sequence, which its checkpoints do not say.
_DENSENET_DIM = 128  # Numbers in a fingerprint for the convolutional network, whose shapes do not tell it.


def read(path: str | os.PathLike, *, seconds: int = 0) -> tuple[dict[str, Any], ml_collections.ConfigDict]:
    """Reads a checkpoint: (variables, configuration). Neither PyTorch nor anything in the file runs.

    seconds: the longest sequence that the network was trained for, 0 for 10. Raises nafp.errors.Invalid for a file of
    something else.
    """
    saved = torch_files.read(path)
    tensors = saved.get("model", saved) if isinstance(saved, Mapping) else {}
    name = _name(tensors) if isinstance(tensors, Mapping) else ""
    if not name:
        raise errors.Invalid(f"{path}: no checkpoint of AMG-Embedding's networks")
    config = settings.default()
    try:
        with config.unlocked():
            config.chunk.seconds = seconds or SECONDS
            config.model.update({"name": name, **_fields(name, tensors)})
        return layouts.from_torch(name, tensors, heads=config.model.heads), config
    except errors.Error:
        raise
    except (
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # A parameter is missing, or of another shape.
        raise errors.Invalid(f"{path}: its parameters are not those of a {name} of AMG-Embedding: {error}") from None


def _name(tensors: Mapping[str, Any]) -> str:
    """Returns the name of the network that the parameters belong to, "" for those of no known network."""
    marks = {"transformer": "encoder.layers.0.norm1.weight", "lstm": "lstm.weight_hh_l0", "densenet": "conv.weight"}
    return next((name for name, mark in marks.items() if mark in tensors), "")


def _fields(name: str, tensors: Mapping[str, Any]) -> dict[str, int]:
    """Returns the settings of config.model that the shapes tell. The number of heads is AMG-Embedding's."""
    if name == "transformer":
        width, n_in = tensors["linear1.weight"].shape
        layers = {match[1] for key in tensors if (match := re.match(r"encoder\.layers\.(\d+)\.", key))}
        hidden = tensors["encoder.layers.0.linear1.weight"].shape[0]
        out = tensors["linear2.weight"].shape[0]
        return dict(fingerprint_dim=n_in, width=width, layers=len(layers), feed_forward=hidden, dim=out)
    out = tensors["fc.weight"].shape[0]
    if name == "densenet":
        return dict(fingerprint_dim=_DENSENET_DIM, dim=out)
    layers = {match[1] for key in tensors if (match := re.match(r"lstm\.weight_hh_l(\d+)$", key))}
    n_in, width = tensors["lstm.weight_ih_l0"].shape[1], tensors["lstm.weight_hh_l0"].shape[1]
    return dict(fingerprint_dim=n_in, width=width, layers=len(layers), dim=out)
