"""The trained network in numpy alone: what `nafp.models` computes, for where JAX is not.

Forward only and float32, as matrix products over a few segments at a time. Shapes as in `nafp`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from nafp import config as config_lib
from nafp import errors
from nafp.audio import segments
from nafp.jobs import threads
from nafp.models import filterbank

# Not settings but defaults of nafp.models.fingerprinter.Fingerprinter; a test compares them.
_TIME_STRIDES = (2, 2, 2, 2, 1, 2, 1, 2)
_EPSILON, _TINY_LENGTH, _TINY_LEVEL = 1e-3, 1e-12, 1e-20
_ORDERS = ("before_norm", "after_norm")
# Segments at once. The first layers (how many, segments) take few, which stay in the
# cache; what comes last takes many, because its kernels outweigh its activations.
_BATCH = 32
_BATCHES_A_THREAD = 2  # A pool of threads costs some milliseconds, a batch some tens of them.
_SHARE = 8  # Segments below which a thread is not worth its start.
_GROUPS = ((4, 2), (4, 8))


class _Layer(NamedTuple):
    axis: int  # 1 frequency, 2 time.
    stride: int
    kernel: np.ndarray  # [3,C,D], depthwise [3,1,D].
    bias: np.ndarray
    scale: np.ndarray  # Flat: one number for each that is normalised together, or for each channel.
    shift: np.ndarray
    fixed: bool  # Scale and shift are all there is: running statistics are in them.


class NumpyNetwork:
    """A trained network, a `nafp.models.protocol.Network`, equal to `nafp.models.network.JaxNetwork` to 1e-4.

    identity: sha256, source and step, as stores keep them. A fingerprint depends on its segment alone.
    """

    def __init__(self, variables: dict[str, Any], config: ml_collections.ConfigDict, *, identity: dict[str, Any]):
        model = config.model
        _one_of("config.model.name", model.name, ("nafp",))
        _one_of("config.model.norm", model.norm, config_lib.NORMS)
        _one_of("config.model.activation", model.activation, tuple(_ACTIVATIONS))
        _one_of("config.model.activation_order", model.activation_order, _ORDERS)
        self.config = config
        self.sample_rate_hz = config.audio.sample_rate_hz
        self.segment = segments.to_samples(config.audio.segment_s, self.sample_rate_hz)
        self.hop = segments.to_samples(config.audio.hop_s, self.sample_rate_hz)
        self.dim = model.dim
        self.batch_size = _BATCHES_A_THREAD * _BATCH * threads.n_threads()
        self.identity = identity
        self._activate = _ACTIVATIONS[model.activation]
        self._activate_first = model.activation_order == "before_norm"
        self._mel = dict(config.spectrogram.to_dict(), sample_rate_hz=self.sample_rate_hz)
        self._layers = _layers(variables, model)
        self._head = {k: np.asarray(v, np.float32) for k, v in variables["params"]["head"].items()}

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        """Fingerprints segments [n, S] in -1..1: float32 [n, D] of unit length; n may be 0."""
        waveforms = np.asarray(waveforms, np.float32)
        if waveforms.ndim != 2 or waveforms.shape[1] != self.segment:
            raise errors.Invalid(
                f"waveforms of shape {waveforms.shape}: need [n, {self.segment}], segments of "
                f"{self.config.audio.segment_s:g} s at {self.sample_rate_hz} Hz; a whole waveform goes into track()."
            )
        if not len(waveforms):
            return np.zeros((0, self.dim), np.float32)
        # Threads of ours, a share of the segments each: those of BLAS, one product at a time, wait for each other by
        # spinning and cost 8 times the CPU beside other work.
        shares = threads.shares(len(waveforms), n=threads.n_threads(), smallest=_SHARE)
        with threads.threads(len(shares)) as lend:
            return np.concatenate(lend(lambda share: self._batched(waveforms[share]), shares))

    def track(self, samples: np.ndarray) -> np.ndarray:
        """Fingerprints a whole waveform [S] at the hop: float32 [rows, D]."""
        return self(segments.frame(samples, segment=self.segment, hop=self.hop))

    def start(self, waveforms: np.ndarray) -> np.ndarray:
        """Fingerprints exactly `batch_size` segments [B, S]: [B, D], complete on return."""
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


def _layers(variables: dict[str, Any], model: ml_collections.ConfigDict) -> list[_Layer]:
    layers = []
    for i, stride in enumerate(_TIME_STRIDES, 1):
        for name, axis, step in ((f"block{i}_time", 2, stride), (f"block{i}_frequency", 1, 2)):
            p = {k: np.asarray(v, np.float32) for k, v in variables["params"][name].items()}
            scale, shift = p["norm_scale"].ravel(), p["norm_bias"].ravel()
            if model.norm == "batch_norm":
                seen = variables["batch_stats"]
                mean, variance = (np.ravel(seen[f"{name}_{kind}"]) for kind in ("mean", "variance"))
                scale = scale / np.sqrt(variance + np.float32(_EPSILON))
                shift = shift - mean * scale
            kernel = p["kernel"].reshape(3, *p["kernel"].shape[2:])
            layers.append(_Layer(axis, step, kernel, p["bias"], scale, shift, model.norm == "batch_norm"))
    return layers


def _convolve(x: np.ndarray, layer: _Layer) -> np.ndarray:
    """Convolves [B,F,T,C] along the layer's axis, "SAME" padding, as one matrix product. [B,F',T',D]."""
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
    """Gathers what each tap sees of x [B,F,T,C]: [B,F',T',taps,C], zeros beyond the ends."""
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
    """Brings what is normalised together to mean 0 and variance 1, then scales and shifts. In place."""
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


_ACTIVATIONS = {"elu": _elu, "relu": _relu}


def _encode(slices: np.ndarray, p: dict[str, np.ndarray]) -> np.ndarray:
    """Encodes every slice of [B,D,S] by its own small network; [B,D] of unit length."""
    hidden = _elu(slices.swapaxes(0, 1) @ p["hidden_kernel"] + p["hidden_bias"][:, None])  # [D,B,U]
    values = (hidden @ p["output_kernel"][..., None])[..., 0].T + p["output_bias"]
    return values / np.sqrt(np.sum(values**2, axis=1, keepdims=True) + np.float32(_TINY_LENGTH))


def log_mel(
    waveforms: np.ndarray,
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
) -> np.ndarray:
    """Computes what `nafp.models.spectrogram.log_mel` does: segments [B,S] -> float32 [B,F,T]."""
    waveforms = _levelled(waveforms, waveform_norm)
    n_frames = 1 + waveforms.shape[1] // stft_hop
    padded = np.pad(waveforms, ((0, 0), (n_fft // 2, n_fft // 2 + stft_hop)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=1)[:, ::stft_hop]
    spectrum = np.fft.rfft(frames[:, :n_frames] * filterbank.hann(n_fft))  # [B,T,n_fft/2+1]
    power = spectrum.real**2 + spectrum.imag**2
    filters = filterbank.mel_filters(
        sample_rate_hz=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, low_hz=low_hz, high_hz=high_hz
    )
    mel = (power if kind == "power" else np.sqrt(power)) @ filters  # [B,T,F]
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


def _one_of(name: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise errors.Invalid(f"{name}={given!r}: allowed are {', '.join(allowed)}")
