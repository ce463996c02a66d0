"""Converts a network of pfann into one of ours, given its parameters and its JSON configuration.

Its parameters are `f.convs.0.conv1.weight` and so on for eight blocks, and `g.linear1`, `g.linear2` of the head, whose
small networks lie one after the other in grouped convolutions. PyTorch has channels first, ours are last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from nafp import config as settings
from nafp import errors

MARK = "f.convs.0.conv1.weight"  # A name that no other system has.
_LAYERS = (("conv1", "ln1", "time"), ("conv2", "ln2", "frequency"))


def convert(
    arrays: Mapping[str, np.ndarray], given: Mapping[str, Any]
) -> tuple[dict[str, Any], ml_collections.ConfigDict]:
    """Returns (variables, configuration). given: pfann's configuration. Raises KeyError for a missing parameter."""
    params: dict[str, Any] = {}
    for block in range(1, settings.N_BLOCKS + 1):
        for convolution, norm, axis in _LAYERS:
            above = f"f.convs.{block - 1}"
            params[f"block{block}_{axis}"] = {
                "kernel": arrays[f"{above}.{convolution}.weight"].transpose(2, 3, 1, 0),
                "bias": arrays[f"{above}.{convolution}.bias"],
                "norm_scale": arrays[f"{above}.{norm}.weight"].transpose(1, 2, 0),
                "norm_bias": arrays[f"{above}.{norm}.bias"].transpose(1, 2, 0),
            }
    params["head"] = _head(arrays)
    return {"params": params, "batch_stats": {}}, _config(params, given)


def _head(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the head's networks one by one. A row of the first convolution is a hidden unit of one of them."""
    output = arrays["g.linear2.weight"][..., 0]  # [D,U]
    dim, n_hidden = output.shape
    hidden = arrays["g.linear1.weight"][..., 0].reshape(dim, n_hidden, -1)  # [D,U,S]
    return {
        "hidden_kernel": hidden.transpose(0, 2, 1),
        "hidden_bias": arrays["g.linear1.bias"].reshape(dim, n_hidden),
        "output_kernel": output,
        "output_bias": arrays["g.linear2.bias"],
    }
