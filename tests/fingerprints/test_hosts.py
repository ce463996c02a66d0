"""Two processes under jax.distributed train as one does."""

import json
import pathlib
import socket
import subprocess

import numpy as np
import pytest

from nafp.corpora import corpus, manifest
from tests.training import test_loop

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("processes")
    corpus.build(manifest.read(test_loop.RECORDINGS), made / "corpus", jobs=2)
    return made


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def train(folder, run, n_processes, **changes):
    line = test_loop.command(folder, run, **changes)
    if n_processes > 1:
        line += [f"--coordinator=127.0.0.1:{free_port()}", f"--processes={n_processes}"]
    environment = test_loop.environment(folder)
    started = [
        subprocess.Popen([*line, f"--process={i}"] if n_processes > 1 else line, cwd=ROOT, env=environment)
        for i in range(n_processes)
    ]
    try:
        assert [p.wait(timeout=300) for p in started] == [0] * n_processes
    finally:
        for process in started:
            process.kill()
    lines = (run / "losses.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_and_resume(folder):
    one = train(folder, folder / "one", 1)
    two = train(folder, folder / "two", 2, **{"train.steps": 4, "checkpoint.every_steps": 2})
    two = train(folder, folder / "two", 2, **{"checkpoint.every_steps": 2})
    assert len(two) == 8
    np.testing.assert_allclose(two, one, rtol=1e-4)
