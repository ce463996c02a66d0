"""The same network in PyTorch, driven by lines on its standard input.

python _torch_rival.py FILE.npz

The command `forward N` fingerprints the batch in parts of N segments, and `train` computes loss and gradients. Each
prints one line with the CPU seconds and writes its arrays to FILE.out.npz. FILE.npz holds the parameters by layer and
`mel` [B, F, T]. This file imports neither nafp nor JAX, so any interpreter that has PyTorch can run it.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn


class TorchLayer(nn.Module):
    """A convolution of three taps with "same" padding, an ELU, and a norm over the whole segment."""

    def __init__(self, arrays: dict[str, np.ndarray], name: str, stride: int, n_taps_met: int):
        super().__init__()
        kernel = arrays[f"{name}/kernel"].transpose(3, 2, 0, 1).copy()  # [D,C,taps,taps]
        along_time = kernel.shape[3] == 3
        before, after = (1, 1) if stride == 1 or n_taps_met == 1 else (0, 1)
        self.padding = (before, after, 0, 0) if along_time else (0, 0, before, after)
        strides = (1, stride) if along_time else (stride, 1)
        self.convolution = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2:], strides)
        self.convolution.weight.data = torch.from_numpy(kernel)
        self.convolution.bias.data = torch.from_numpy(arrays[f"{name}/bias"])
        scale = arrays[f"{name}/norm_scale"].transpose(2, 0, 1).copy()
        self.norm = nn.LayerNorm(scale.shape, eps=1e-3)
        self.norm.weight.data = torch.from_numpy(scale)
        self.norm.bias.data = torch.from_numpy(arrays[f"{name}/norm_bias"].transpose(2, 0, 1).copy())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.convolution(nn.functional.pad(x, self.padding))
        return self.norm(nn.functional.elu(x))


class TorchNetwork(nn.Module):
    """Sixteen such layers, then the divide-and-encode head. mel: [B, F, T]. Returns [B, D] of unit length."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__()
        names, strides, taps = (arrays[k] for k in ("names", "strides", "positions"))
        self.layers = nn.Sequential(
            *(TorchLayer(arrays, str(name), int(stride), int(n)) for name, stride, n in zip(names, strides, taps))
        )
        head = ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
        for name in head:
            self.register_parameter(name, nn.Parameter(torch.from_numpy(arrays[f"head/{name}"])))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        x = self.layers(mel[:, None]).flatten(1)
        x = x.reshape(len(x), len(self.output_bias), -1)
        hidden = torch.einsum("bds,dsu->bdu", x, self.hidden_kernel) + self.hidden_bias
        values = (nn.functional.elu(hidden) * self.output_kernel).sum(-1) + self.output_bias
        return nn.functional.normalize(values)


def nt_xent(z: torch.Tensor) -> torch.Tensor:
    """Computes the contrastive loss of a batch. z: [2N, D], where the second half are the replicas of the first."""
    n = len(z)
    logits = (z @ z.T / 0.05).masked_fill(torch.eye(n, dtype=torch.bool), -1e9)
    return nn.functional.cross_entropy(logits, (torch.arange(n) + n // 2) % n)


def forward(network: TorchNetwork, mel: torch.Tensor, at_once: int) -> dict[str, np.ndarray]:
    """Fingerprints a batch in parts of `at_once` segments."""
    with torch.inference_mode():
        parts = [network(part) for part in mel.split(at_once)]
    return {"fingerprints": torch.cat(parts).numpy()}


def train(network: TorchNetwork, mel: torch.Tensor) -> dict[str, np.ndarray]:
    """Computes the loss and all gradients. Returns the loss and the gradient of the third layer's kernel."""
    network.zero_grad(set_to_none=True)
    loss = nt_xent(network(mel))
    loss.backward()
    gradient = network.layers[2].convolution.weight.grad
    return {"loss": loss.detach().numpy(), "gradient": gradient.numpy().transpose(2, 3, 1, 0)}


WORKS: dict[str, Callable[..., dict[str, Any]]] = {"forward": forward, "train": train}


def main(path: str) -> None:
    torch.set_num_threads(1)
    arrays = dict(np.load(path))
    network, mel = TorchNetwork(arrays), torch.from_numpy(arrays["mel"])
    print(f"ready {torch.__version__} {os.environ.get('MALLOC_MMAP_MAX_', 'untuned')}", flush=True)
    for line in sys.stdin:
        verb, *numbers = line.split()
        began = time.process_time()
        result = WORKS[verb](network, mel, *map(int, numbers))
        taken = time.process_time() - began
        np.savez(path + ".out.npz", **result)
        print(taken, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
