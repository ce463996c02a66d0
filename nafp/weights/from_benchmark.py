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

import nafp.config

FRONT_ENDS = ("benchmark", "song_mine")  # The two systems share the network.
_EPSILON = 1e-5  # Of PyTorch's norms.
_AXES = (("1x3", "time"), ("3x1", "frequency"))


def convert(arrays: Mapping[str, np.ndarray], *, front_end: str) -> tuple[dict[str, Any], ml_collections.ConfigDict]:
    """Returns (variables, configuration).

    arrays: by the names in the file. front_end: one of FRONT_ENDS. Raises KeyError for a missing parameter.
    """
    params: dict[str, Any] = {}
    for block in range(1, nafp.config.network.N_BLOCKS + 1):
        for taps, axis in _AXES:
            above = f"encoder.encoder.{block - 1}"
            params[f"block{block}_{axis}"] = {
                "kernel": arrays[f"{above}.separable_conv2d_{taps}.weight"].transpose(2, 3, 1, 0),
                "bias": arrays[f"{above}.separable_conv2d_{taps}.bias"],
                "norm_scale": arrays[f"{above}.BN_{taps}.weight"].transpose(1, 2, 0),
                "norm_bias": arrays[f"{above}.BN_{taps}.bias"].transpose(1, 2, 0),
            }
    params["head"] = _head(arrays)
    return {"params": params, "batch_stats": {}}, _config(params, front_end)


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
        "norm_scale": stacked("2.weight"),
        "norm_bias": stacked("2.bias"),
    }


def _config(params: Mapping[str, Any], front_end: str) -> ml_collections.ConfigDict:
    c = nafp.config.default()
    c.spectrogram.front_end, c.spectrogram.low_hz = front_end, 0.0
    c.model.dim, c.model.head_hidden = params["head"]["hidden_bias"].shape
    c.model.channels = tuple(len(params[f"block{i}_time"]["bias"]) for i in range(1, nafp.config.network.N_BLOCKS + 1))
    c.model.time_strides = (2,) * nafp.config.network.N_BLOCKS
    c.model.padding, c.model.head_norm, c.model.epsilon = "symmetric", True, _EPSILON
    c.model.activation = "relu"
    return c
