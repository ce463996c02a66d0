"""Runs a trained network in numpy alone, where JAX is not installed or would take too long to start.

It computes the forward pass in float32, as matrix products over a few segments at a time. It has the results of
`nafp.models.network.JaxNetwork` to 1e-4.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import ml_collections
import numpy as np

from nafp import config as settings
from nafp.audio import segments
from nafp.jobs import choices, threads
from nafp.models import filterbank, protocol

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

# These are no settings. They repeat defaults of nafp.models.fingerprinter.Fingerprinter, and a test compares the two.
_TIME_STRIDES = (2, 2, 2, 2, 1, 2, 1, 2)
_EPSILON, _TINY_LENGTH, _TINY_LEVEL = 1e-3, 1e-12, 1e-20
# Segments that go through a layer together. The first layers take few, whose activations stay in the cache; the last
# layers take many, because their kernels are larger than their activations. _GROUPS: (number of layers, segments).
_BATCH = 32
_BATCHES_A_THREAD = 2  # A pool of threads costs some milliseconds, a batch some tens of them.
_SHARE = 8  # Segments below which a thread is not worth its start.
_GROUPS = ((4, 2), (4, 8))


class _Layer(NamedTuple):
    axis: int  # 1 frequency, 2 time.
    stride: int
    kernel: np.ndarray  # [3,C,D], depthwise [3,1,D].
    bias: np.ndarray  # [D]
    scale: np.ndarray  # Flat: [F'*T'*D] of layer_norm2d, else [D].
    shift: np.ndarray  # As `scale`.
    fixed: bool  # True with batch norm: its running statistics are part of scale and shift.


class NumpyNetwork:
    """A trained network that numpy runs, a `nafp.models.protocol.Network`.

    variables: "params" and "batch_stats", each nested by layer. bank: mel filters and window that came with the
    parameters; None computes them. A fingerprint depends on its segment alone. Raises nafp.errors.Invalid for a
    configuration that it cannot run.
    """

    def __init__(
        self,
        variables: Mapping[str, Any],
        config: ml_collections.ConfigDict,
        *,
        identity: Mapping[str, Any],
        bank: filterbank.MelBank | None = None,
    ):
        model = config.model
        choices.require("config.model.name", model.name, settings.network.ARCHITECTURES)
        choices.require("config.model.norm", model.norm, settings.network.NORMS)
        choices.require("config.model.activation", model.activation, settings.network.ACTIVATIONS)
        choices.require("config.model.activation_order", model.activation_order, settings.network.ORDERS)
        self.config = config
        self.sample_rate_hz: int = config.audio.sample_rate_hz
        self.segment = segments.to_samples(config.audio.segment_s, self.sample_rate_hz)
        self.hop = segments.to_samples(config.audio.hop_s, self.sample_rate_hz)
        self.dim: int = model.dim
        self.batch_size = _BATCHES_A_THREAD * _BATCH * threads.n_threads()
        self.identity: Mapping[str, Any] = identity
        self._activate = _ACTIVATIONS[model.activation]
        self._activate_first = model.activation_order == "before_norm"
        self._mel = dict(config.spectrogram.to_dict(), sample_rate_hz=self.sample_rate_hz, bank=bank)
        self._layers = _layers(variables, model)
        self._head = {k: np.asarray(v, np.float32) for k, v in variables["params"]["head"].items()}

    def __call__(self, waveforms: Float[np.ndarray, "n S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of segments in -1..1: each of unit length. n may be 0."""
        waveforms = np.asarray(waveforms, np.float32)
        protocol.require_segments(self, waveforms)
        if not len(waveforms):
            return np.zeros((0, self.dim), np.float32)
        # Each thread takes a share of the segments. The threads of BLAS would share every product instead, and wait for
        # each other by spinning, which costs 8 times the CPU beside other work.
        shares = threads.shares(len(waveforms), n=threads.n_threads(), smallest=_SHARE)
        with threads.threads(len(shares)) as lend:
            return np.concatenate(lend(lambda share: self._batched(waveforms[share]), shares))

    def track(self, samples: Float[np.ndarray, " S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of a whole waveform at the hop."""
        return self(segments.frame(samples, segment=self.segment, hop=self.hop))

    def start(self, waveforms: Float32[np.ndarray, "B S"]) -> Float32[np.ndarray, "B D"]:
        """Computes the fingerprints of exactly `batch_size` segments, complete on return."""
        return self(waveforms)

    def at_hop(self, hop: int) -> NumpyNetwork:
        """Returns the same network with another hop, in samples."""
        other = copy.copy(self)
        other.hop = hop
        return other

    def _batched(self, waveforms: np.ndarray) -> np.ndarray:
        return np.concatenate([self._fingerprint(waveforms[i : i + _BATCH]) for i in range(0, len(waveforms), _BATCH)])

    def _fingerprint(self, waveforms: np.ndarray) -> np.ndarray:
        x = log_mel(waveforms, **self._mel)[..., None]  # [B,F,T,1]
        first = 0
        for n_layers, size in (*_GROUPS, (len(self._layers), _BATCH)):
            group = self._layers[first : first + n_layers]
            first += n_layers
            x = np.concatenate([self._run(x[i : i + size], group) for i in range(0, len(x), size)])
        return _encode(x.reshape(len(x), self.dim, -1), self._head)

    def _run(self, x: np.ndarray, layers: Sequence[_Layer]) -> np.ndarray:
        for layer in layers:
            x = _convolve(x, layer)
            if self._activate_first:
                _normalise(self._activate(x), layer)
            else:
                self._activate(_normalise(x, layer))
        return x


def _layers(variables: Mapping[str, Any], model: ml_collections.ConfigDict) -> list[_Layer]:
    statistics = variables["batch_stats"] if model.norm == "batch_norm" else None
    layers = []
    for i, stride in enumerate(_TIME_STRIDES, 1):
        for name, axis, step in ((f"block{i}_time", 2, stride), (f"block{i}_frequency", 1, 2)):
            layers.append(_layer(name, axis, step, variables["params"][name], statistics))
    return layers


def _layer(
    name: str, axis: int, stride: int, parameters: Mapping[str, Any], statistics: Mapping[str, Any] | None
) -> _Layer:
    p = {key: np.asarray(value, np.float32) for key, value in parameters.items()}
    scale, shift = p["norm_scale"].ravel(), p["norm_bias"].ravel()
    if statistics is not None:
        mean = np.asarray(statistics[f"{name}_mean"], np.float32).ravel()
        variance = np.asarray(statistics[f"{name}_variance"], np.float32).ravel()
        scale = scale / np.sqrt(variance + np.float32(_EPSILON))
        shift = shift - mean * scale
    kernel = p["kernel"].reshape(3, *p["kernel"].shape[2:])
    return _Layer(axis, stride, kernel, p["bias"], scale, shift, statistics is not None)


def _convolve(x: np.ndarray, layer: _Layer) -> np.ndarray:
    """Convolves x [B,F,T,C] along the layer's axis with "SAME" padding, as one matrix product: [B,F',T',D]."""
    seen, kernel = _columns(x, layer.axis, layer.stride), layer.kernel
    if x.shape[layer.axis] == 1:
        kernel = kernel[1:2]  # The outer taps meet only padding.
    if kernel.shape[1] < x.shape[3]:  # Depthwise: every channel has taps of its own.
        y = np.einsum("bftkc,kc->bftc", seen, kernel[:, 0])
    else:
        y = seen.reshape(-1, kernel.shape[0] * kernel.shape[1]) @ kernel.reshape(-1, kernel.shape[2])
        y = y.reshape(*seen.shape[:3], -1)
    y += layer.bias
    return y


def _columns(x: np.ndarray, axis: int, stride: int) -> np.ndarray:
    """Copies the inputs of every tap from x [B,F,T,C], zeros beyond its ends: [B,F',T',taps,C]."""
    n = x.shape[axis]
    if n == 1:
        return x[..., None, :]
    n_out = -(-n // stride)
    before = max((n_out - 1) * stride + 3 - n, 0) // 2
    shape = [*x.shape[:3], 3, x.shape[3]]
    shape[axis] = n_out
    seen = np.zeros(shape, np.float32)
    lead = (slice(None),) * axis
    for tap in range(3):
        first = max(0, -((tap - before) // stride))  # Output whose tap is the first inside.
        start = first * stride + tap - before
        inside = x[(*lead, slice(start, None, stride))]
        inside = inside[(*lead, slice(0, n_out - first))]
        seen[(*lead, slice(first, first + inside.shape[axis]))][..., tap, :] = inside
    return seen


def _normalise(x: np.ndarray, layer: _Layer) -> np.ndarray:
    """Normalises x to mean 0 and variance 1 over the layer's axes, then scales and shifts it. Works in place."""
    rows = x.reshape(-1, len(layer.scale))  # A view: [B,F*T*C] or [B*F*T,C].
    if not layer.fixed:
        rows -= rows.mean(axis=1, keepdims=True)
        variance = np.einsum("ij,ij->i", rows, rows) / np.float32(rows.shape[1])
        rows *= (1 / np.sqrt(variance + np.float32(_EPSILON)))[:, None]
    rows *= layer.scale
    rows += layer.shift
    return x


def _elu(x: np.ndarray) -> np.ndarray:
    below = np.minimum(x, 0)
    np.exp(below, out=below)
    below -= 1
    np.maximum(x, 0, out=x)
    x += below
    return x


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0, out=x)


_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"elu": _elu, "relu": _relu}  # They work in place.


def _encode(slices: np.ndarray, p: dict[str, np.ndarray]) -> np.ndarray:
    """Encodes each of D slices [B,D,S] by a small network of its own: [B,D] of unit length."""
    hidden = _elu(slices.swapaxes(0, 1) @ p["hidden_kernel"] + p["hidden_bias"][:, None])  # [D,B,U]
    values = (hidden @ p["output_kernel"][..., None])[..., 0].T + p["output_bias"]
    return values / np.sqrt(np.sum(values**2, axis=1, keepdims=True) + np.float32(_TINY_LENGTH))


def log_mel(
    waveforms: Float32[np.ndarray, "B S"],
    *,
    sample_rate_hz: int,
    n_fft: int,
    stft_hop: int,
    n_mels: int,
    low_hz: float,
    high_hz: float,
    kind: str,
    floor: str,
    relative_floor: float,
    fixed_floor: float,
    waveform_norm: str,
    bank: filterbank.MelBank | None = None,
) -> Float32[np.ndarray, "B F T"]:
    """Computes the log-mel spectrograms of segments, as `nafp.models.spectrogram.log_mel` has them.

    bank: mel filters and window; None computes them.
    """
    bank = bank or filterbank.by_formula(
        sample_rate_hz=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, low_hz=low_hz, high_hz=high_hz
    )
    waveforms = _levelled(waveforms, waveform_norm)
    n_frames = 1 + waveforms.shape[1] // stft_hop
    padded = np.pad(waveforms, ((0, 0), (n_fft // 2, n_fft // 2 + stft_hop)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=1)[:, ::stft_hop]
    spectrum = np.fft.rfft(frames[:, :n_frames] * bank.window)  # [B,T,n_fft/2+1]
    power = spectrum.real**2 + spectrum.imag**2
    mel = (power if kind == "power" else np.sqrt(power)) @ bank.filters  # [B,T,F]
    if floor == "relative":
        loudest = np.maximum(mel.max(axis=(1, 2), keepdims=True), np.float32(_TINY_LEVEL))
        logarithm = np.log10((mel / loudest + np.float32(relative_floor)) / np.float32(1 + relative_floor))
    else:
        logarithm = np.log10(mel + np.float32(fixed_floor))
        logarithm -= logarithm.max(axis=(1, 2), keepdims=True)
    return logarithm.swapaxes(1, 2)  # [B,F,T]


def _levelled(waveforms: np.ndarray, waveform_norm: str) -> np.ndarray:
    if waveform_norm == "none":
        return waveforms
    if waveform_norm == "rms":
        level = np.sqrt(np.mean(waveforms**2, axis=1, keepdims=True))
    else:
        level = np.abs(waveforms).max(axis=1, keepdims=True)
    return waveforms / np.maximum(level, np.float32(_TINY_LEVEL))


if TYPE_CHECKING:
    _conforms: type[protocol.Network] = NumpyNetwork
