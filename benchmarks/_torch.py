"""Drives the PyTorch rival: another process, perhaps another interpreter, that works when it is told."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks import _networks

# An allocator that gives no pages back: twice the speed for PyTorch on CPU, but not what users get.
_TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}


class Rival:
    """PyTorch with our parameters; `run("forward 32")` returns CPU seconds and fills `result`."""

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
        self.version = self._answer().split()[1]

    def run(self, command: str) -> float:
        """Does it once; returns the CPU seconds it took."""
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return float(self._answer())

    @property
    def result(self) -> dict[str, np.ndarray]:
        """Arrays of the last command."""
        return dict(np.load(self._file + ".out.npz"))

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("PyTorch ended early; its message is above")
        return line


def rivals(python: str | None, which: str, params: dict, mel: np.ndarray) -> dict[str, Rival]:
    """Starts PyTorch as it comes, and with its allocator tuned; none without an interpreter."""
    if not python:
        return {}
    names = {"torch": False, "torch_tuned": True}
    return {name: Rival(python, which, params, mel, tuned=t) for name, t in names.items()}


def interpreter(python: str | None) -> str | None:
    """Returns the interpreter to ask for PyTorch: the named one, else this one if it has it."""
    if python:
        return python
    if importlib.util.find_spec("torch"):
        return sys.executable
    print("torch not installed: comparison left out (--torch_python=PATH names one that has it)")
    return None
