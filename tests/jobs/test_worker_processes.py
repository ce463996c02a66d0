import multiprocessing
import os
import struct
import time

import pytest

from nafp import errors
from nafp.jobs import worker_processes


def answer(task):
    if task == "crash":
        os.kill(os.getpid(), 11)
    if task == "error":
        raise OSError("disk full")
    if task == "unwritable":
        raise errors.Unwritable("a.i16: cannot be written")
    if task == "missing":
        raise errors.NotFound("a.wav: no such file")
    if task == "pid":
        return os.getpid()
    if task == "unsendable":
        return lambda: task
    return task * 2


def test_workers_answer_in_the_order_of_the_tasks():
    done = []
    results = list(worker_processes.run(answer, range(20), jobs=2, ahead=3, done=done.append))
    assert results == [2 * i for i in range(20)]
    assert sorted(done) == list(range(20))


def test_a_task_that_kills_its_worker_costs_no_other():
    results = list(worker_processes.run(answer, [1, "crash", 3, "crash", 5], jobs=2))
    assert [results[0], results[2], results[4]] == [2, 6, 10]
    assert results[1] == results[3] == worker_processes.Crash("crashed the decoder (signal 11)")


def test_an_error_in_a_worker_ends_the_run_with_its_trace():
    with pytest.raises(RuntimeError, match=r"(?s)in answer.*disk full"):
        list(worker_processes.run(answer, [1, "error", 3], jobs=1))


def test_an_error_for_a_person_comes_out_of_a_worker_as_it_is():
    with pytest.raises(errors.Unwritable, match=r"^a\.i16: cannot be written$"):
        list(worker_processes.run(answer, [1, "unwritable", 3], jobs=1))


def test_a_process_that_was_killed_while_it_was_idle_costs_no_task():
    results = worker_processes.run(answer, ["pid", 2, 3], jobs=1, ahead=1)
    killed = next(results)
    os.kill(killed, 9)
    for process in multiprocessing.active_children():
        if process.pid == killed:
            process.join()
    assert list(results) == [4, 6]


def test_an_answer_that_cannot_be_sent_says_so():
    with pytest.raises(RuntimeError, match=r"(?s)a worker failed:.*pickle"):
        list(worker_processes.run(answer, [1, "unsendable"], jobs=1))


def test_a_process_that_dies_in_the_middle_of_its_answer_is_a_crash():
    ours, theirs = multiprocessing.Pipe()
    with os.fdopen(os.dup(theirs.fileno()), "wb") as pipe:
        pipe.write(struct.pack("!i", 100) + b"the beginning")
    theirs.close()
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    worker = worker_processes._Worker(process, ours)
    assert worker_processes._receive(worker) == worker_processes.Crash("crashed the decoder (exit 0)")


def slow_answer(task):
    if task == "hang":
        time.sleep(60)
    return answer(task), os.getpid()


@pytest.fixture(scope="module")
def workers():
    with worker_processes.Workers(slow_answer, jobs=1, greeting=0) as opened:
        yield opened


def test_one_process_answers_task_after_task(workers):
    first, second = workers.ask(1, within_s=60), workers.ask(2, within_s=60)
    assert (first[0], second[0]) == (2, 4)
    assert first[1] == second[1] != os.getpid()


def test_a_process_that_gives_no_answer_is_killed_and_replaced(workers):
    _, before = workers.ask(1, within_s=60)
    with pytest.raises(TimeoutError, match=r"^gave no answer within 0\.2 s$"):
        workers.ask("hang", within_s=0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)
    assert workers.ask(3, within_s=60)[0] == 6


def test_a_process_that_dies_of_a_task_is_replaced_and_one_that_raises_goes_on(workers):
    assert workers.ask("crash", within_s=60) == worker_processes.Crash("crashed the decoder (signal 11)")
    _, now = workers.ask(1, within_s=60)
    with pytest.raises(errors.Unwritable):
        workers.ask("unwritable", within_s=60)
    with pytest.raises(errors.NotFound):  # An OSError, but none of the pipe.
        workers.ask("missing", within_s=60)
    assert workers.ask(1, within_s=60) == (2, now)


def test_a_process_that_the_machine_has_no_room_for_is_started_later(monkeypatch):
    def start(context, function):
        if refusals:
            raise refusals.pop()
        return started(context, function)

    started, refusals = worker_processes._start, []
    monkeypatch.setattr(worker_processes, "_PAUSE_S", 0.01)
    monkeypatch.setattr(worker_processes, "_start", start)
    with worker_processes.Workers(slow_answer, jobs=1, greeting=0) as workers:
        refusals += [BlockingIOError(11, "Resource temporarily unavailable")] * 2
        assert isinstance(workers.ask("crash", within_s=60), worker_processes.Crash)
        assert workers.ask(1, within_s=60)[0] == 2
        assert not refusals


def test_nobody_waits_for_ever_for_a_free_process():
    none = worker_processes.Workers(slow_answer, jobs=0, greeting=0)
    with pytest.raises(worker_processes.NoneFree, match="no process was free"):
        none.ask(1, within_s=0.01)
