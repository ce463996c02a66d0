"""Fair timing on a machine that others use too: on one core, by its CPU time, with the works in turn."""

import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

from nafp.models import wide_vectors


def pin() -> None:
    """Keeps this process, and those that it starts, on the last core. Call it before JAX is imported.

    JAX then starts one thread. Its vectors are as wide as the launchers ask for.
    """
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    wide_vectors.prefer()


def cpu_s(work: Callable[[], object]) -> float:
    """Returns the CPU seconds of `work`, which must wait for its own result."""
    began = time.process_time()
    work()
    return time.process_time() - began


def interleaved(works: dict[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Runs all works once in every round, so that a disturbance disturbs all of them.

    Each work returns its own measurement, mostly CPU seconds. Returns the measurements by work, one for each round. An
    unmeasured round goes before.
    """
    for work in works.values():
        work()
    measurements: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            measurements[name].append(work())
    return measurements


def ratios(seconds: dict[str, list[float]], *, of: str) -> dict[str, float]:
    """Returns how many times as long as `of` each other work takes: the median of the rounds' ratios."""
    return {
        name: round(statistics.median(a / b for a, b in zip(times, seconds[of])), 2)
        for name, times in seconds.items()
        if name != of
    }


def machine() -> dict[str, Any]:
    """Describes the machine that the numbers were measured on."""
    import jax

    processor = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if "model name" in line), processor)
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "cores_used": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 1),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
