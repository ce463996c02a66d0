"""Checks the shapes that the signatures of this room state, and compiles fast, in every test of the room."""

import pytest

from tests import networks, shapes


@pytest.fixture(scope="package", autouse=True)
def checked_shapes():
    with shapes.held(*networks.MODULES):
        yield


@pytest.fixture(scope="module", autouse=True)
def compiled_quickly(quick_compiler):
    """Tests in tests/weights and tests/fingerprints run what XLA optimised."""
