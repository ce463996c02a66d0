"""Writes spectrograms [B,F,T] of waveform segments [B,S] into an ONNX graph, as `nafp.models.spectrogram` has them.

The Fourier transform of n = p q samples is taken in two steps, products with matrices of p x p and q x 2q, because the
operators STFT and DFT are slow on CPUs and missing in browsers with WebGPU.
"""

from __future__ import annotations

import numpy as np

from nafp import errors
from nafp.models import filterbank, front_ends
from nafp.models.onnx_graph import Functions, Graph, Value, integers

_LARGEST = 2048  # A matrix of the transform has at most so many rows.


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
    filters = graph.parameter("spectrogram/filters", bank.filters)
    window = graph.parameter("spectrogram/window", bank.window)
    frames = _frames(graph, front_end.level(xp, waveforms), segment, len(bank.window), stft_hop, front_end.reflects)
    power = _power(graph, frames * window, len(bank.window), 1 + segment // stft_hop)  # [B,T,n_fft/2+1]
    mel = (power if front_end.kind == "power" else xp.sqrt(power)) @ filters  # [B,T,F]
    return front_end.logarithm(xp, mel).transposed(0, 2, 1)


def _frames(graph: Graph, waveforms: Value, segment: int, n_fft: int, stft_hop: int, reflects: bool) -> Value:
    """Cuts waveforms [B,S] into frames centred on every hop: [B,T,n_fft]."""
    n_frames, half = 1 + segment // stft_hop, n_fft // 2
    positions = np.pad(np.arange(segment), half, mode="reflect") if reflects else None
    if positions is not None:
        padded = graph("Gather", waveforms, positions, axis=1)
    else:
        padded = graph("Pad", waveforms, integers(0, half, 0, half + n_fft % 2))
    if n_fft % stft_hop:
        starts = np.arange(n_frames)[:, None] * stft_hop
        return graph("Gather", padded, starts + np.arange(n_fft), axis=1)
    n_parts = n_fft // stft_hop  # A frame is so many hops side by side.
    hops = padded.sliced(0, (n_frames - 1 + n_parts) * stft_hop, axis=1).reshaped(0, -1, stft_hop)
    return graph("Concat", *(hops.sliced(i, i + n_frames, axis=1) for i in range(n_parts)), axis=2)


def _power(graph: Graph, frames: Value, n_fft: int, n_frames: int) -> Value:
    """Adds the squared magnitudes of the Fourier transform of frames [B,T,n]: [B,T,n/2+1].

    With n = p q, sample q a + b and bin c + p d: the transform is that of length p over a, for every b, turned by
    c b / n of a circle, followed by that of length q over b.
    """
    p = _factor(n_fft)
    q, n_bins = n_fft // p, n_fft // 2 + 1
    n_blocks = -(-n_bins // p)  # Of bins, each of p: values of d.
    first, turn = _circle(p, p, p), _circle(p, q, n_fft)  # [c,a], [c,b]
    x = frames.reshaped(0, n_frames, p, q)  # [B,T,a,b]
    re, im = first.real @ x, first.imag @ x  # [B,T,c,b]
    turned = graph("Concat", re * turn.real - im * turn.imag, re * turn.imag + im * turn.real, axis=3)
    second = _circle(q, n_blocks, q)  # [b,d]
    matrix = np.block([[second.real, second.imag], [-second.imag, second.real]])  # [2b,2d]
    re, im = graph.split(turned @ matrix, n_blocks, n_blocks, axis=3)  # [B,T,c,d]
    power = (re * re + im * im).transposed(0, 1, 3, 2).reshaped(0, n_frames, n_blocks * p)
    return power.sliced(0, n_bins, axis=2)


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
