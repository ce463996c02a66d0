"""In every test of the room, shapes are checked, and most of the compiler's optimisations are off.

The tests compile much and run little.
"""

import jax
import pytest

from nafp.sequences import losses, lstm, networks, transformer
from tests import shapes


@pytest.fixture(scope="package", autouse=True)
def checked_shapes():
    with shapes.held(losses, lstm, networks, transformer):
        yield


@pytest.fixture(scope="package", autouse=True)
def quick_compiler():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
