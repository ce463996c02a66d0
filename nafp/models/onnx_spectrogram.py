"""Writes spectrograms [B,F,T] of waveform segments [B,S] into an ONNX graph, as `nafp.models.spectrogram` has them.

The Fourier transform of n = p q samples is taken in two steps of matrix products, because the operators STFT and DFT
are slow on CPUs and missing in browsers with WebGPU. With sample q a + b and bin c + p d, it is that of length p over a
for every b, followed for every c by that of length q over b, turned by b c / n of a circle. Frames are real: c up to
p / 2 gives all bins up to n / 2, as bin k has the magnitude of bin n - k.
"""

from __future__ import annotations

import numpy as np

from nafp import errors
from nafp.models import filterbank, front_ends
from nafp.models.onnx_graph import Functions, Graph, Value, integers

_LARGEST = 512  # p and q are at most this: more would need matrices of a gigabyte.


def log_mel(
    graph: Graph,
    waveforms: Value,
    *,
    segment: int,
    bank: filterbank.MelBank,
    stft_hop: int,
    front_end: front_ends.FrontEnd,
) -> Value:
    """Adds the spectrograms of waveforms [B,S]: [B,F,T].

    segment: S. Each segment is a batch of its own, for the front end "original", too. Raises nafp.errors.Invalid for
    frames whose length has a large prime factor.
    """
    xp = Functions(graph)
    if front_end.centres:
        waveforms = waveforms - xp.mean(waveforms, axis=1)
    filters = graph.sparse("spectrogram/filters", bank.filters)
    window = graph.parameter("spectrogram/window", bank.window)
    n_fft, n_frames, n_mels = len(bank.window), 1 + segment // stft_hop, bank.filters.shape[1]
    frames = _frames(graph, front_end.level(xp, waveforms), segment, n_fft, stft_hop, front_end.reflects)
    power, bins = _power(graph, frames * window, n_fft)  # [B*T,K]
    # A bin that comes twice counts once: the other time it has the row of zeros.
    rows = np.where(np.isin(np.arange(len(bins)), np.unique(bins, return_index=True)[1]), bins, n_fft // 2 + 1)
    ordered = graph("Gather", graph("Pad", filters, integers(0, 0, 1, 0)), rows, axis=0)  # [K,F]
    mel = (power if front_end.kind == "power" else xp.sqrt(power)) @ ordered  # [B*T,F]
    return front_end.logarithm(xp, mel.reshaped(-1, n_frames, n_mels)).transposed(0, 2, 1)


def _frames(graph: Graph, waveforms: Value, segment: int, n_fft: int, stft_hop: int, reflects: bool) -> Value:
    """Cuts waveforms [B,S] into frames centred on every hop: [B,T,n_fft]."""
    n_frames, half = 1 + segment // stft_hop, n_fft // 2
    if reflects:
        positions = np.pad(np.arange(segment), half, mode="reflect")
        padded = graph("Gather", waveforms, positions, axis=1)
        padded = graph("Pad", padded, integers(0, 0, 0, 1)) if n_fft % 2 else padded
    else:
        padded = graph("Pad", waveforms, integers(0, half, 0, half + n_fft % 2))
    if n_fft % stft_hop:
        starts = np.arange(n_frames)[:, None] * stft_hop
        return graph("Gather", padded, starts + np.arange(n_fft), axis=1)
    n_parts = n_fft // stft_hop  # A frame is so many hops side by side.
    n_hops = n_frames - 1 + n_parts
    hops = padded.sliced(0, n_hops * stft_hop, axis=1).reshaped(0, n_hops, stft_hop)
    return graph("Concat", *(hops.sliced(i, i + n_frames, axis=1) for i in range(n_parts)), axis=2)


def _power(graph: Graph, frames: Value, n_fft: int) -> tuple[Value, np.ndarray]:
    """Adds the squared magnitudes of the Fourier transform of frames [B,T,n]: [B*T,K], and returns their bins [K]."""
    p = _factor(n_fft)
    q, n_first = n_fft // p, p // 2 + 1
    first = _circle(n_first, p, p)  # [c,a]
    y = np.concatenate([first.real, first.imag]) @ frames.reshaped(-1, p, q)  # [B*T,2c,b]
    y = y.reshaped(-1, 2, n_first, q).transposed(2, 0, 1, 3).reshaped(n_first, -1, 2 * q)  # [c,B*T,2b]
    re, im = graph.split(y @ _second(graph, n_first, q, n_fft), q, q, axis=2)  # [c,B*T,d]
    power = (re * re + im * im).transposed(1, 0, 2).reshaped(-1, n_first * q)
    bins = (np.arange(n_first)[:, None] + p * np.arange(q)).ravel()
    return power, np.minimum(bins, n_fft - bins)


def _second(graph: Graph, n_first: int, q: int, n_fft: int) -> Value:
    """Adds the matrices of the second step, [c,2b,2d]. The file holds what they are products of."""
    turn, step = _circle(n_first, q, n_fft)[..., None], _circle(q, q, q)[None]  # [c,b,1], [1,b,d]
    turn_re, turn_im, step_re, step_im = map(graph.constant, (turn.real, turn.imag, step.real, step.imag))
    re, im = turn_re * step_re - turn_im * step_im, turn_re * step_im + turn_im * step_re
    upper, lower = graph("Concat", re, im, axis=2), graph("Concat", im * -1.0, re, axis=2)
    return graph("Concat", upper, lower, axis=1)


def _factor(n: int) -> int:
    """Returns the factor p of n = p q that makes the two most alike."""
    p = max(p for p in range(1, int(n**0.5) + 1) if n % p == 0)
    if n // p > _LARGEST:
        raise errors.Invalid(
            f"config.spectrogram.n_fft={n}: an ONNX file needs a product of two numbers up to {_LARGEST}, such as 1024"
        )
    return p


def _circle(n_rows: int, n_columns: int, n: int) -> np.ndarray:
    """Returns exp(-2 pi i r c / n) for every row r and column c."""
    products = np.outer(np.arange(n_rows), np.arange(n_columns)) % n
    return np.exp(-2j * np.pi * products / n)
