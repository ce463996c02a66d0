"""Audio files of every format, and the ways in which they get damaged: by bits, by cuts, and by hands."""

import pathlib
import subprocess
from collections.abc import Callable

import numpy as np
import soundfile

from nafp.audio import ffmpeg

SECONDS = 3.0
# Name -> libsndfile's format and subtype, and Hz.
_SNDFILE = {
    "pcm16.wav": ("WAV", "PCM_16", 16000),
    "float.wav": ("WAV", "FLOAT", 16000),
    "adpcm.wav": ("WAV", "IMA_ADPCM", 16000),
    "rf64.rf64": ("RF64", "PCM_16", 16000),
    "w64.w64": ("W64", "PCM_24", 16000),
    "aiff.aiff": ("AIFF", "PCM_16", 16000),
    "au.au": ("AU", "PCM_16", 16000),
    "caf.caf": ("CAF", "PCM_16", 16000),
    "flac.flac": ("FLAC", "PCM_16", 16000),
    "vorbis.ogg": ("OGG", "VORBIS", 44100),
    "opus.opus": ("OGG", "OPUS", 48000),
    "tagged.mp3": ("MP3", "MPEG_LAYER_III", 44100),
}
# Name -> ffmpeg's options.
_FFMPEG = {
    "aac.m4a": ["-c:a", "aac"],
    "fast.mp4": ["-c:a", "aac", "-movflags", "+faststart"],
    "opus.webm": ["-c:a", "libopus"],
    "wma.wma": ["-c:a", "wmav2"],
    "wavpack.wv": ["-c:a", "wavpack"],
    "adts.aac": ["-c:a", "aac"],
    "ac3.ac3": ["-c:a", "ac3"],
    "untagged.mp3": ["-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0"],
}
# Their container states no length: that sound is missing leaves no trace in them.
STATELESS = ("adts.aac", "ac3.ac3", "untagged.mp3")
JOINED = ("chain.ogg", "joined.flac", "joined.mp3")  # Two files, one behind the other.
_EXTREMES = (b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00")
_HEAD_BYTES = 256  # Half of all damage goes here, where a byte does most harm.


def seeds(folder: pathlib.Path, samples: np.ndarray) -> list[pathlib.Path]:
    """Writes one file of each format that can be encoded here. samples: float32 [S] at 48 kHz."""
    soundfile.write(folder / "original.wav", samples, 48000, subtype="FLOAT")
    for name, (form, subtype, rate_hz) in _SNDFILE.items():
        step = 3 if rate_hz == 16000 else 1
        with soundfile.SoundFile(folder / name, "w", rate_hz, 1, subtype, format=form) as file:
            for at in range(0, len(samples), 32768):
                file.write(samples[at : at + 32768][::step])
    found = [folder / name for name in _SNDFILE]
    for name, options in _FFMPEG.items() if ffmpeg.installed() else ():
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(folder / "original.wav"), *options, str(folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        found.append(folder / name)
    for name, parts in zip(JOINED, ("vorbis.ogg", "flac.flac", "tagged.mp3"), strict=True):
        (folder / name).write_bytes(2 * (folder / parts).read_bytes())
        found.append(folder / name)
    return found


def mutated(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Returns a damaged copy of a file, and what was done to it in words."""
    done = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        change = _CHANGES[rng.integers(len(_CHANGES))]
        at = _place(data, rng)
        data = change(bytearray(data), at, rng)
        done.append(f"{change.__name__.strip('_')} at {at}")
    return data, ", ".join(done)


def _place(data: bytes, rng: np.random.Generator) -> int:
    end = min(len(data), _HEAD_BYTES) if rng.random() < 0.5 else len(data)
    return int(rng.integers(max(1, end)))


def _length(rng: np.random.Generator) -> int:
    return int(2 ** rng.uniform(0, 13))


def _flip(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    if data:
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _byte(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    data[at : at + 1] = rng.bytes(1)
    return bytes(data)


def _extreme(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    data[at : at + 4] = _EXTREMES[rng.integers(len(_EXTREMES))]
    return bytes(data)


def _noise(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    n_bytes = min(_length(rng), len(data) - at)
    data[at : at + n_bytes] = rng.bytes(n_bytes)
    return bytes(data)


def _zeros(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    n_bytes = min(_length(rng), len(data) - at)
    data[at : at + n_bytes] = bytes(n_bytes)
    return bytes(data)


def _missing(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    del data[at : at + _length(rng)]
    return bytes(data)


def _inserted(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    data[at:at] = rng.bytes(_length(rng))
    return bytes(data)


def _twice(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    data[at:at] = data[at : at + _length(rng)]
    return bytes(data)


def _cut(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    return bytes(data[:at])


def _junk_behind(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    junk = (rng.bytes(_length(rng)), b"\xff" * 8 * _length(rng), bytes(_length(rng)), bytes(data[: _length(rng)]))
    return bytes(data) + junk[rng.integers(4)]


_CHANGES: tuple[Callable[[bytearray, int, np.random.Generator], bytes], ...] = (
    _flip,
    _flip,
    _flip,
    _byte,
    _extreme,
    _extreme,
    _noise,
    _zeros,
    _missing,
    _inserted,
    _twice,
    _cut,
    _junk_behind,
)
