"""Runs `nafp` in a process of its own that begins with its libraries loaded.

Each process is forked off a server that has imported JAX and all else once, which takes seconds by itself. It has its
own standard streams, environment, flags and exit code, and can be killed. What a test says of the start of a process,
such as what it imports, needs `python -m nafp`.
"""

from __future__ import annotations

import functools
import multiprocessing
import multiprocessing.context
import os
import pathlib
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
# What verbs import. No module of `launch` is among them: they define flags when they are imported.
LIBRARIES = (
    *("absl.app", "faiss", "flax.linen", "grain.python", "jax", "librosa", "matplotlib.figure", "ml_collections"),
    *("numpy", "optax", "orbax.checkpoint", "scipy.signal", "soundfile", "soxr", "tensorboardX"),
    *("nafp.cli", "tests.commands"),
)


class Done(NamedTuple):
    """What a process leaves: its exit code, negative if a signal ended it, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Running:
    """A process that was started, and the files that it prints into."""

    def __init__(self, process: multiprocessing.context.ForkServerProcess, folder: tempfile.TemporaryDirectory):
        self._process, self._folder = process, folder

    def kill(self) -> Done:
        """Kills the process, which cannot do anything about it, and waits until it is gone."""
        self._process.kill()
        return self.wait()

    def send(self, number: int) -> None:
        """Sends a signal to the process."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait_until(self, happened: Callable[[], bool], *, timeout_s: float = 240) -> None:
        """Waits until `happened` returns True. The process must not end before."""
        began = time.monotonic()
        while not happened():
            assert self._process.is_alive(), self.wait().stderr
            assert time.monotonic() - began < timeout_s
            time.sleep(0.005)

    def wait(self, *, timeout_s: float = 300) -> Done:
        """Waits for the end of the process."""
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            self._process.kill()
            raise AssertionError(f"not done after {timeout_s:g} s: {self._printed('stderr')}")
        with self._folder:
            return Done(self._process.exitcode, self._printed("stdout"), self._printed("stderr"))

    def _printed(self, stream: str) -> str:
        return pathlib.Path(self._folder.name, stream).read_text(errors="surrogateescape")


def nafp(*words: object, **settings: Any) -> Done:
    """Runs `nafp WORDS` to its end, with the settings of `started`."""
    return start(*words, **settings).wait()


def start(*words: object, module: str = "nafp", **settings: Any) -> Running:
    """Starts `python -m MODULE WORDS`, with the settings of `started`."""
    return started(_command, module, [str(word) for word in words], **settings)


def started(
    function: Callable[..., None], *arguments: Any, cwd: pathlib.Path = ROOT, env: Mapping[str, str] | None = None
) -> Running:
    """Starts a process that calls a function of a module in the folder `cwd`.

    env: its environment, this process's if left out.
    """
    folder = tempfile.TemporaryDirectory(prefix="nafp-command-")
    streams = [os.path.join(folder.name, name) for name in ("stdout", "stderr")]
    process = _server().Process(
        target=_forked, args=(function, arguments, str(cwd), dict(os.environ if env is None else env), streams)
    )
    process.start()
    return Running(process, folder)


@functools.cache
def _server() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    return context


def _forked(
    function: Callable[..., None], arguments: tuple[Any, ...], cwd: str, env: dict[str, str], streams: list[str]
) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(cwd)
    _become(env)
    function(*arguments)


def _become(env: dict[str, str]) -> None:
    """Takes an environment. JAX has read that of the server, so its settings are given to it once more."""
    import jax

    changed = {name: text for name, text in env.items() if os.environ.get(name) != text}
    os.environ.clear()
    os.environ.update(env)
    for name, value in jax.config.values.items():
        if name.upper() in changed and name.startswith("jax_"):
            jax.config.update(name, _as(type(value), changed[name.upper()]))


def _as(kind: type, text: str) -> Any:
    if kind is bool:
        return text.lower() in ("1", "true", "yes", "on")
    return kind(text) if kind in (int, float) else text


def _command(module: str, words: list[str]) -> None:
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
