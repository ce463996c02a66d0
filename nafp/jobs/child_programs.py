"""Programs that this process starts: they end with it, and one that falls silent is ended after a stated time."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import select
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import IO, Any

# The kernel watches the parent only from the moment that setpriv asks it to. If the parent has ended before that, the
# program has another parent by now, and its number ($PPID) shows it.
_IF_THE_PARENT_LIVES = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"'


def started(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Starts a program that is killed when this process ends, however it ends (on Linux, with `setpriv`).

    options: as for subprocess.Popen. Elsewhere the program ends when it next writes into the pipe that nobody reads.
    """
    follower = _follower()
    if not follower:
        return subprocess.Popen(command, **options)
    # The kernel ends the program with the *thread* that started it, so a thread that never ends starts them all.
    answer: queue.Queue = queue.Queue(1)
    _starter(os.getpid()).put((_tied(follower, command, parent=os.getpid()), options, answer))
    outcome = answer.get()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program during the block, and kills it at its end."""
    process = started(command, **options)
    try:
        yield process
    finally:
        process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        process.wait()


def confine(process: subprocess.Popen[bytes], memory_bytes: int) -> None:
    """Limits the memory of a running program (on Linux)."""
    try:
        import resource  # Windows has none.

        resource.prlimit(process.pid, resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    except (ImportError, AttributeError, OSError, ValueError):  # Not there, or the program has ended.
        pass


def read(stream: IO[bytes], n_bytes: int, *, patience_s: float) -> bytes:
    """Reads from an unbuffered pipe until there are n_bytes or the pipe ends.

    patience_s: 0 waits for ever. Raises TimeoutError if no byte comes for so many seconds.
    """
    parts: list[bytes] = []
    while n_bytes > 0:
        if patience_s and not _is_ready(stream, patience_s):
            raise TimeoutError(f"gave nothing for {patience_s:g} s")
        part = os.read(stream.fileno(), min(n_bytes, 1 << 20))
        if not part:
            break
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


def answer(command: list[str], *, patience_s: float) -> tuple[int, bytes, bytes]:
    """Runs a program to its end. Returns its exit code, its standard output and its standard error.

    Raises TimeoutError if it takes longer than `patience_s` seconds.
    """
    pipes = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with running(command, **pipes) as process:
        try:
            output, remarks = process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"gave no answer within {patience_s:g} s") from None
        return process.returncode, output, remarks


def _is_ready(stream: IO[bytes], patience_s: float) -> bool:
    """Returns whether a pipe has bytes, or ends, within so many seconds."""
    if not hasattr(select, "poll"):  # Windows.
        return bool(select.select([stream], [], [], patience_s)[0])
    waiting = select.poll()  # select.select refuses file descriptors from 1024 on.
    waiting.register(stream, select.POLLIN)
    return bool(waiting.poll(1000 * patience_s))


def _tied(follower: str, command: list[str], *, parent: int) -> list[str]:
    """Returns the command that runs `command` until its parent ends, and not at all if the parent has ended already."""
    return [follower, "--pdeathsig", "KILL", "--", "sh", "-c", _IF_THE_PARENT_LIVES, "sh", str(parent), *command]


@functools.cache
def _follower() -> str:
    """Returns the path of a `setpriv` that ties a program to the life of its parent, "" if there is none."""
    program = shutil.which("setpriv")
    if not program:
        return ""
    trial = subprocess.run([program, "--pdeathsig", "KILL", "--", "true"], capture_output=True)
    return "" if trial.returncode else program


@functools.cache
def _starter(_pid: int) -> queue.SimpleQueue:
    """Returns the queue of this process's thread that starts programs. A forked process gets one of its own."""
    waiting: queue.SimpleQueue = queue.SimpleQueue()

    def work() -> None:
        while True:
            command, options, answer_to = waiting.get()
            try:
                answer_to.put(subprocess.Popen(command, **options))
            except BaseException as error:
                answer_to.put(error)

    threading.Thread(target=work, daemon=True, name="nafp starter").start()
    return waiting
