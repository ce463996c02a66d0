"""A few processes that work through a list, and a list that survives what kills a process.

Decoders are C code fed with other people's files. One that crashes takes its process along; here
that costs the one task it had, by name, and a new process goes on with the next. Processes are
spawned: safe beside threads and beside JAX.
"""

import multiprocessing
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple


class Crash(NamedTuple):
    reason: str


class _Worker(NamedTuple):
    process: multiprocessing.process.BaseProcess
    pipe: connection.Connection


def processors() -> int:
    """Counts the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    jobs: int,
    ahead: int = 256,
    done: Callable[[int], None] = lambda index: None,
) -> Iterator[Any]:
    """Yields function(task) for each task, in their order; a Crash where it killed its process.

    function: a module's own, so that it can be named in another process; an exception in it ends
    the run with its traceback. jobs: processes, 0 to work in this one. ahead: how many results may
    wait for an earlier one. done: told the index of each task as it ends, in the order of ending.
    """
    if jobs < 1:
        for index, task in enumerate(tasks):
            result = function(task)
            done(index)
            yield result
        return
    context = multiprocessing.get_context("spawn")
    idle, busy, results = deque(), {}, {}
    sent = yielded = 0
    try:
        while yielded < len(tasks):
            while sent < min(len(tasks), yielded + ahead) and len(busy) < jobs:
                worker = idle.popleft() if idle else _start(context, function)
                worker.pipe.send(tasks[sent])
                busy[worker.pipe] = worker, sent
                sent += 1
            for pipe in connection.wait(list(busy)):
                worker, index = busy.pop(pipe)
                results[index] = _receive(worker)
                done(index)
                if not isinstance(results[index], Crash):
                    idle.append(worker)
            while yielded in results:
                yield results.pop(yielded)
                yielded += 1
    finally:
        _stop([*idle, *(worker for worker, _ in busy.values())])


def _start(context: multiprocessing.context.BaseContext, function: Callable) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(function, theirs), daemon=True)
    process.start()
    theirs.close()  # So that the end of the process is seen as the end of the pipe.
    return _Worker(process, ours)


def _receive(worker: _Worker) -> Any:
    try:
        result, trouble = worker.pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        worker.pipe.close()
        code = worker.process.exitcode
        return Crash(f"crashed the decoder ({f'signal {-code}' if code < 0 else f'exit {code}'})")
    if trouble:
        raise RuntimeError(f"a worker failed:\n{trouble}")
    return result


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join()
        worker.pipe.close()


def _work(function: Callable[[Any], Any], pipe: connection.Connection) -> None:
    """Answers tasks until the pipe ends, which it does when the parent is gone, however it went."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # Decoders chat about damaged files; what matters comes back as a result.
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = function(task), ""
        except BaseException:
            answer = None, traceback.format_exc()
        try:
            pipe.send(answer)
        except OSError:
            return
