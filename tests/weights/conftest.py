"""In every test of the room, shapes are checked, and most of the compiler's optimisations are off."""

import numpy as np
import pytest

from nafp.models import numpy_network
from tests import networks, shapes


@pytest.fixture(scope="package", autouse=True)
def checked_shapes():
    with shapes.held(*networks.MODULES):
        yield


@pytest.fixture(scope="module", autouse=True)
def compiled_quickly(quick_compiler):
    pass


@pytest.fixture(scope="package")
def waveforms():
    """Loud, quiet, one-sided and silent: [5, 8000]."""
    audio = np.random.default_rng(0).standard_normal((5, 8000)).astype(np.float32) / 5
    audio[1] /= 100
    audio[2, 4000:] = 0
    audio[3] = np.sin(np.arange(8000) / 3)
    audio[4] = 0
    return audio


@pytest.fixture(scope="package")
def small():
    c = networks.config()
    variables = networks.trained_variables(c)
    return variables, c, numpy_network.NumpyNetwork(variables, c, identity={})
