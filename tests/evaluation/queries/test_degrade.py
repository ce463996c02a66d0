"""A change of the samples that would leave nothing is refused."""

import numpy as np
import pytest

from evaluation.queries import degrade
from nafp import errors


def test_a_band_of_which_nothing_is_left_is_refused():
    with pytest.raises(errors.Invalid, match="nothing of a recording at 8000 Hz lies above 5000 Hz"):
        degrade.band(np.ones(100, np.float32), low_hz=5000, sample_rate_hz=8000)
