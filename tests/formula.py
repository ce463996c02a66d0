"""Parameters of published networks at their true size, computed by a formula in place of a file.

The systems computed the vectors of tests/vectors/networks.npz with the same parameters. A tensor has n elements in C
order of the system's own layout, and a number, its salt. With p = 2147483647 and k = (i + 1 + 1000003 salt) mod p, its
i-th value follows from h = 2 (((k^2 mod p) 1103515245) mod p) / p - 1, which lies in -1..1.
"""

import numpy as np

_P = 2147483647
_GAINS = ("gamma", "var")


class Drawer:
    """Draws tensors in the order in which a system lists them. Each takes the next salt."""

    def __init__(self):
        self.salt = 0

    def skip(self, n_tensors):
        self.salt += n_tensors

    def weight(self, *shape, fan_in):
        return (np.sqrt(3 / fan_in) * self._next(shape)).astype(np.float32)

    def bias(self, *shape):
        return (0.1 * self._next(shape)).astype(np.float32)

    def gain(self, *shape):
        return (1 + 0.25 * self._next(shape)).astype(np.float32)

    def _next(self, shape):
        k = (np.arange(1, np.prod(shape) + 1, dtype=np.uint64) + np.uint64(1000003 * self.salt)) % _P
        self.salt += 1
        return (2 * ((k * k % _P) * 1103515245 % _P) / _P - 1).reshape(shape)


def naf(plan, *, dim, norm):
    """The original's, in Keras' layout, which is ours. plan: the layers as our network has them."""
    draw, params, stats = Drawer(), {}, {}
    for layer in plan:
        affine = layer.shape if norm == "layer_norm2d" else layer.shape[2:]
        p = {"kernel": draw.weight(*layer.kernel_shape, fan_in=np.prod(layer.kernel_shape[:3]))}
        p |= {"bias": draw.bias(layer.shape[2]), "norm_scale": draw.gain(*affine), "norm_bias": draw.bias(*affine)}
        if norm == "batch_norm":
            stats[f"{layer.name}_mean"] = draw.bias(1, 1, 1, layer.shape[2])
            stats[f"{layer.name}_variance"] = draw.gain(1, 1, 1, layer.shape[2])
        params[layer.name] = p
    width = plan[-1].shape[2] // dim
    heads = [
        (draw.weight(width, 32, fan_in=width), draw.bias(32), draw.weight(32, fan_in=32), draw.bias())
        for _ in range(dim)
    ]
    params["head"] = _stacked(heads, ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias"))
    return {"params": params, "batch_stats": stats}


def pfann(plan, *, dim):
    """pfann's, from PyTorch's layout."""
    draw, params = Drawer(), {}
    for layer in plan:
        f, t, c, d = layer.kernel_shape
        kernel = draw.weight(d, c, f, t, fan_in=f * t * c).transpose(2, 3, 1, 0)
        params[layer.name] = {"kernel": kernel, "bias": draw.bias(d), **_affine(draw, layer.shape)}
    params["head"] = _grouped(draw, dim, plan[-1].shape[2] // dim)
    return {"params": params, "batch_stats": {}}


def benchmark(plan, *, dim):
    """The benchmark's and song_mine's fingerprinter, which lists the tensors of a block twice."""
    draw, params = Drawer(), {}
    for pair in zip(plan[::2], plan[1::2]):
        for layer in pair:
            f, t, c, d = layer.kernel_shape
            kernel = draw.weight(d, c, f, t, fan_in=f * t * c).transpose(2, 3, 1, 0)
            params[layer.name] = {"kernel": kernel, "bias": draw.bias(d)}
        for layer in pair:
            params[layer.name] |= _affine(draw, layer.shape)
        draw.skip(8)
    width, heads = plan[-1].shape[2] // dim, []
    for _ in range(dim):
        hidden = draw.weight(32, width, fan_in=width).T, draw.bias(32)
        normed = draw.gain(32), draw.bias(32)
        heads.append((*hidden, *normed, draw.weight(1, 32, fan_in=32)[0], draw.bias(1)[0]))
    names = ("hidden_kernel", "hidden_bias", "norm_scale", "norm_bias", "output_kernel", "output_bias")
    params["head"] = _stacked(heads, names)
    return {"params": params, "batch_stats": {}}


def audsearch(front, blocks, *, dim):
    """The benchmark's attention residual network. front, blocks: as `attention_residual.plan` returns them."""
    draw, params, stats = Drawer(), {}, {}

    def convolution(layer):
        c = layer.shape[2]
        kernel = draw.weight(c, layer.n_inputs, 3, 3, fan_in=9 * layer.n_inputs).transpose(2, 3, 1, 0)
        p = {"kernel": kernel, "bias": draw.bias(c), "norm_scale": draw.gain(c), "norm_bias": draw.bias(c)}
        stats[f"{layer.name}_mean"], stats[f"{layer.name}_variance"] = draw.bias(1, 1, 1, c), draw.gain(1, 1, 1, c)
        return p

    def attention(layer):
        n_bins, n_frames, c = layer.shape
        temporal = draw.weight(c, n_bins, fan_in=n_bins)
        return {"temporal": temporal, "spectral": draw.weight(c, n_frames, fan_in=n_frames)}

    params[front.name] = convolution(front)
    for block in blocks:
        params[block.first.name] = {**convolution(block.first), **attention(block.first)}
        params[block.second.name] = convolution(block.second)
        if block.shortcut:
            c, d = block.first.n_inputs, block.first.shape[2]
            params[block.shortcut] = {"kernel": draw.weight(d, c, fan_in=c).T, "bias": draw.bias(d)}
        params[block.second.name] |= attention(block.second)
    params["head"] = _grouped(draw, dim, int(np.prod(blocks[-1].second.shape)) // dim)
    return {"params": params, "batch_stats": stats}


def _affine(draw, shape):
    """A layer norm over [F,T,C], which PyTorch holds as [C,F,T]."""
    n_bins, n_frames, c = shape
    scale, shift = draw.gain(c, n_bins, n_frames), draw.bias(c, n_bins, n_frames)
    return {"norm_scale": scale.transpose(1, 2, 0), "norm_bias": shift.transpose(1, 2, 0)}


def _grouped(draw, dim, width):
    """A head of grouped convolutions in PyTorch's layout."""
    hidden = draw.weight(dim * 32, width, fan_in=width).reshape(dim, 32, width).transpose(0, 2, 1)
    p = {"hidden_kernel": hidden, "hidden_bias": draw.bias(dim * 32).reshape(dim, 32)}
    return p | {"output_kernel": draw.weight(dim, 32, fan_in=32), "output_bias": draw.bias(dim)}


def _stacked(heads, names):
    return {name: np.stack(arrays) for name, arrays in zip(names, zip(*heads, strict=True), strict=True)}
