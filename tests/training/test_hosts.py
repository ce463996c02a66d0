"""Runs that lose hosts: they stop together, say why, and go on with another number of hosts and devices."""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import pytest

from tests.training import test_loop

ROOT = pathlib.Path(__file__).parents[2]
folder = test_loop.folder
STEADY = {"optimizer.schedule": "constant", "train.steps_per_epoch": 4, "validate.tracks": 2}
WITHOUT_END = 1_000_000  # Steps.
HEARTBEAT_S = 10
LONG_S = 600  # On a busy machine compiling takes minutes.
ABORTED = -signal.SIGABRT  # What a shell shows as 134.


class Host(NamedTuple):
    """A process of `nafp train`, whose end is a real one, with all that JAX does then. said: what it has printed."""

    process: subprocess.Popen
    log: pathlib.Path

    @property
    def said(self):
        return self.log.read_text()

    def end(self, *, timeout_s=LONG_S):
        """Waits for its end. Returns its exit code."""
        try:
            return self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"not done after {timeout_s} s: {self.said}") from None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def started(folder, run, *, hosts, devices, steps=WITHOUT_END, of_last=(), **changes):
    """Starts `nafp train` on so many hosts of so many devices each. of_last: further words for the last host."""
    settings = {**STEADY, "train.cpu_shares": devices, "train.steps": steps, **changes}
    line = [sys.executable, "-m", "nafp", *test_loop.words(folder, run, **settings)]
    if hosts > 1:
        line += [f"--coordinator=127.0.0.1:{free_port()}", f"--processes={hosts}", f"--heartbeat_s={HEARTBEAT_S}"]
    made = []
    for i in range(hosts):
        words, path = [*line, f"--process={i}"] if hosts > 1 else line, folder / f"host{time.monotonic_ns()}.txt"
        words = [*words, *of_last] if i == hosts - 1 else words
        with path.open("w") as log:
            env = test_loop.environment(folder)
            made.append(Host(subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=log), path))
    return made


def ends(hosts):
    codes = [host.end() for host in hosts]
    return codes, [host.said for host in hosts]


def losses(run):
    """Returns step -> loss of the last time that the step was taken."""
    if not (run / "losses.jsonl").exists():
        return {}
    lines = [json.loads(line) for line in (run / "losses.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


def steps_saved(run):
    return sorted(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit())


def after(hosts, run, n_steps):
    """Waits until a run has taken so many steps."""
    began = time.monotonic()
    while max(losses(run), default=0) < n_steps:
        assert all(host.process.poll() is None for host in hosts), [host.said for host in hosts]
        assert time.monotonic() - began < LONG_S
        time.sleep(0.01)


@pytest.mark.slow
def test_a_terminated_run_goes_on_with_other_hosts_and_devices(folder):
    """The fast tests: test_hosts_agree_on_what_one_of_them_says, test_sigterm_ends_a_run_with_a_checkpoint_and_code_75,
    and test_a_device_has_the_same_pairs_on_any_number_of_hosts.
    """
    run, whole, last = folder / "run", folder / "whole", 0
    for n_hosts, n_devices, told in ((2, 2, 1), (4, 1, 0)):
        hosts = started(folder, run, hosts=n_hosts, devices=n_devices)
        after(hosts, run, last + 5)
        hosts[told].process.send_signal(signal.SIGTERM)
        codes, said = ends(hosts)
        assert codes == [75] * n_hosts, said
        last = max(losses(run))
        assert steps_saved(run)[-1] == last
        assert all(f"terminated at step {last}; the same command goes on from there" in text for text in said)
    for place, n_hosts, n_devices, steps in ((run, 1, 4, 3), (run, 2, 1, 6), (whole, 1, 4, 6)):
        codes, said = ends(started(folder, place, hosts=n_hosts, devices=n_devices, steps=last + steps))
        assert codes == [0] * n_hosts, said
    mine, expected = losses(run), losses(whole)
    assert sorted(mine) == sorted(expected) == list(range(1, last + 7))
    apart = np.array([mine[i] / expected[i] - 1 for i in mine])
    print(f"{last + 6} steps; losses apart by {abs(apart).max():.1e}")
    assert abs(apart).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("gone", [0, 1])
def test_a_host_that_dies_without_a_word_ends_the_other_and_the_run_goes_on(folder, gone):
    """The fast test is test_a_lost_process_is_told_from_an_error_of_ones_own."""
    run = folder / f"killed_{gone}"
    hosts = started(folder, run, hosts=2, devices=2)
    after(hosts, run, 5)
    hosts[gone].process.kill()
    assert hosts[gone].end() == -signal.SIGKILL
    began, other = time.monotonic(), hosts[1 - gone]
    code = other.end(timeout_s=3 * HEARTBEAT_S)
    print(
        f"process {gone} killed: the other ends with {code} after {time.monotonic() - began:.1f} s: {other.said[-900:]}"
    )
    if gone:
        assert code == 75
        assert "nafp train: another process of this job is gone: " in other.said
    assert code in (75, ABORTED)
    steps = max(losses(run)) + 2
    assert ends(started(folder, run, hosts=1, devices=2, steps=steps))[0] == [0]
    assert max(losses(run)) == steps


@pytest.mark.slow
@pytest.mark.parametrize("silent", [0, 1])
def test_a_host_that_hangs_ends_the_other_in_time_and_itself_when_it_goes_on(folder, silent):
    """The fast test is test_of_those_that_notice_a_loss_the_first_process_ends_last."""
    run = folder / f"silent_{silent}"
    hosts = started(folder, run, hosts=2, devices=1)
    after(hosts, run, 5)
    hosts[silent].process.send_signal(signal.SIGSTOP)
    began, other = time.monotonic(), hosts[1 - silent]
    code = other.end(timeout_s=2 * HEARTBEAT_S + 10)
    print(f"process {silent} hangs: the other ends with {code} after {time.monotonic() - began:.1f} s")
    assert code in (75, ABORTED)
    before = losses(run)
    hosts[silent].process.send_signal(signal.SIGCONT)
    began = time.monotonic()
    code = hosts[silent].end(timeout_s=2 * HEARTBEAT_S + 10)
    print(f"it goes on, and ends with {code} after {time.monotonic() - began:.1f} s")
    assert code in (75, ABORTED)
    assert max(losses(run)) <= max(before) + 1  # The step that both had begun.


# What ends a run: settings, exit code, the last line of every host, and the last step, None where a clock decides.
STOPS = {
    "patience": ({"optimizer.learning_rate": 0.0, "validate.patience": 2}, 0, "no better validation in 2", 12),
    "minutes": ({"train.minutes": 0.15}, 0, "config.train.minutes=0.15 are over", None),
    "nan": ({"optimizer.learning_rate": 1e38}, 2, "nafp train: step 2: loss nan", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("why", STOPS)
def test_hosts_validate_and_stop_at_the_same_step(folder, why):
    """The fast tests are those of test_agreement.py, and test_the_first_process_alone_computes_and_all_have_it."""
    changes, code, reason, last = STOPS[why]
    run = folder / f"agreed_{why}"
    codes, said = ends(started(folder, run, hosts=2, devices=1, **changes))
    assert codes == [code] * 2, said
    if code:  # Each host says why.
        assert all(reason in text for text in said)
        assert max(losses(run)) == 2
        return
    done = max(losses(run))
    assert last in (done, None)
    assert f"stopped at step {done}: {reason}; checkpoint at {done}" in said[0]
    assert steps_saved(run)[-1] == done
    epochs = {f"{step:07d}.png" for step in (*range(4, done + 1, 4), done)}
    assert {path.name for path in (run / "similarity").iterdir()} == epochs
    assert all((run / "similarity" / name).read_bytes()[:4] == b"\x89PNG" for name in epochs)


@pytest.mark.slow
def test_hosts_that_differ_and_hosts_that_fail_end_together_with_the_reason(folder):
    """The fast tests are those of tests/fingerprints/test_hosts.py."""
    codes, said = ends(started(folder, folder / "differ", hosts=2, devices=1, of_last=["--config.seed=1"]))
    assert codes == [2, 2]
    assert all("must be the same in every process: the settings' digest is " in text for text in said)
    run = folder / "failed"
    hosts = started(folder, run, hosts=2, devices=1)
    after(hosts, run, 5)
    for _ in range(2):  # Ctrl-C twice: at once, without a checkpoint.
        hosts[1].process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    codes, said = ends(hosts)
    assert codes == [2, 130]
    assert "process 1 failed: KeyboardInterrupt" in said[0]
