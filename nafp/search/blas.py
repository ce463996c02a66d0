"""Lets OpenBLAS use the widest kernels of the processor. To be called before numpy is imported."""

import os
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_NEEDED = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}  # What SKYLAKEX kernels use.


def prefer_wide_kernels() -> bool:
    """Asks for AVX-512 kernels on AMD processors that have them, unless the user has chosen.

    OpenBLAS 0.3.31 (numpy 2.4) takes a recent EPYC for a Haswell and multiplies at half its speed:
    125 GFLOP/s of float32 on one core, 235 with these kernels. Returns whether it asked.
    """
    if "OPENBLAS_CORETYPE" in os.environ or not _is_wide_amd():
        return False
    os.environ["OPENBLAS_CORETYPE"] = "SKYLAKEX"
    return True


def _is_wide_amd() -> bool:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return False
    vendor = next((line for line in lines if line.startswith("vendor_id")), "")
    flags = next((line for line in lines if line.startswith("flags")), "")
    return "AuthenticAMD" in vendor and set(flags.split()) >= _NEEDED
