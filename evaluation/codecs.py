"""Codec round trips and changes of speed, tempo and pitch: float32 [S] -> [S'], ffmpeg's work."""

import pathlib
import shutil
import subprocess
import tempfile

import numpy as np

from nafp.audio import decode, ffmpeg

# Name -> file suffix, encoder and bits per second: low rates, as radio, messengers and videos have.
CODECS = {
    "mp3": (".mp3", ["-c:a", "libmp3lame", "-b:a", "32k"]),
    "opus": (".opus", ["-c:a", "libopus", "-b:a", "12k"]),
    "aac": (".m4a", ["-c:a", "aac", "-b:a", "24k"]),
}
# Follows the music up and down by 10:1 from -30 dB on: the automatic gain of a phone or a radio.
_COMPRESSOR = "acompressor=threshold=0.03:ratio=10:attack=5:release=100:makeup=4"


def round_trip(samples: np.ndarray, *, codec: str, sample_rate_hz: int) -> np.ndarray:
    """Encodes and decodes; as long as before, and in step with it (players skip a codec's delay)."""
    suffix, encoder = CODECS[codec]
    with tempfile.TemporaryDirectory() as folder:
        coded = pathlib.Path(folder, f"coded{suffix}")
        options = [*encoder, "-map_metadata", "-1", "-fflags", "+bitexact", str(coded)]
        _ffmpeg([*_raw(sample_rate_hz), "-i", "-", *options], samples)
        back = _ffmpeg(["-i", str(coded), *_raw(sample_rate_hz), "-"], None)
    return np.pad(back[: len(samples)], (0, max(0, len(samples) - len(back))))


def compress(samples: np.ndarray, *, sample_rate_hz: int) -> np.ndarray:
    """Narrows the dynamic range."""
    return _filter(samples, _COMPRESSOR, sample_rate_hz)


def change_speed(samples: np.ndarray, *, factor: float) -> np.ndarray:
    """Plays faster (factor above 1) and higher, as a turntable does."""
    return decode.resample(samples, from_hz=factor, to_hz=1.0)


def change_tempo(samples: np.ndarray, *, factor: float, sample_rate_hz: int) -> np.ndarray:
    """Plays faster at the same pitch."""
    return _filter(samples, f"atempo={factor:.9f}", sample_rate_hz)


def change_pitch(samples: np.ndarray, *, semitones: float, sample_rate_hz: int) -> np.ndarray:
    """Plays higher at the same tempo: slower first, then all faster."""
    factor = 2 ** (semitones / 12)
    slower = change_tempo(samples, factor=1 / factor, sample_rate_hz=sample_rate_hz)
    return change_speed(slower, factor=factor)


def check() -> None:
    """Raises ValueError when ffmpeg is not there."""
    if not shutil.which("ffmpeg"):
        how = ffmpeg.HOW_TO_GET_IT
        raise ValueError(
            "codec, tempo, pitch and compression need ffmpeg, which is not installed"
            f" ({how}); or leave those conditions out"
        )


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
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ValueError(f"ffmpeg {' '.join(arguments)}: {' '.join(said)}")
    return np.frombuffer(done.stdout, "<f4").astype(np.float32)
