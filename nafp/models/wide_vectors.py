"""Lets XLA use the processor's widest vectors. It must be called before JAX starts its CPU backend."""

import os
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_FLAG = "--xla_cpu_prefer_vector_width=512"


def prefer() -> bool:
    """Asks XLA for 512-bit vectors on processors that have them, unless the user has chosen. Returns whether it did.

    XLA prefers 256 bits, because old processors lower their clock for wider ones. Its matrix products take 512 bits in
    any case. Elementwise code, exponentials above all, takes half the time with 512: on a Zen 5 the network runs 1.17
    times as fast forward and 1.10 times as fast in training.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if _FLAG.split("=")[0] in given or not _is_wide():
        return False
    os.environ["XLA_FLAGS"] = f"{given} {_FLAG}".strip()
    return True


def _is_wide() -> bool:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return "avx512f" in flags.split()
