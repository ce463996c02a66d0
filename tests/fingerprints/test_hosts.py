"""Several processes of one job: they meet, compare, and end together. Threads stand for processes here."""

import contextlib
import threading
import time

import jax
import numpy as np
import pytest

from nafp import errors
from nafp.fingerprints import hosts
from tests.training import test_hosts, test_loop

folder = test_loop.folder
N = 3


class Service:
    """Looks like the coordination service of JAX."""

    def __init__(self):
        self.values, self.changed, self.barriers = {}, threading.Condition(), {}

    def key_value_set(self, key, text):
        with self.changed:
            if key in self.values:
                raise RuntimeError("ALREADY_EXISTS")
            self.values[key] = text
            self.changed.notify_all()

    def key_value_try_get(self, key):
        if key not in self.values:
            raise RuntimeError("NOT_FOUND")
        return self.values[key]

    def blocking_key_value_get(self, key, timeout_ms):
        with self.changed:
            assert self.changed.wait_for(lambda: key in self.values, timeout=20)
        return self.values[key]

    def wait_at_barrier(self, key, timeout_ms):
        with self.changed:
            barrier = self.barriers.setdefault(key, threading.Barrier(N))
        barrier.wait(20)


class Ended(BaseException):
    """What a process does that ends at once."""


@pytest.fixture
def processes(monkeypatch):
    """Returns a function that calls another in N processes and returns what each returns or raises."""
    me, service = threading.local(), Service()
    monkeypatch.setattr(jax, "process_count", lambda: N)
    monkeypatch.setattr(jax, "process_index", lambda: me.i)
    monkeypatch.setattr(hosts.distributed.global_state, "client", service)
    monkeypatch.setattr(hosts, "_number", _Counter(me))
    monkeypatch.setattr(hosts, "_POLL_S", 0.01)
    monkeypatch.setattr(hosts, "_LEAVING_S", 2.0)
    monkeypatch.setattr(hosts, "_LOST_S", 0.05)
    monkeypatch.setattr(hosts, "_LAST_S", 0.2)
    left, ended = [], []

    def wait_for_nobody(last=lambda: None):
        left.append(me.i)
        me.last = last

    monkeypatch.setattr(hosts.endings, "wait_for_nobody", wait_for_nobody)

    def run(work):
        outcomes = [None] * N

        def one(i):
            me.i, me.n, me.last = i, 0, lambda: None
            try:
                outcomes[i] = work(i)
            except BaseException as error:
                outcomes[i] = error
                time.sleep(0.1)  # What closes on the way to the end.
                me.last()  # As `endings.leave` does.
                ended.append(f"process {i}")

        threads = [threading.Thread(target=one, args=(i,)) for i in range(N)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return outcomes

    run.left, run.ended = left, ended
    return run


class _Counter:
    """Counts up for each thread by itself, as each process does."""

    def __init__(self, me):
        self._me = me

    def __next__(self):
        self._me.n += 1
        return self._me.n


def test_an_error_in_one_process_is_raised_in_all(processes):
    def work(i):
        with hosts.ended_together(), hosts.together("reading"):
            if i == 1:
                raise errors.NotFound("corpus: no such folder")

    first, second, third = processes(work)
    assert isinstance(second, errors.NotFound)
    for other in (first, third):
        assert isinstance(other, errors.OtherProcessFailed)
        assert str(other) == "reading: process 1 failed: corpus: no such folder"
    assert processes.left == []  # All leave in good order.


def test_facts_that_differ_are_named_in_every_process(processes):
    def work(i):
        hosts.require_same("the run", {"seed": 3, "windows": "a" if i != 2 else "b"})

    assert {str(error) for error in processes(work)} == {
        "the run must be the same in every process: windows is a in process 0, a in process 1, b in process 2"
    }
    assert processes(lambda i: hosts.require_same("the run again", {"seed": 3})) == [None] * N


def test_the_first_process_alone_computes_and_all_have_it_to_the_bit(processes):
    called = []

    def work(i):
        return hosts.from_first(lambda: called.append(i) or {"score": 0.1 + 0.2, "rank": float("nan")})

    found = processes(work)
    assert called == [0]
    assert all(one["score"] == 0.1 + 0.2 and np.isnan(one["rank"]) for one in found)


def ending(processes, monkeypatch):
    """Lets threads that end processes stop. Returns an event, all others than one have ended, and their codes."""
    stopped, codes = threading.Event(), []

    def at_once(code):
        codes.append(code)
        processes.ended.append("another")
        if len(codes) == N - 1:
            stopped.set()
        raise Ended

    def listen(*given, listen=hosts._listen):
        with contextlib.suppress(Ended):
            listen(*given)

    monkeypatch.setattr(hosts.endings, "at_once", at_once)
    monkeypatch.setattr(hosts, "_listen", listen)
    return stopped, codes


def fails(number, stopped):
    """Returns work of which one process fails, while the others wait for it as a collective does."""

    def work(i):
        with hosts.ended_together():
            if i == number:
                raise errors.Unwritable("run: cannot be written: the disk is full")
            stopped.wait(10)

    return work


def test_an_error_of_one_process_ends_the_others_with_its_reason(processes, monkeypatch, capsys):
    """The others are in a collective, which nothing interrupts: their threads end them."""
    stopped, codes = ending(processes, monkeypatch)
    failed = processes(fails(0, stopped))[0]
    assert isinstance(failed, errors.Unwritable)
    assert codes == [2, 2]
    assert "process 0 failed: run: cannot be written: the disk is full" in capsys.readouterr().err
    assert processes.left == [0]


def test_the_first_process_ends_last_because_its_end_aborts_the_others(processes, monkeypatch):
    stopped, codes = ending(processes, monkeypatch)
    processes(fails(1, stopped))
    assert codes == [2, 2]  # Of process 2, then of process 0.
    assert processes.ended[:3] == ["another", "process 1", "another"]


@pytest.mark.parametrize("mine, waits", [(0, True), (1, False)])
def test_of_those_that_notice_a_loss_the_first_process_ends_last(processes, mine, waits):
    """The times are compared with those of a process that has nobody behind it."""

    def work(i):
        began = time.monotonic()
        try:
            with hosts.ended_together():
                if i == mine:
                    raise jax.errors.JaxRuntimeError("Gloo all-reduce failed: Connection closed by peer")
        except errors.StartAgain:
            return time.monotonic() - began

    assert (processes(work)[mine] >= hosts._LOST_S + hosts._LAST_S) == waits


@pytest.mark.parametrize(
    "text, lost",
    [
        ("INTERNAL: Gloo all-reduce failed: Connection closed by peer", True),
        ("UNAVAILABLE: NCCL operation failed", True),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes", False),
    ],
)
def test_a_lost_process_is_told_from_an_error_of_ones_own(processes, monkeypatch, text, lost):
    monkeypatch.setattr(hosts, "_LEAVING_S", 0.1)

    def work(i):
        if i == 0:
            with hosts.ended_together():
                raise jax.errors.JaxRuntimeError(f"{text}\nmore")

    found = processes(work)[0]
    if lost:
        assert isinstance(found, errors.StartAgain)
        assert str(found) == f"another process of this job is gone: {text}"
    else:
        assert isinstance(found, jax.errors.JaxRuntimeError)
    assert processes.left == [0]


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_and_resume(folder):
    """The fast test, of devices in one process, is test_one_two_and_four_devices_equal_the_plain_step."""

    def train(name, n_hosts, **changes):
        settings = {"train.steps_per_epoch": 4, "optimizer.schedule": "constant", **changes}
        hosts = test_hosts.started(folder, folder / name, hosts=n_hosts, devices=1, **{"steps": 8, **settings})
        codes, said = test_hosts.ends(hosts)
        assert codes == [0] * n_hosts, said
        return [loss for _, loss in sorted(test_hosts.losses(folder / name).items())]

    one = train("one", 1)
    two = train("two", 2, **{"steps": 4, "checkpoint.every_steps": 2})
    two = train("two", 2, **{"checkpoint.every_steps": 2})
    assert len(two) == 8
    np.testing.assert_allclose(two, one, rtol=1e-4)
