"""Drives the PyTorch rival, which runs in a process of its own and may use another interpreter."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import IO

import numpy as np

from benchmarks import _networks

# With these, the allocator gives no pages back. PyTorch is then twice as fast on CPU, but users do not get this.
_TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}


class Rival:
    """PyTorch with our parameters.

    python: the interpreter. which: "full" or "narrow". mel: float32 [B, F, T], the spectrograms of every command.
    tuned: whether the allocator keeps its pages.
    """

    def __init__(self, python: str, which: str, params: dict, mel: np.ndarray, *, tuned: bool):
        self._folder = tempfile.TemporaryDirectory()
        self._file = str(pathlib.Path(self._folder.name) / "network.npz")
        plan = _networks.ours(which).plan(_networks.MEL_SHAPE)
        arrays = {f"{layer}/{k}": v for layer, group in params.items() for k, v in group.items()}
        np.savez(
            self._file,
            mel=mel,
            names=[layer.name for layer in plan],
            strides=[layer.stride for layer in plan],
            positions=[layer.n_positions for layer in plan],
            **arrays,
        )
        rival = pathlib.Path(__file__).parent / "_torch_rival.py"
        self._process = subprocess.Popen(
            [python, str(rival), self._file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(_TUNED if tuned else {})},
        )
        self.version = self._answer().split()[1]  # "ready VERSION ALLOCATOR".

    def run(self, command: str) -> float:
        """Runs "forward N" or "train" once, fills `result`, and returns the CPU seconds that it took."""
        commands = _pipe(self._process.stdin)
        commands.write(command + "\n")
        commands.flush()
        return float(self._answer())

    @property
    def result(self) -> dict[str, np.ndarray]:
        """The arrays that the last command computed."""
        return dict(np.load(self._file + ".out.npz"))

    def close(self) -> None:
        """Ends the process."""
        _pipe(self._process.stdin).close()
        self._process.wait()
        self._folder.cleanup()

    def _answer(self) -> str:
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError("PyTorch ended early; its message stands above")
        return line


def _pipe(stream: IO[str] | None) -> IO[str]:
    """Returns a stream of a process that was started with pipes."""
    assert stream is not None
    return stream


def rivals(python: str | None, which: str, params: dict, mel: np.ndarray) -> dict[str, Rival]:
    """Starts PyTorch twice, as it comes and with its allocator tuned. Returns {} without an interpreter."""
    if not python:
        return {}
    allocators = {"torch": False, "torch_tuned": True}
    return {name: Rival(python, which, params, mel, tuned=tuned) for name, tuned in allocators.items()}


def interpreter(python: str | None) -> str | None:
    """Returns the interpreter that runs PyTorch: the named one, or else this one if it has PyTorch, or else None."""
    if python:
        return python
    if importlib.util.find_spec("torch"):
        return sys.executable
    print("PyTorch is not installed, so it is not compared (--torch_python=PATH names an interpreter that has it)")
    return None
