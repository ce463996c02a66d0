"""Records from the microphone. Only this file imports sounddevice, an extra (`pip install 'nafp[mic]'`)."""

import contextlib
import queue
from collections.abc import Generator
from types import ModuleType

import numpy as np

from nafp import errors

BLOCK_S = 0.1
_PATIENCE_S = 30.0  # A microphone that gives nothing for so long was unplugged, or its driver has stopped.


def record(seconds: float, *, sample_rate_hz: int) -> np.ndarray:
    """Records for this many seconds and returns mono float32 [S].

    Raises errors.MicrophoneUnavailable as `blocks` does, and errors.Invalid for less than one sample.
    """
    n_samples = round(seconds * sample_rate_hz)
    if n_samples < 1:
        raise errors.Invalid(f"a recording of {seconds:g} s was asked for; it must be longer than 0 s")
    parts: list[np.ndarray] = []
    with contextlib.closing(blocks(sample_rate_hz=sample_rate_hz)) as recording:
        while sum(map(len, parts)) < n_samples:
            parts.append(next(recording))
    return np.concatenate(parts)[:n_samples]


def blocks(*, sample_rate_hz: int, block_s: float = BLOCK_S) -> Generator[np.ndarray, None, None]:
    """Yields the sound of the default microphone, mono float32 [S], until the generator is closed.

    Raises errors.MicrophoneUnavailable if it cannot be opened, or if it stops giving sound.
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
    with contextlib.closing(stream):
        try:
            stream.start()
        except sounddevice.PortAudioError as error:
            raise errors.MicrophoneUnavailable(f"the microphone cannot be started: {error}") from None
        while True:
            yield _next(recorded, patience_s=block_s + _PATIENCE_S)


def _next(recorded: queue.SimpleQueue[np.ndarray], *, patience_s: float) -> np.ndarray:
    try:
        return recorded.get(timeout=patience_s)
    except queue.Empty:
        reason = f"the microphone gave no sound for {patience_s:.0f} s; is it still plugged in?"
        raise errors.MicrophoneUnavailable(reason) from None


def _library() -> ModuleType:
    try:
        import sounddevice
    except OSError as error:  # The package is installed, the system's library is not.
        raise errors.MicrophoneUnavailable(f"{error}; on Debian and Ubuntu: apt-get install libportaudio2") from None
    return sounddevice
