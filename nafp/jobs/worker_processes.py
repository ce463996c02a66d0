"""A few processes that work through a list of tasks, or answer them as they come. A task that kills its process costs
no other task.

Decoders are C code fed with other people's files. A decoder that crashes takes its process along. Here that costs the
one task at work, which is named, and a new process goes on with the next. Processes are spawned, which is safe beside
threads and beside JAX.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing import connection
from multiprocessing.context import SpawnContext
from typing import Any, NamedTuple, TypeVar

from nafp import errors

Task = TypeVar("Task")
Result = TypeVar("Result")


_PAUSE_S = 1.0  # Between two starts of a process that dies at once, so that a machine without memory gets a rest.


class Crash(NamedTuple):
    """Takes the place of a result whose task killed its process. reason: how it ended."""

    reason: str


class NoneFree(TimeoutError):
    """No process was free in time, so that the task was not begun."""


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


class Workers:
    """A few processes that answer tasks as they come, each within a stated time.

    function: a function of a module, so that another process can import it. It is first called with `greeting`, so that
    a process is warm before its first task. jobs: number of processes. `close` ends them. Usable in a `with` statement.
    """

    def __init__(self, function: Callable[[Any], Any], *, jobs: int, greeting: Any):
        self._function, self._greeting, self._closed = function, greeting, False
        self._context = multiprocessing.get_context("spawn")
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._all: set[_Worker] = set()
        self._changing = threading.Lock()
        for _ in range(jobs):
            self._replace()

    def ask(self, task: Any, *, within_s: float) -> Any:
        """Returns function(task), or a Crash if the task killed its process. May be called from several threads.

        An error comes out as `run` has it. Raises NoneFree if no process is free within this many seconds, and
        TimeoutError if it gives no answer. It is killed then, and another takes its place.
        """
        end_s = time.monotonic() + within_s
        try:
            worker = self._idle.get(timeout=within_s)
        except queue.Empty:
            raise NoneFree(f"no process was free for {within_s:g} s") from None
        try:
            worker.pipe.send(task)
            if not worker.pipe.poll(max(0.0, end_s - time.monotonic())):
                raise TimeoutError(f"gave no answer within {within_s:g} s")
            answer = _receive(worker)
        except (TimeoutError, OSError) as error:
            self._drop(worker)
            if isinstance(error, TimeoutError):
                raise
            return Crash("ended before it was asked")
        except BaseException:  # What the task raised: the process is well.
            self._idle.put(worker)
            raise
        if isinstance(answer, Crash):
            self._drop(worker)
        else:
            self._idle.put(worker)
        return answer

    def close(self) -> None:
        """Kills all processes."""
        with self._changing:
            self._closed = True
            workers, self._all = self._all, set()
        for worker in workers:
            _kill(worker)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drop(self, worker: _Worker) -> None:
        with self._changing:
            self._all.discard(worker)
        _kill(worker)
        self._replace()

    def _replace(self) -> None:
        """Starts a process. It counts as free once it has answered the greeting, which takes a second."""
        with self._changing:
            if self._closed:
                return
            worker = _start(self._context, self._function)
            self._all.add(worker)
        threading.Thread(target=self._greet, args=(worker,), daemon=True).start()

    def _greet(self, worker: _Worker) -> None:
        try:
            worker.pipe.send(self._greeting)
            worker.pipe.recv()
        except (OSError, EOFError):  # It was killed, perhaps by `close`: then none is started.
            time.sleep(_PAUSE_S)
            self._drop(worker)
        else:
            self._idle.put(worker)


def _kill(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


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
