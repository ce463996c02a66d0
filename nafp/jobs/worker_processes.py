"""A few processes that work through a list of tasks. A task that kills its process costs no other task.

Decoders are C code fed with other people's files. A decoder that crashes takes its process along. Here that costs the
one task at work, which is named, and a new process goes on with the next. Processes are spawned, which is safe beside
threads and beside JAX.
"""

import multiprocessing
import os
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing import connection
from multiprocessing.context import SpawnContext
from typing import Any, NamedTuple, TypeVar

from nafp import errors

Task = TypeVar("Task")
Result = TypeVar("Result")


class Crash(NamedTuple):
    """Takes the place of a result whose task killed its process. reason: how it ended."""

    reason: str


class _Worker(NamedTuple):
    process: multiprocessing.process.BaseProcess
    pipe: connection.Connection


def processors() -> int:
    """Returns the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    jobs: int,
    ahead: int = 256,
    done: Callable[[int], None] = lambda index: None,
) -> Generator[Result | Crash, None, None]:
    """Yields function(task) for each task, in the order of the tasks, or a Crash where the task killed its process.

    function: a function of a module, so that another process can import it. An exception in it ends the run: one of
    nafp.errors is raised here, another as a RuntimeError with its traceback. jobs: number of processes, 0 to work in
    this one. ahead: number of results that may wait for an earlier one. done: called with the index of each task when
    it ends, in the order of ending.
    """
    if jobs < 1:
        for index, task in enumerate(tasks):
            result = function(task)
            done(index)
            yield result
        return
    context = multiprocessing.get_context("spawn")
    idle: deque[_Worker] = deque()
    busy: dict[Any, tuple[_Worker, int]] = {}
    results: dict[int, Any] = {}
    n_sent = n_yielded = 0
    try:
        while n_yielded < len(tasks):
            while n_sent < min(len(tasks), n_yielded + ahead) and len(busy) < jobs:
                worker = idle.popleft() if idle else _start(context, function)
                worker.pipe.send(tasks[n_sent])
                busy[worker.pipe] = worker, n_sent
                n_sent += 1
            for pipe in connection.wait(list(busy)):
                worker, index = busy.pop(pipe)
                results[index] = _receive(worker)
                done(index)
                if not isinstance(results[index], Crash):
                    idle.append(worker)
            while n_yielded in results:
                yield results.pop(n_yielded)
                n_yielded += 1
    finally:
        _stop([*idle, *(worker for worker, _ in busy.values())])


def _start(context: SpawnContext, function: Callable[[Any], Any]) -> _Worker:
    our_end, their_end = context.Pipe()
    process = context.Process(target=_work, args=(function, their_end), daemon=True)
    process.start()
    their_end.close()  # So that the end of the process is seen as the end of the pipe.
    return _Worker(process, our_end)


def _receive(worker: _Worker) -> Any:
    try:
        result, trace = worker.pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        worker.pipe.close()
        code = worker.process.exitcode or 0
        return Crash(f"crashed the decoder ({f'signal {-code}' if code < 0 else f'exit {code}'})")
    if isinstance(trace, errors.Error):
        raise trace
    if trace:
        raise RuntimeError(f"a worker failed:\n{trace}")
    return result


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join()
        worker.pipe.close()


def _work(function: Callable[[Any], Any], pipe: connection.Connection) -> None:
    """Answers tasks until the pipe ends, which it also does when the parent is killed."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    # Decoders write remarks about damaged files to file descriptor 2, past Python. This process is ours alone and has
    # nothing to say there: results and traces go through the pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    answer: tuple[Any, object]
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = function(task), ""
        except errors.Error as error:
            answer = None, error
        except BaseException:
            answer = None, traceback.format_exc()
        try:
            pipe.send(answer)
        except OSError:
            return
