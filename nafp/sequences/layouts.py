"""Reads the parameters of AMG-Embedding's own networks: the names and layouts of PyTorch into ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nafp import errors
from nafp.jobs import choices

Tensors = Mapping[str, np.ndarray]
_GATES = "ifgo"  # The order of the gates in PyTorch's matrices.


def from_torch(name: str, tensors: Tensors, *, heads: int = 8) -> dict[str, Any]:
    """Returns the variables of a network from the state dictionary of AMG-Embedding's network of that kind.

    name: of our network. tensors: by PyTorch's names. heads: of the transformer; the shapes do not tell. The
    transformer's `encoder_layer`, which no output depends on, is left out. Raises nafp.errors.Invalid for tensors that
    are not of such a network.
    """
    choices.require("network", name, _READERS)
    try:
        return _READERS[name](tensors, heads)
    except KeyError as error:
        raise errors.Invalid(f"these are no parameters of a {name} of AMG-Embedding: {error} is missing") from None


def _transformer(tensors: Tensors, heads: int) -> dict[str, Any]:
    numbers = {int(match[1]) for key in tensors if (match := re.match(r"encoder\.layers\.(\d+)\.", key))}
    params: dict[str, Any] = {"into": _dense(tensors, "linear1"), "embed": _dense(tensors, "linear2")}
    for number in sorted(numbers):
        above = f"encoder.layers.{number}"
        params[f"layer{number}"] = {
            "attention": _attention(tensors, f"{above}.self_attn", heads),
            "hidden": _dense(tensors, f"{above}.linear1"),
            "out": _dense(tensors, f"{above}.linear2"),
            "norm1": _norm(tensors, f"{above}.norm1"),
            "norm2": _norm(tensors, f"{above}.norm2"),
        }
    return {"params": params, "batch_stats": {}}


def _attention(tensors: Tensors, name: str, heads: int) -> dict[str, Any]:
    kernels = np.split(tensors[f"{name}.in_proj_weight"], 3)  # [W, W] of queries, keys, values.
    biases = np.split(tensors[f"{name}.in_proj_bias"], 3)
    width = len(kernels[0])
    entries: dict[str, Any] = {
        kind: {"kernel": kernel.T.reshape(width, heads, -1), "bias": bias.reshape(heads, -1)}
        for kind, kernel, bias in zip(("query", "key", "value"), kernels, biases)
    }
    out = _dense(tensors, f"{name}.out_proj")
    return entries | {"out": {"kernel": out["kernel"].reshape(heads, -1, width), "bias": out["bias"]}}


def _lstm(tensors: Tensors, heads: int) -> dict[str, Any]:
    params: dict[str, Any] = {"embed": _dense(tensors, "fc")}
    layers = {int(match[1]) for key in tensors if (match := re.match(r"lstm\.weight_ih_l(\d+)", key))}
    for number in sorted(layers):
        for way, ending in (("forward", ""), ("backward", "_reverse")):
            params[f"{way}{number}"] = _cell(tensors, f"l{number}{ending}")
    return {"params": params, "batch_stats": {}}


def _cell(tensors: Tensors, name: str) -> dict[str, Any]:
    bias = tensors[f"lstm.bias_ih_{name}"] + tensors[f"lstm.bias_hh_{name}"]
    inputs = np.split(tensors[f"lstm.weight_ih_{name}"], 4)
    hidden = zip(np.split(tensors[f"lstm.weight_hh_{name}"], 4), np.split(bias, 4))
    from_input: dict[str, Any] = {f"i{gate}": {"kernel": kernel.T} for gate, kernel in zip(_GATES, inputs)}
    return from_input | {f"h{gate}": {"kernel": kernel.T, "bias": b} for gate, (kernel, b) in zip(_GATES, hidden)}


def _densenet(tensors: Tensors, heads: int) -> dict[str, Any]:
    params: dict[str, Any] = {
        "colours": {"kernel": _image(tensors["conv.weight"]), "bias": tensors["conv.bias"]},
        "classes": _dense(tensors, "backbone.classifier"),
        "embed": _dense(tensors, "fc"),
    }
    statistics: dict[str, Any] = {}
    for key in tensors:
        name = _densenet_name(key)
        if not name or not key.endswith(".weight"):
            continue
        above = key.removesuffix(".weight")
        if "conv" in name:
            params[name] = {"kernel": _image(tensors[key])}
        else:
            params[name] = _norm(tensors, above)
            statistics[name] = {"mean": tensors[f"{above}.running_mean"], "var": tensors[f"{above}.running_var"]}
    return {"params": params, "batch_stats": statistics}


def _densenet_name(key: str) -> str:
    """Returns our name of a layer between the first convolution and the last norm, "" for anything else."""
    if match := re.match(r"backbone\.features\.denseblock(\d)\.denselayer(\d+)\.(\w+)\.", key):
        return f"block{int(match[1]) - 1}_layer{int(match[2]) - 1}_{match[3]}"
    if match := re.match(r"backbone\.features\.transition(\d)\.(\w+)\.", key):
        return f"transition{int(match[1]) - 1}_{match[2]}"
    if match := re.match(r"backbone\.features\.(conv0|norm0|norm5)\.", key):
        return {"norm5": "norm_last"}.get(match[1], match[1])
    return ""


def _dense(tensors: Tensors, name: str) -> dict[str, np.ndarray]:
    return {"kernel": tensors[f"{name}.weight"].T, "bias": tensors[f"{name}.bias"]}


def _norm(tensors: Tensors, name: str) -> dict[str, np.ndarray]:
    return {"scale": tensors[f"{name}.weight"], "bias": tensors[f"{name}.bias"]}


def _image(kernel: np.ndarray) -> np.ndarray:
    """Moves the axes of a convolution's kernel from [out, in, height, width] to [height, width, in, out]."""
    return kernel.transpose(2, 3, 1, 0)


_READERS: dict[str, Callable[[Tensors, int], dict[str, Any]]] = {
    "transformer": _transformer,
    "lstm": _lstm,
    "densenet": _densenet,
}
