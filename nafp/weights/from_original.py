"""Converts a checkpoint of the original system (Chang et al., ICASSP 2021) into a network of ours.

Its variables are `model/front_conv/layer_with_weights-0/conv2d_1x3/kernel` and so on for eight blocks, and
`model/div_enc/split_fc_layers/0/layer_with_weights-0/kernel` and so on for each number of a fingerprint. Keras' layouts
are ours. The original subtracts the maximum over a whole batch from its spectrograms, so that a fingerprint depends on
its batch mates. The front end "nafp" subtracts that of each segment, which is the original's for a batch of one;
"original" subtracts that of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

import nafp.config

UNDER = ("model/", "optimizer/iter/")  # What is read of a checkpoint. The optimiser's averages are twice as much.
FRONT_ENDS = ("nafp", "original")
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_STEP = f"optimizer/iter{_SUFFIX}"
_AXES = (("1x3", "time"), ("3x1", "frequency"))


def convert(
    arrays: Mapping[str, np.ndarray], *, front_end: str, given: ml_collections.ConfigDict | None = None
) -> tuple[dict[str, Any], ml_collections.ConfigDict, int]:
    """Returns (variables, configuration, step).

    arrays: by the names in the checkpoint. front_end: one of FRONT_ENDS. given: how the network sees sound, None for
    the original's `default.yaml`. Raises KeyError for a missing parameter.
    """
    model = {name.removeprefix("model/").removesuffix(_SUFFIX): array for name, array in arrays.items()}
    params: dict[str, Any] = {}
    statistics: dict[str, np.ndarray] = {}
    for block in range(1, nafp.config.network.N_BLOCKS + 1):
        for taps, axis in _AXES:
            above, name = f"front_conv/layer_with_weights-{block - 1}", f"block{block}_{axis}"
            norm = f"{above}/BN_{taps}"
            params[name] = {
                "kernel": model[f"{above}/conv2d_{taps}/kernel"],
                "bias": model[f"{above}/conv2d_{taps}/bias"],
                "norm_scale": model[f"{norm}/gamma"],
                "norm_bias": model[f"{norm}/beta"],
            }
            if f"{norm}/moving_mean" in model:
                statistics[f"{name}_mean"] = model[f"{norm}/moving_mean"].reshape(1, 1, 1, -1)
                statistics[f"{name}_variance"] = model[f"{norm}/moving_variance"].reshape(1, 1, 1, -1)
    params["head"] = _head(model)
    step = int(arrays.get(_STEP, 0))
    return {"params": params, "batch_stats": statistics}, _config(params, statistics, front_end, given), step


def _head(model: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    n_slices = sum(name.startswith("div_enc/") and name.endswith("-0/kernel") for name in model)

    def stacked(layer: int, kind: str) -> np.ndarray:
        layers = [f"div_enc/split_fc_layers/{i}/layer_with_weights-{layer}" for i in range(n_slices)]
        return np.stack([model[f"{name}/{kind}"] for name in layers])

    return {
        "hidden_kernel": stacked(0, "kernel"),
        "hidden_bias": stacked(0, "bias"),
        "output_kernel": stacked(1, "kernel")[..., 0],
        "output_bias": stacked(1, "bias")[..., 0],
    }


def _config(
    params: Mapping[str, Any],
    statistics: Mapping[str, Any],
    front_end: str,
    given: ml_collections.ConfigDict | None,
) -> ml_collections.ConfigDict:
    c = nafp.config.default()
    if given is not None:
        c.audio.update(given.audio)
        for name in ("n_fft", "stft_hop", "n_mels", "low_hz", "high_hz"):
            c.spectrogram[name] = given.spectrogram[name]
        c.spectrogram.maxnorm = given.spectrogram.maxnorm
    c.model.channels = tuple(len(params[f"block{i}_time"]["bias"]) for i in range(1, nafp.config.network.N_BLOCKS + 1))
    c.model.dim, c.model.head_hidden = params["head"]["hidden_bias"].shape
    is_2d = params["block1_time"]["norm_scale"].ndim == 3
    c.model.norm = "batch_norm" if statistics else "layer_norm2d" if is_2d else "layer_norm1d"
    c.spectrogram.front_end = front_end
    c.spectrogram.floor = "fixed" if front_end == "nafp" else "relative"
    return c
