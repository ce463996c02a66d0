"""Fair timing on a machine that others use too: one core, its CPU time, works in turn."""

import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable

from nafp.models import wide_vectors

RESULTS = pathlib.Path(__file__).parent / "results"


def pin() -> None:
    """Keeps this process, and those it starts, on the last core; before JAX is imported.

    JAX then starts one thread, with the vectors that launchers ask for as well.
    """
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    wide_vectors.prefer()


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of `work`, which must wait for its own result."""
    began = time.process_time()
    work()
    return time.process_time() - began


def interleaved(works: dict[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Runs all works once in every round, so that what disturbs one disturbs all.

    A work returns what it measured of itself, CPU seconds mostly; one round goes before, unmeasured.
    """
    for work in works.values():
        work()
    measured = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            measured[name].append(work())
    return measured


def ratios(seconds: dict[str, list[float]], *, of: str) -> dict[str, float]:
    """How many times as long the others take as `of`: medians of the rounds' ratios."""
    return {
        name: round(statistics.median(a / b for a, b in zip(times, seconds[of])), 2)
        for name, times in seconds.items()
        if name != of
    }


def machine() -> dict[str, object]:
    """What the numbers were measured on."""
    import jax

    processor = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        names = [x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x]
        processor = names[0] if names else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "cores_used": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 1),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def save(result: dict, out: str | None) -> None:
    """Writes the result as JSON, if a file was named."""
    if out:
        path = pathlib.Path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written to {path}")
