"""Processes that work through a list of tasks, or answer tasks as they come.

A task that kills its process costs no other task.

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


_PAUSE_S = 1.0  # Between two starts of a process that fails or dies at once: a machine without memory gets a rest.


class Crash(NamedTuple):
    """Takes the place of a result whose task killed its process. reason: how it ended."""

    reason: str


_UNASKED = Crash("ended before it was asked")


class NoneFree(TimeoutError):
    """No process was free in time, so that the task was not begun."""


class _Worker(NamedTuple):
    process: multiprocessing.process.BaseProcess
    pipe: connection.Connection


def run(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    jobs: int,
    ahead: int = 256,
    done: Callable[[int], None] = lambda index: None,
) -> Generator[Result | Crash, None, None]:
    """Yields function(task) for each task, in the order of the tasks, or a Crash where the task killed its process.

    function: a function of a module, so that another process can import it. An exception in it ends the run: an error
    of nafp.errors is raised here as it is, any other as a RuntimeError with its traceback. jobs: the number of
    processes, 0 to work in this one. ahead: the number of results that may wait for an earlier one. done: is called
    with the index of each task when the task ends, in the order of ending.
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
                worker = _given(tasks[n_sent], idle, context, function)
                busy[worker.pipe] = worker, n_sent
                n_sent += 1
            for pipe in connection.wait(list(busy)):
                worker, index = busy.pop(pipe)
                answer = _receive(worker)
                if not isinstance(answer, Crash):
                    idle.append(worker)
                results[index] = _unpacked(answer)
                done(index)
            while n_yielded in results:
                yield results.pop(n_yielded)
                n_yielded += 1
    finally:
        _stop([*idle, *(worker for worker, _ in busy.values())])


class Workers:
    """A few processes that answer tasks as they come, each within a stated time.

    function: a function of a module, so that another process can import it. It is first called with `greeting`, so that
    a process is warm before its first task. jobs: the number of processes. `close` ends them. Usable in a `with`
    statement.
    """

    def __init__(self, function: Callable[[Any], Any], *, jobs: int, greeting: Any):
        self._function, self._greeting, self._closed = function, greeting, False
        self._context = multiprocessing.get_context("spawn")
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._all: set[_Worker] = set()
        self._changing = threading.Lock()
        for _ in range(jobs):
            self._begin()

    def ask(self, task: Any, *, within_s: float) -> Any:
        """Returns function(task), or a Crash if the task killed its process. May be called from several threads.

        Raises the errors that `run` raises. Raises NoneFree if no process is free within `within_s` seconds, and
        TimeoutError if the process gives no answer by then. Another process takes the place of one that gave none.
        """
        end_s = time.monotonic() + within_s
        try:
            worker = self._idle.get(timeout=within_s)
        except queue.Empty:
            raise NoneFree(f"no process was free for {within_s:g} s") from None
        answer: Any = _UNASKED
        try:
            answer = _answered(worker, task, within_s=end_s - time.monotonic())
            if answer is None:
                raise TimeoutError(f"gave no answer within {within_s:g} s")
        finally:
            if answer is None or isinstance(answer, Crash):  # A late answer would be taken for that of the next task.
                self._drop(worker)
            else:
                self._idle.put(worker)
        return _unpacked(answer)

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
        """Starts a process in the place of another one. Tries again until the machine has room for it."""
        try:
            self._begin()
        except OSError:  # No memory, or too many processes.
            again = threading.Timer(_PAUSE_S, self._replace)
            again.daemon = True
            again.start()

    def _begin(self) -> None:
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
        except (OSError, EOFError):  # The process was killed. If `close` did it, no other is started.
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


def _given(task: Any, idle: deque[_Worker], context: SpawnContext, function: Callable[[Any], Any]) -> _Worker:
    """Hands a task to an idle process, or to a new one, and returns that process."""
    while idle:
        worker = idle.popleft()
        try:
            worker.pipe.send(task)
        except OSError:  # It was killed while it was idle, perhaps for want of memory.
            _kill(worker)
        else:
            return worker
    worker = _start(context, function)
    worker.pipe.send(task)
    return worker


def _answered(worker: _Worker, task: Any, *, within_s: float) -> Any:
    """Returns what a process answers to a task, for `_unpacked`. Returns None if it does not answer in time."""
    try:
        worker.pipe.send(task)
        is_answered = worker.pipe.poll(max(0.0, within_s))
    except OSError:
        return _UNASKED
    return _receive(worker) if is_answered else None


def _receive(worker: _Worker) -> Any:
    """Returns the answer of a process, for `_unpacked`, or a Crash if the process has ended."""
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):  # OSError: it was killed in the middle of its answer.
        worker.process.join()
        worker.pipe.close()
        code = worker.process.exitcode or 0
        return Crash(f"crashed the decoder ({f'signal {-code}' if code < 0 else f'exit {code}'})")


def _unpacked(answer: Any) -> Any:
    """Returns the result in an answer. Raises the error of the task instead, if there was one."""
    if isinstance(answer, Crash):
        return answer
    result, trace = answer
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
            _send(pipe, answer)
        except OSError:
            return


def _send(pipe: connection.Connection, answer: tuple[Any, object]) -> None:
    """Sends an answer or, if the answer cannot be pickled, the trace that tells why."""
    try:
        pipe.send(answer)
    except OSError:
        raise
    except Exception:  # What pickling raises, which is before the first byte is sent.
        pipe.send((None, traceback.format_exc()))
