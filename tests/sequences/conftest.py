"""In every test of the room, shapes are checked, and most of the compiler's optimisations are off."""

import pytest

from nafp.sequences import losses, lstm, networks, transformer
from tests import shapes


@pytest.fixture(scope="package", autouse=True)
def checked_shapes():
    with shapes.held(losses, lstm, networks, transformer):
        yield


@pytest.fixture(scope="module", autouse=True)
def compiled_quickly(quick_compiler):
    pass
