"""In every test of the room, most of the compiler's optimisations are off."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def compiled_quickly(quick_compiler):
    pass
