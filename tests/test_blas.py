"""Wide kernels are asked for where they help, and never against the user."""

import os
import subprocess
import sys

import pytest

from nafp.search import blas

WIDE = "flags : fpu avx2 avx512f avx512bw avx512dq avx512vl avx512cd\n"


@pytest.mark.parametrize(
    "text, asks",
    [
        ("vendor_id : AuthenticAMD\n" + WIDE, True),
        ("vendor_id : GenuineIntel\n" + WIDE, False),
        ("vendor_id : AuthenticAMD\nflags : fpu avx2\n", False),
        ("", False),
    ],
)
def test_only_wide_amd_processors_are_told(tmp_path, monkeypatch, text, asks):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(blas, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert blas.prefer_wide_kernels() is asks
    assert os.environ.pop("OPENBLAS_CORETYPE", None) == ("SKYLAKEX" if asks else None)


def test_the_user_has_the_last_word(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "HASWELL")
    assert not blas.prefer_wide_kernels()
    assert os.environ["OPENBLAS_CORETYPE"] == "HASWELL"


def test_products_are_the_same_afterwards():
    code = """
import sys
from nafp.search import blas
blas.prefer_wide_kernels()
assert "numpy" not in sys.modules
import numpy as np
a = np.random.default_rng(0).normal(size=(300, 128)).astype(np.float32)
exact = a.astype(np.float64) @ a.T.astype(np.float64)
print(np.abs(a @ a.T - exact).max() < 1e-3)
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True\n"
