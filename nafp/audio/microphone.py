"""Sound from the microphone. The only file that imports sounddevice, an extra (`pip install 'nafp[mic]'`)."""

import contextlib
import queue
from collections.abc import Iterator

import numpy as np

from nafp import errors

BLOCK_S = 0.1


def record(seconds: float, *, sample_rate_hz: int) -> np.ndarray:
    """Listens for so many seconds: mono float32 [S]. Raises MicrophoneUnavailable."""
    wanted, parts = round(seconds * sample_rate_hz), []
    with contextlib.closing(blocks(sample_rate_hz=sample_rate_hz)) as heard:
        while sum(map(len, parts)) < wanted:
            parts.append(next(heard))
    return np.concatenate(parts)[:wanted]


def blocks(*, sample_rate_hz: int, block_s: float = BLOCK_S) -> Iterator[np.ndarray]:
    """Yields what the default microphone hears, mono float32 [S], until closed. Raises MicrophoneUnavailable."""
    sounddevice = _library()
    heard: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    try:
        stream = sounddevice.InputStream(
            samplerate=sample_rate_hz,
            channels=1,
            dtype="float32",
            blocksize=round(block_s * sample_rate_hz),
            callback=lambda samples, *_: heard.put(samples[:, 0].copy()),
        )
    except sounddevice.PortAudioError as error:
        raise errors.MicrophoneUnavailable(f"no microphone can be opened: {error}") from None
    with stream:
        while True:
            yield heard.get()


def _library():
    try:
        import sounddevice
    except OSError as error:  # The package is there and the system's library is not.
        raise errors.MicrophoneUnavailable(f"{error}; on Debian and Ubuntu: apt-get install libportaudio2") from None
    return sounddevice
