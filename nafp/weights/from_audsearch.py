"""Converts the benchmark's attention residual network, audsearch, into one of ours.

Its parameters are `encoder.encoder.frontend.0.weight` and so on, those of `resblock1` to `resblock6`, and those of
`head.linear1` and `head.linear2`. The file holds all of them twice, by other names. PyTorch has channels first, ours
are last. Its settings are constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

import nafp.config
from nafp.weights import from_pfann

MARK = "encoder.encoder.frontend.0.weight"  # A name that no other network has.
FRONT_ENDS = ("benchmark", "song_mine")
_N_BLOCKS = 6


def convert(arrays: Mapping[str, np.ndarray], *, front_end: str) -> tuple[dict[str, Any], ml_collections.ConfigDict]:
    """Returns (variables, configuration).

    arrays: by the names in the file. front_end: one of FRONT_ENDS. Raises KeyError for a missing parameter.
    """
    params: dict[str, Any] = {}
    statistics: dict[str, np.ndarray] = {}

    def layer(name: str, convolution: str, norm: str, attention: str = "") -> None:
        params[name] = {
            "kernel": arrays[f"{convolution}.weight"].transpose(2, 3, 1, 0),
            "bias": arrays[f"{convolution}.bias"],
            "norm_scale": arrays[f"{norm}.weight"],
            "norm_bias": arrays[f"{norm}.bias"],
        }
        if attention:
            params[name]["spectral"] = arrays[f"{attention}.Wspect"][..., 0]
            params[name]["temporal"] = arrays[f"{attention}.Wtemp"][..., 0]
        statistics[f"{name}_mean"] = arrays[f"{norm}.running_mean"].reshape(1, 1, 1, -1)
        statistics[f"{name}_variance"] = arrays[f"{norm}.running_var"].reshape(1, 1, 1, -1)

    layer("front", "encoder.encoder.frontend.0", "encoder.encoder.frontend.1")
    for block in range(1, _N_BLOCKS + 1):
        above = f"encoder.encoder.resblock{block}"
        layer(f"block{block}_first", f"{above}.conv1", f"{above}.bn1", f"{above}.attention1")
        layer(f"block{block}_second", f"{above}.conv2", f"{above}.bn2", f"{above}.attention2")
        if block > 1:
            kernel, bias = (arrays[f"{above}.identity_downsample.{name}"] for name in ("weight", "bias"))
            params[f"block{block}_shortcut"] = {"kernel": kernel[..., 0, 0].T, "bias": bias}
    params["head"] = from_pfann.grouped_head(arrays, "head")
    return {"params": params, "batch_stats": statistics}, _config(params, front_end)


def _config(params: Mapping[str, Any], front_end: str) -> ml_collections.ConfigDict:
    c = nafp.config.default()
    c.spectrogram.front_end, c.spectrogram.low_hz = front_end, 0.0
    c.model.name = "audsearch"
    c.model.dim, c.model.head_hidden = params["head"]["hidden_bias"].shape
    c.model.channels = tuple(len(params[f"block{i}_second"]["bias"]) for i in range(1, _N_BLOCKS + 1))
    return c
