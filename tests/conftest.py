"""A strict bench: several virtual devices, no silent broadcasting, and compiled programs kept for the next run."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # Tests hold on any machine; GPU runs are benchmarks.

import jax

from launch import devices

devices.split_cpu(4)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    """Lets this process and those that tests start share compiled programs, in pytest's own cache folder.

    A program is found by what it computes, so that changed code compiles anew. `pytest --cache-clear` begins afresh.
    """
    if config.pluginmanager.hasplugin("cacheprovider"):
        folder = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
