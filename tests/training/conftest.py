"""In every test of the room, shapes are checked, and most of the compiler's optimisations are off."""

import pytest

from nafp.training import augment, losses, masks, playback, step, triplets, validation
from tests import shapes


@pytest.fixture(scope="package", autouse=True)
def checked_shapes():
    with shapes.held(augment, losses, masks, playback, step, triplets, validation):
        yield


@pytest.fixture(scope="module", autouse=True)
def compiled_quickly(quick_compiler):
    pass
