"""Tests of this room compile much and run little: they do without most of the compiler's optimisations."""

import jax
import pytest


@pytest.fixture(scope="package", autouse=True)
def quick_compiler():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
