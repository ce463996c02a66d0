"""A program that this process starts is read to its end, however many files are open."""

import os
import resource
import subprocess

import pytest

from nafp.jobs import child_programs


@pytest.fixture
def high_number():
    """Yields a file descriptor that select.select refuses, which holds the reading end of a pipe with three bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= 2000:
        pytest.skip("this system opens fewer files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2001), hard))
    reading, writing = os.pipe()
    os.dup2(reading, 2000)
    os.write(writing, b"abc")
    for handle in (reading, writing):
        os.close(handle)
    yield 2000
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_with_a_thousand_open_files_still_reads_its_programs(high_number):
    with open(high_number, "rb", buffering=0) as stream:
        assert child_programs.read(stream, 10, patience_s=5.0) == b"abc"


def test_a_program_that_gives_nothing_is_not_waited_for():
    pipes = dict(stdout=subprocess.PIPE, bufsize=0)
    with child_programs.running(["sleep", "60"], **pipes) as process, pytest.raises(TimeoutError, match="gave nothing"):
        child_programs.read(process.stdout, 10, patience_s=0.1)
