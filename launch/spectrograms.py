"""The spectrograms of static training sets, by the form of the set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nafp.jobs import choices

if TYPE_CHECKING:
    import numpy as np

_FORMS = ("waveforms", "song_mine")


def by_form(*, form: str, sample_rate_hz: int = 8000, **_: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what turns segments [n, S] into spectrograms [n, F, T]. Raises errors.Invalid for an unknown form."""
    choices.require("--form", form, _FORMS)
    from nafp.models import numpy_spectrogram

    sizes: dict[str, Any] = {
        "n_fft": 1024,
        "stft_hop": 256,
        "n_mels": 256,
        "low_hz": 0.0,
        "high_hz": sample_rate_hz / 2,
    }
    return functools.partial(numpy_spectrogram.log_mel, sample_rate_hz=sample_rate_hz, front_end=form, **sizes)
