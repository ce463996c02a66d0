"""Music for tests: deterministic melodies with chords, decays and a little noise."""

import pathlib

import numpy as np
import soundfile

SCALE_HZ = 220 * 2 ** (np.array([0, 2, 3, 5, 7, 8, 10, 12, 14, 15]) / 12)


def tune(seconds: float, *, sample_rate_hz: int = 44100, seed: int = 0) -> np.ndarray:
    """Returns a tune, float32 [S], with a peak of 0.5."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * sample_rate_hz)
    time_s = np.arange(n_samples) / sample_rate_hz
    note = (time_s * 4).astype(int)
    samples = np.zeros(n_samples)
    for voice in range(3):
        hz = rng.choice(SCALE_HZ, note.max(initial=0) + 1)[note] * (voice + 1) / 2
        phase = 2 * np.pi * np.cumsum(hz) / sample_rate_hz
        samples += np.sin(phase) * np.exp(-3 * (time_s * 4 % 1)) / (voice + 1)
    samples += 0.01 * rng.standard_normal(n_samples)
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def stereo(seconds: float, *, sample_rate_hz: int = 44100, seed: int = 0) -> np.ndarray:
    """Returns a tune that is a little to the left, and a second one softly on the right: float32 [S, 2]."""
    first = tune(seconds, sample_rate_hz=sample_rate_hz, seed=seed)
    second = tune(seconds, sample_rate_hz=sample_rate_hz, seed=seed + 1000)
    return np.stack([first, 0.8 * first + 0.1 * second], axis=1)


def write(path: pathlib.Path, samples: np.ndarray, sample_rate_hz: int = 44100) -> pathlib.Path:
    """Writes a file in the format of its suffix. It does so in pieces, because libsndfile's Vorbis needs that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    formats: dict[str, tuple[str, str | None]] = {
        "opus": ("OGG", "OPUS"),
        "ogg": ("OGG", "VORBIS"),
        "mp3": ("MP3", None),
    }
    file_format, subtype = formats.get(path.suffix[1:], (path.suffix[1:].upper(), None))
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(path, "w", sample_rate_hz, channels, subtype, format=file_format) as file:
        for at in range(0, len(samples), 32768):
            file.write(samples[at : at + 32768])
    return path


def collection(folder: pathlib.Path) -> pathlib.Path:
    """Writes five tracks and two responses, of several kinds, splits and formats."""
    for i, suffix in enumerate(("wav", "flac", "ogg", "mp3", "wav")):
        samples = stereo(3.0 + i / 3, sample_rate_hz=16000, seed=i)
        write(folder / f"music/{'train' if i < 3 else 'test'}/{i}.{suffix}", samples, 16000)
    decay = np.exp(-np.arange(2000) / 200) * np.random.default_rng(0).standard_normal(2000)
    response = np.concatenate([np.zeros(50), [1.0], 0.3 * decay / np.abs(decay).max()])
    write(folder / "room/train/hall.wav", 0.1 * response, 8000)
    write(folder / "microphone/train/mic.wav", 0.2 * response[:300], 8000)
    return folder


def troubles(folder: pathlib.Path) -> pathlib.Path:
    """Writes one good track, one cut off, and one file of every kind of trouble."""
    write(folder / "good.wav", tune(2.0))
    write(folder / "silent.wav", np.zeros(44100, np.float32))
    write(folder / "hiss.wav", np.random.default_rng(0).choice([0, 1 / 32768], 44100))
    broken = tune(2.0)
    broken[50000] = np.nan
    soundfile.write(folder / "nan.wav", broken, 44100, subtype="FLOAT")
    (folder / "empty.flac").write_bytes(b"")
    (folder / "text.mp3").write_text("words " * 1000)
    soundfile.write(folder / "zero.wav", np.zeros((0, 2)), 44100)
    data = write(folder / "cut.wav", tune(10.0)).read_bytes()
    (folder / "cut.wav").write_bytes(data[: len(data) // 2])
    (folder / "stub.wav").write_bytes(data[: len(data) // 20])
    return folder
