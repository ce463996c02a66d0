"""Converts a network of pfann into one of ours, given its parameters and its JSON configuration.

Its parameters are `f.convs.0.conv1.weight` and so on for eight blocks, and `g.linear1`, `g.linear2` of the head, whose
small networks lie one after the other in grouped convolutions. PyTorch has channels first, ours are last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

import nafp.config
from nafp import errors

MARK = "f.convs.0.conv1.weight"  # A name that no other system has.
_EPSILON = 1e-5  # Of PyTorch's norms.
_LAYERS = (("conv1", "ln1", "time"), ("conv2", "ln2", "frequency"))


def convert(
    arrays: Mapping[str, np.ndarray], given: Mapping[str, Any]
) -> tuple[dict[str, Any], ml_collections.ConfigDict]:
    """Returns (variables, configuration). given: pfann's configuration. Raises KeyError for a missing parameter."""
    params: dict[str, Any] = {}
    for block in range(1, nafp.config.network.N_BLOCKS + 1):
        for convolution, norm, axis in _LAYERS:
            above = f"f.convs.{block - 1}"
            params[f"block{block}_{axis}"] = {
                "kernel": arrays[f"{above}.{convolution}.weight"].transpose(2, 3, 1, 0),
                "bias": arrays[f"{above}.{convolution}.bias"],
                "norm_scale": arrays[f"{above}.{norm}.weight"].transpose(1, 2, 0),
                "norm_bias": arrays[f"{above}.{norm}.bias"].transpose(1, 2, 0),
            }
    params["head"] = grouped_head(arrays, "g")
    return {"params": params, "batch_stats": {}}, _config(params, given)


def grouped_head(arrays: Mapping[str, np.ndarray], above: str) -> dict[str, np.ndarray]:
    """Returns the head of the convolutions `above`.linear1 and .linear2, as its networks one by one.

    A row of the first convolution is a hidden unit of one of the networks.
    """
    output = arrays[f"{above}.linear2.weight"][..., 0]  # [D,U]
    dim, n_hidden = output.shape
    hidden = arrays[f"{above}.linear1.weight"][..., 0].reshape(dim, n_hidden, -1)  # [D,U,S]
    return {
        "hidden_kernel": hidden.transpose(0, 2, 1),
        "hidden_bias": arrays[f"{above}.linear1.bias"].reshape(dim, n_hidden),
        "output_kernel": output,
        "output_bias": arrays[f"{above}.linear2.bias"],
    }


def _config(params: Mapping[str, Any], given: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Returns the configuration. Keys that pfann's files may leave out have the defaults of its code."""
    c, model = nafp.config.default(), given["model"]
    c.audio.sample_rate_hz = int(given["sample_rate"])
    c.audio.segment_s, c.audio.hop_s = float(given["segment_size"]), float(given["hop_size"])
    c.spectrogram.front_end = "pfann"
    c.spectrogram.n_fft, c.spectrogram.stft_hop = int(given["stft_n"]), int(given["stft_hop"])
    c.spectrogram.n_mels = int(given["n_mels"])
    c.spectrogram.low_hz, c.spectrogram.high_hz = float(given["f_min"]), float(given["f_max"])
    c.spectrogram.naf_mode = bool(given.get("naf_mode", False))
    c.spectrogram.mel_log = given.get("mel_log", "log")
    c.spectrogram.spec_norm = given.get("spec_norm", "l2")
    c.model.dim, c.model.head_hidden = params["head"]["hidden_bias"].shape
    c.model.channels = tuple(len(params[f"block{i}_time"]["bias"]) for i in range(1, nafp.config.network.N_BLOCKS + 1))
    c.model.time_strides = _time_strides(model.get("strides"))
    c.model.epsilon = _EPSILON
    c.model.depthwise = not model.get("fuller", False)
    c.model.activation = str(model.get("conv_activation", "ReLU")).lower()
    c.model.activation_order = "after_norm" if model.get("relu_after_bn", True) else "before_norm"
    return c


def _time_strides(strides: Any) -> tuple[int, ...]:
    """Returns the strides along time of pfann's [[[1, time], [frequency, 1]], ...], None for twos everywhere."""
    if strides is None:
        return (2,) * nafp.config.network.N_BLOCKS
    along = [tuple(int(stride) for pair in block for stride in pair) for block in strides]
    if any(block[0] != 1 or block[2:] != (2, 1) for block in along):
        raise errors.Invalid(f"strides {strides}: only [1, time] and [2, 1] in each block can be converted.")
    return tuple(block[1] for block in along)
