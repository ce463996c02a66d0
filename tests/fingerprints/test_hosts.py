"""Two processes under jax.distributed train as one does."""

import json
import socket

import numpy as np
import pytest

from tests import commands
from tests.training import test_loop

folder = test_loop.folder


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def train(folder, run, n_processes, **changes):
    line = test_loop.words(folder, run, **changes)
    if n_processes > 1:
        line += [f"--coordinator=127.0.0.1:{free_port()}", f"--processes={n_processes}"]
    settings = {"env": test_loop.environment(folder)}
    started = [
        commands.start(*([*line, f"--process={i}"] if n_processes > 1 else line), **settings)
        for i in range(n_processes)
    ]
    assert [process.wait().returncode for process in started] == [0] * n_processes
    lines = (run / "losses.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_and_resume(folder):
    """The fast test, of devices in one process, is test_one_two_and_four_devices_equal_the_plain_step."""
    one = train(folder, folder / "one", 1)
    two = train(folder, folder / "two", 2, **{"train.steps": 4, "checkpoint.every_steps": 2})
    two = train(folder, folder / "two", 2, **{"checkpoint.every_steps": 2})
    assert len(two) == 8
    np.testing.assert_allclose(two, one, rtol=1e-4)
