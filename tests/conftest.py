"""A strict bench: several virtual devices, no silent broadcasting."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # Tests hold on any machine; GPU runs are benchmarks.

import jax

from launch import devices

devices.split_cpu(4)
jax.config.update("jax_numpy_rank_promotion", "raise")
