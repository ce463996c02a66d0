"""The parts of a step and what bounds them: operations and bytes that are known, and every part of a tiny network."""

import functools
import sys

import jax
import numpy as np
import pytest
from absl import flags

from benchmarks import _roofline
from tests import networks

N = 64
MEASURED = functools.partial(_roofline.measured, axis="data", repeats=1)


def test_operations_and_bytes_of_a_product_are_known():
    a = np.ones((N, N), np.float32)
    part = MEASURED("product", lambda a, b: a @ b, a, a)
    assert part.flop == pytest.approx(2 * N**3, rel=1e-5)
    assert part.least_bytes == 3 * a.nbytes
    assert part.bytes >= part.least_bytes
    told = part.told(_roofline.Ceilings(flop_per_s=2 * N**3 / part.seconds, byte_per_s=1e30), n_segments=10)
    assert told["share_of_roofline"] == pytest.approx(1, rel=1e-5)  # As fast as the ceiling.
    assert told["bound_by"] == "operations"
    assert told["segments_per_s"] == pytest.approx(10 / part.seconds)
    copied = part.told(_roofline.Ceilings(flop_per_s=1e30, byte_per_s=2 * 3 * a.nbytes / part.seconds), n_segments=10)
    assert (copied["bound_by"], copied["share_of_roofline"]) == ("bytes", pytest.approx(0.5))


def test_a_part_may_sum_over_devices_as_in_a_step():
    part = MEASURED("sum", lambda x: jax.lax.psum(x, "data"), np.ones(8, np.float32))
    assert part.seconds > 0
    assert part.least_bytes == 64


@pytest.mark.slow
def test_every_part_of_a_step_is_measured(quick_compiler, monkeypatch):
    """The fast test is test_operations_and_bytes_of_a_product_are_known."""
    before = set(flags.FLAGS)
    from benchmarks import accelerator

    try:
        made = accelerator.setting(networks.few_blocks(), 8)
        parts = {part.name: part for part in accelerator.parts(made, 1)}
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        sys.modules.pop("benchmarks.accelerator")
    assert list(parts) == [
        *("cut", "augment", "front_end", "network_forward", "network_both_ways", "loss", "optimiser")
    ]
    assert all(part.flop > 0 and part.least_bytes > 0 for part in parts.values() if part.name != "cut")
    assert 2 < parts["network_both_ways"].flop / parts["network_forward"].flop < 4
    n_params = sum(x.size for x in jax.tree.leaves(made.state.params))
    assert parts["optimiser"].least_bytes > 4 * 4 * n_params  # Parameters and gradients in, two moments, all of it out.
