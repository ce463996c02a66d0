"""Converts a fingerprinter of the benchmark, or of song_mine, into a network of ours.

Its parameters are `encoder.encoder.0.separable_conv2d_1x3.weight` and so on for eight blocks, of which the file holds a
second copy by other names, and `div_enc_layer.split_fc_layers.0.0.weight` and so on for each number of a fingerprint:
0 the hidden layer, 2 its norm, 3 the output. PyTorch has channels first, ours are last. Its settings are constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from nafp import config as settings

_AXES = (("1x3", "time"), ("3x1", "frequency"))


def convert(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], ml_collections.ConfigDict]:
    """Returns (variables, configuration). arrays: by the names in the file. Raises KeyError for others."""
    params: dict[str, Any] = {}
    for block in range(1, settings.N_BLOCKS + 1):
        for taps, axis in _AXES:
            above = f"encoder.encoder.{block - 1}"
            params[f"block{block}_{axis}"] = {
                "kernel": arrays[f"{above}.separable_conv2d_{taps}.weight"].transpose(2, 3, 1, 0),
                "bias": arrays[f"{above}.separable_conv2d_{taps}.bias"],
                "norm_scale": arrays[f"{above}.BN_{taps}.weight"].transpose(1, 2, 0),
                "norm_bias": arrays[f"{above}.BN_{taps}.bias"].transpose(1, 2, 0),
            }
    params["head"] = _head(arrays)
    return {"params": params, "batch_stats": {}}, _config(params)


def _head(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    above = "div_enc_layer.split_fc_layers"
    n_slices = sum(name.startswith(above) and name.endswith(".0.weight") for name in arrays)

    def stacked(name: str) -> np.ndarray:
        return np.stack([arrays[f"{above}.{i}.{name}"] for i in range(n_slices)])

    return {
        "hidden_kernel": stacked("0.weight").transpose(0, 2, 1),
        "hidden_bias": stacked("0.bias"),
        "output_kernel": stacked("3.weight")[:, 0],
        "output_bias": stacked("3.bias")[:, 0],
    }
