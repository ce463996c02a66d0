"""Records from the microphone. Only this file imports sounddevice, an extra (`pip install 'nafp[mic]'`)."""

import contextlib
import queue
from collections.abc import Generator
from types import ModuleType

import numpy as np

from nafp import errors

BLOCK_S = 0.1


def record(seconds: float, *, sample_rate_hz: int) -> np.ndarray:
    """Records for this many seconds and returns mono float32 [S]. Raises errors.MicrophoneUnavailable."""
    n_samples = round(seconds * sample_rate_hz)
    parts: list[np.ndarray] = []
    with contextlib.closing(blocks(sample_rate_hz=sample_rate_hz)) as recording:
        while sum(map(len, parts)) < n_samples:
            parts.append(next(recording))
    return np.concatenate(parts)[:n_samples]


def blocks(*, sample_rate_hz: int, block_s: float = BLOCK_S) -> Generator[np.ndarray, None, None]:
    """Yields the sound of the default microphone, mono float32 [S], until the generator is closed.

    Raises errors.MicrophoneUnavailable.
    """
    sounddevice = _library()
    recorded: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    try:
        stream = sounddevice.InputStream(
            samplerate=sample_rate_hz,
            channels=1,
            dtype="float32",
            blocksize=round(block_s * sample_rate_hz),
            callback=lambda samples, *_: recorded.put(samples[:, 0].copy()),
        )
    except sounddevice.PortAudioError as error:
        raise errors.MicrophoneUnavailable(f"no microphone can be opened: {error}") from None
    with stream:
        while True:
            yield recorded.get()


def _library() -> ModuleType:
    try:
        import sounddevice
    except OSError as error:  # The package is installed, the system's library is not.
        raise errors.MicrophoneUnavailable(f"{error}; on Debian and Ubuntu: apt-get install libportaudio2") from None
    return sounddevice
