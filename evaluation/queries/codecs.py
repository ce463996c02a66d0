"""Codec round trips and changes of speed, tempo and pitch, done by ffmpeg: float32 [S] -> [S']."""

import functools
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, ffmpeg


class Codec(NamedTuple):
    """A codec, as ffmpeg knows it. suffix: of a coded file."""

    suffix: str
    encoder: str  # The name of the encoder in ffmpeg.
    kbit_s: float  # The default: low, as in radio, messengers and videos.


CODECS = {
    "mp3": Codec(".mp3", "libmp3lame", 32),
    "opus": Codec(".opus", "libopus", 12),
    "aac": Codec(".m4a", "aac", 24),
}
# Compresses by 10:1 from -30 dB on, as the automatic gain of a phone or a radio does.
_COMPRESSOR = "acompressor=threshold=0.03:ratio=10:attack=5:release=100:makeup=4"


def round_trip(samples: np.ndarray, *, codec: str, sample_rate_hz: int, kbit_s: float = 0) -> np.ndarray:
    """Encodes and decodes samples [S], and returns as many, in step with the input.

    A codec's delay is skipped, as players do. kbit_s: bit rate, 0 for the codec's default.
    """
    suffix, encoder, default_kbit_s = CODECS[codec]
    rate = f"{1000 * (kbit_s or default_kbit_s):.0f}"
    with tempfile.TemporaryDirectory() as folder:
        coded = pathlib.Path(folder, f"coded{suffix}")
        exact = ["-map_metadata", "-1", "-fflags", "+bitexact"]  # No date and no version in the file.
        options = ["-c:a", encoder, "-b:a", rate, *exact, str(coded)]
        _ffmpeg([*_raw(sample_rate_hz), "-i", "-", *options], samples)
        back = _ffmpeg(["-i", str(coded), *_raw(sample_rate_hz), "-"], None)
    return np.pad(back[: len(samples)], (0, max(0, len(samples) - len(back))))


def compress(samples: np.ndarray, *, sample_rate_hz: int) -> np.ndarray:
    """Narrows the dynamic range of samples."""
    return _filter(samples, _COMPRESSOR, sample_rate_hz)


def through_rate(samples: np.ndarray, *, through_hz: float, sample_rate_hz: int) -> np.ndarray:
    """Resamples samples [S] to a lower rate and back. A rate that is not lower changes nothing."""
    if through_hz >= sample_rate_hz:
        return samples
    lower = decode.resample(samples, from_hz=sample_rate_hz, to_hz=through_hz)
    back = decode.resample(lower, from_hz=through_hz, to_hz=sample_rate_hz)[: len(samples)]
    return np.pad(back, (0, len(samples) - len(back)))


def change_speed(samples: np.ndarray, *, factor: float) -> np.ndarray:
    """Plays samples faster (factor above 1) and higher, as a turntable does."""
    return decode.resample(samples, from_hz=factor, to_hz=1.0)


def change_tempo(samples: np.ndarray, *, factor: float, sample_rate_hz: int) -> np.ndarray:
    """Plays samples faster (factor above 1) at the same pitch."""
    return _filter(samples, f"atempo={factor:.9f}", sample_rate_hz)


def change_pitch(samples: np.ndarray, *, semitones: float, sample_rate_hz: int) -> np.ndarray:
    """Plays samples higher at the same tempo: first slower at the same pitch, then faster and higher."""
    factor = 2 ** (semitones / 12)
    slower = change_tempo(samples, factor=1 / factor, sample_rate_hz=sample_rate_hz)
    return change_speed(slower, factor=factor)


def check(codecs: Iterable[str] = ()) -> None:
    """Raises errors.Invalid if ffmpeg is not installed, or lacks the encoder of one of the codecs."""
    if not shutil.which("ffmpeg"):
        raise errors.Invalid(
            "codec, tempo, pitch and compression need ffmpeg, which is not installed"
            f" ({ffmpeg.HOW_TO_GET_IT}); or leave those conditions out"
        )
    if missing := sorted({codec for codec in codecs if CODECS[codec].encoder not in _encoders()}):
        names = ", ".join(CODECS[codec].encoder for codec in missing)
        raise errors.Invalid(
            f"this ffmpeg was built without {names}; leave {', '.join(missing)} out (and codec,"
            " which draws mp3 or opus), or install a complete one"
        )


@functools.cache
def _encoders() -> frozenset[str]:
    listed = subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True)
    lines = (line.split() for line in listed.stdout.splitlines())
    return frozenset(words[1] for words in lines if len(words) > 1)


def _filter(samples: np.ndarray, expression: str, sample_rate_hz: int) -> np.ndarray:
    raw = _raw(sample_rate_hz)
    return _ffmpeg([*raw, "-i", "-", "-af", expression, *raw, "-"], samples)


def _raw(sample_rate_hz: int) -> list[str]:
    return ["-f", "f32le", "-ar", str(sample_rate_hz), "-ac", "1"]


def _ffmpeg(arguments: list[str], samples: np.ndarray | None) -> np.ndarray:
    check()
    command = ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", *arguments]
    data = b"" if samples is None else samples.astype("<f4").tobytes()
    done = subprocess.run(command, input=data, capture_output=True)
    if done.returncode:
        last_line = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise errors.Invalid(f"ffmpeg {' '.join(arguments)}: {' '.join(last_line)}")
    return np.frombuffer(done.stdout, "<f4").astype(np.float32)
