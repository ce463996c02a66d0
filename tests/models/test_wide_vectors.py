"""Wide vectors are asked for where there are some, and never against the user."""

import os
import subprocess
import sys

import pytest

from nafp.models import wide_vectors

WIDE = "processor : 0\nflags : fpu avx2 avx512f\n"
ASKED = "--xla_cpu_prefer_vector_width=512"


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(wide_vectors, "_CPUINFO", path)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    return path


@pytest.mark.parametrize("text, asks", [(WIDE, True), ("flags : fpu avx2\n", False), ("", False)])
def test_only_processors_with_wide_vectors_are_asked(cpuinfo, text, asks):
    cpuinfo.write_text(text)
    assert wide_vectors.prefer() == asks
    assert os.environ.get("XLA_FLAGS", "") == (ASKED if asks else "")


def test_a_machine_without_cpuinfo_is_left_alone(cpuinfo):
    assert not wide_vectors.prefer()


def test_other_flags_stay_and_the_users_choice_wins(cpuinfo, monkeypatch):
    cpuinfo.write_text(WIDE)
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    assert wide_vectors.prefer()
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=x {ASKED}"
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=256")
    assert not wide_vectors.prefer()


def test_this_version_of_xla_knows_the_flag():
    # XLA ends the process at a flag it does not know.
    work = "import jax; print(jax.jit(lambda x: x + 1)(1))"
    environment = {**os.environ, "XLA_FLAGS": ASKED, "JAX_PLATFORMS": "cpu"}
    run = [sys.executable, "-c", work]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
