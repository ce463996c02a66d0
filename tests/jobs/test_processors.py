"""A container that may use two of the machine's processors gets two threads, not one for each of the machine's."""

import os

import pytest

from nafp.jobs import processors, threads


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes this a machine of 64 processors, whose control groups the test writes."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(processors, "_GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(processors, "_GROUPS", tmp_path / "groups")
    (tmp_path / "groups" / "slice" / "box").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("1:cpu:/\n0::/slice/box\n")
    return tmp_path / "groups"


def test_without_a_limit_every_processor_counts(machine):
    assert processors.count() == 64
    (machine / "slice" / "box" / "cpu.max").write_text("max 100000\n")
    assert processors.count() == 64


@pytest.mark.parametrize(("quota", "n"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("x", 64)])
def test_a_limit_of_the_group_or_of_one_above_it_counts(machine, quota, n):
    for folder in ("slice/box", "slice", "."):
        (machine / folder / "cpu.max").write_text(quota)
        assert processors.count() == n
        (machine / folder / "cpu.max").unlink()


@pytest.mark.parametrize(("asked", "n"), [("3", 3), ("0", 1), ("99", 64), ("²", 64), ("two", 64)])
def test_the_environment_lowers_the_number_of_threads(machine, monkeypatch, asked, n):
    monkeypatch.setenv("NAFP_THREADS", asked)
    assert threads.n_threads() == n
