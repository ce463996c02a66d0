"""Checks the shapes that the signatures of this room state, in every test of the room."""

import pytest

from nafp.models import convolution, fingerprinter, layers, network, norms, numpy_network, spectrogram
from tests import shapes


@pytest.fixture(scope="package", autouse=True)
def checked_shapes():
    with shapes.held(convolution, fingerprinter, layers, network, norms, numpy_network, spectrogram):
        yield
