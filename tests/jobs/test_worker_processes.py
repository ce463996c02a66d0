import os

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
