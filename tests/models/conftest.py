"""Checks the shapes that the signatures of this room state, and compiles fast, in every test of the room."""

import jax
import pytest

from tests import networks, shapes


@pytest.fixture(scope="package", autouse=True)
def checked_shapes():
    with shapes.held(*networks.MODULES):
        yield


@pytest.fixture(scope="package", autouse=True)
def fast_compilation():
    """Leaves most of XLA's optimisations out. tests/weights, fingerprints and training run what XLA optimised."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
