"""The front ends of the published systems by name: how each turns segments of audio into spectrograms.

All of them are a short-time Fourier transform, a mel filter bank and a logarithm. They differ in what stands here. Each
function takes the module of its arrays as `xp`, jax.numpy or numpy, so that both runtimes share one definition.

- nafp: magnitudes (or power) on Slaney's mel scale, log10 above a floor, the maximum of each segment subtracted.
- original (Chang et al., ICASSP 2021, `melspectrogram.py`): magnitudes, 0.06 added, log10, at least -80. The maximum
  over the whole batch is subtracted, so that a fingerprint depends on the other segments of the batch.
- pfann (`melspec.py`): waveforms of norm 1, reflected at their ends, power on the HTK mel scale without area norm, 1e-8
  added, natural logarithm. Nothing is subtracted. Before inference, but not in training, a segment's mean is removed.
- benchmark (`utils/utils.py` of magcil's benchmark): power in dB below the maximum of each segment, down to -80. The
  system takes the lower end from the whole batch. That differs for batches of nothing but silence, which are -100
  there. Here silence is always -80.
- song_mine: as benchmark, except that silence is 0 everywhere and that power below 1e-10 counts as 1e-10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nafp import config
from nafp.jobs import choices

_TINY = 1e-20  # Below any recorded level; keeps the division of a silent segment finite.
_TINY_NORM = 1e-12  # The floor of PyTorch's normalize.
_TINY_POWER = 1e-10  # The floor of librosa's power_to_db.
_SIZES = ("n_fft", "stft_hop", "n_mels", "low_hz", "high_hz")  # Settings that all front ends share.
_RANGE_DB = -80.0  # The lower end of the original's, the benchmark's and song_mine's spectrograms.

# (xp, waveforms [B,S]) -> waveforms [B,S], and (xp, mel [B,T,F]) -> spectrograms [B,T,F].
_Function = Callable[[Any, Any], Any]


class FrontEnd(NamedTuple):
    """What distinguishes one front end from another.

    kind: what the mel filters sum, "magnitude" or "power". level: brings waveforms [B,S] to their level. logarithm:
    turns mel spectra [B,T,F] into spectrograms. scale, area_norm: of the mel filters, see `nafp.models.filterbank`.
    reflects: whether the ends of a segment are padded with its reflection, in place of zeros. centres: whether the mean
    of a segment is removed at inference. sees_batch: whether a spectrogram depends on the others of its batch.
    """

    kind: str
    level: _Function
    logarithm: _Function
    scale: str = "slaney"
    area_norm: bool = True
    reflects: bool = False
    centres: bool = False
    sees_batch: bool = False


def create(
    front_end: str = "nafp",
    *,
    kind: str = "magnitude",
    floor: str = "relative",
    relative_floor: float = 1e-3,
    fixed_floor: float = 0.06,
    waveform_norm: str = "none",
    maxnorm: bool = False,
    naf_mode: bool = False,
    mel_log: str = "log",
    spec_norm: str = "l2",
) -> FrontEnd:
    """Returns a front end by its name. The keywords are settings of config.spectrogram. Each uses those of its own.

    nafp: floor "relative" adds `relative_floor` times the segment's own maximum before the logarithm, so that gain
    changes nothing and values lie in log10(relative_floor)..0; "fixed" adds `fixed_floor`, which is right for one level
    only. waveform_norm "rms" or "peak" first brings that measure of each segment to 1.
    original: adds `fixed_floor`; maxnorm scales by half the minimum over the batch.
    pfann: naf_mode takes the original's scale, padding and magnitudes; mel_log is "log", "log10" or "none"; spec_norm
    "l2" or "max".
    Raises nafp.errors.Invalid for an unknown choice.
    """
    choices.require("front_end", front_end, config.network.FRONT_ENDS)
    choices.require("kind", kind, config.network.SPECTROGRAM_KINDS)
    choices.require("floor", floor, config.network.FLOORS)
    choices.require("waveform_norm", waveform_norm, config.network.WAVEFORM_NORMS)
    choices.require("mel_log", mel_log, config.network.MEL_LOGS)
    choices.require("spec_norm", spec_norm, config.network.SPEC_NORMS)
    if front_end == "original":
        return _original(fixed_floor, maxnorm)
    if front_end == "pfann":
        return _pfann(naf_mode, mel_log, spec_norm)
    if front_end == "benchmark":
        return FrontEnd("power", _as_it_is, _decibels_below_maximum)
    if front_end == "song_mine":
        return FrontEnd("power", _as_it_is, _decibels_less_maximum)
    logarithm = _above_share(relative_floor) if floor == "relative" else _above_constant(fixed_floor)
    return FrontEnd(kind, _LEVELS[waveform_norm], logarithm)


def of_settings(spectrogram: Mapping[str, Any]) -> FrontEnd:
    """Returns the front end that the settings of config.spectrogram choose."""
    return create(**{key: value for key, value in spectrogram.items() if key not in _SIZES})


def _original(floor: float, maxnorm: bool) -> FrontEnd:
    def logarithm(xp: Any, mel: Any) -> Any:
        x = xp.log10(mel + floor)
        x = xp.maximum(x - xp.max(x, keepdims=True), _RANGE_DB)
        if not maxnorm:
            return x
        half = xp.min(x, keepdims=True) / 2
        return (x - half) / xp.abs(half + 1e-10)

    return FrontEnd("magnitude", _as_it_is, logarithm, sees_batch=True)


def _pfann(naf_mode: bool, mel_log: str, spec_norm: str) -> FrontEnd:
    floor = 0.06 if naf_mode else 1e-8

    def logarithm(xp: Any, mel: Any) -> Any:
        x = {"log": xp.log, "log10": xp.log10, "none": lambda x: x}[mel_log](mel + floor)
        return x - xp.max(x, axis=(1, 2), keepdims=True) if spec_norm == "max" else x

    level = _to_norm if spec_norm == "l2" else _to_peak
    if naf_mode:
        return FrontEnd("magnitude", level, logarithm, centres=True)
    return FrontEnd("power", level, logarithm, scale="htk", area_norm=False, reflects=True, centres=True)


def _above_share(share: float) -> _Function:
    def logarithm(xp: Any, mel: Any) -> Any:
        loudest = xp.max(mel, axis=(1, 2), keepdims=True)
        return xp.log10((mel / xp.maximum(loudest, _TINY) + share) / (1 + share))

    return logarithm


def _above_constant(floor: float) -> _Function:
    def logarithm(xp: Any, mel: Any) -> Any:
        x = xp.log10(mel + floor)
        return x - xp.max(x, axis=(1, 2), keepdims=True)

    return logarithm


def _decibels_below_maximum(xp: Any, mel: Any) -> Any:
    loudest = xp.maximum(xp.max(mel, axis=(1, 2), keepdims=True), _TINY_POWER)
    return xp.maximum(10 * xp.log10(xp.maximum(mel / loudest, _TINY_POWER)), _RANGE_DB)


def _decibels_less_maximum(xp: Any, mel: Any) -> Any:
    """As `_decibels_below_maximum`, but what is below 1e-10 counts as 1e-10 before the maximum is subtracted."""
    x = 10 * xp.log10(xp.maximum(mel, _TINY_POWER))
    return xp.maximum(x - xp.max(x, axis=(1, 2), keepdims=True), _RANGE_DB)


def _as_it_is(xp: Any, waveforms: Any) -> Any:
    return waveforms


def _to_rms(xp: Any, waveforms: Any) -> Any:
    level = xp.sqrt(xp.mean(waveforms**2, axis=-1, keepdims=True))
    return waveforms / xp.maximum(level, _TINY)


def _to_peak(xp: Any, waveforms: Any) -> Any:
    level = xp.max(xp.abs(waveforms), axis=-1, keepdims=True)
    return waveforms / xp.maximum(level, _TINY)


def _to_norm(xp: Any, waveforms: Any) -> Any:
    level = xp.sqrt(xp.sum(waveforms**2, axis=-1, keepdims=True))
    return waveforms / xp.maximum(level, _TINY_NORM)


_LEVELS: dict[str, _Function] = {"none": _as_it_is, "rms": _to_rms, "peak": _to_peak}
