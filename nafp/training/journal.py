"""The readable files of a run: its configuration, environment, log, losses, and what TensorBoard shows."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import time
from typing import Any

import jax
import ml_collections
import numpy as np

import nafp.config
from nafp import __version__
from nafp.training import mirror, pictures
from nafp.weights import run_folders

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "grain", "orbax-checkpoint", "numpy")


class RunLog:
    """Writes RUN/{config.json, environment.json, log.txt, losses.jsonl, tensorboard/}, on the first host only.

    In an object store these files appear with `keep` and `close`.
    """

    def __init__(self, run: str | os.PathLike, config: ml_collections.ConfigDict):
        self._active = jax.process_index() == 0
        self._board = None
        if not self._active:
            return
        self._mirror = mirror.Mirror(run_folders.opened(run), grown=("log.txt", "losses.jsonl"))
        folder = self._mirror.folder
        (folder / "config.json").write_text(nafp.config.to_json(config) + "\n")
        (folder / "environment.json").write_text(json.dumps(environment(), indent=1) + "\n")
        self._log = (folder / "log.txt").open("a", buffering=1)
        self._losses = (folder / "losses.jsonl").open("a", buffering=1)
        self._board = _board(folder / "tensorboard")
        self._mirror.keep()

    def say(self, line: str) -> None:
        """Prints a line, and writes it into the log with the time."""
        if self._active:
            print(line, flush=True)
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def loss(self, step: int, loss: float) -> None:
        """Writes the loss of a step, in decimal and, exact to the bit, in hexadecimal."""
        if self._active:
            self._losses.write(json.dumps({"step": step, "loss": loss, "hex": loss.hex()}) + "\n")

    def scalars(self, step: int, scores: dict[str, float]) -> None:
        """Writes scores of a step for TensorBoard, if that is installed."""
        if self._board is not None:
            for name, value in scores.items():
                self._board.add_scalar(name, value, step)

    def image(self, step: int, name: str, levels: np.ndarray) -> None:
        """Writes a picture of grey levels, uint8 [height, width], for TensorBoard, if that is installed."""
        if self._board is not None:
            from tensorboardX.proto import summary_pb2

            height, width = levels.shape
            picture = summary_pb2.Summary.Image(
                height=height, width=width, colorspace=1, encoded_image_string=pictures.png(levels)
            )
            value = summary_pb2.Summary.Value(tag=name, image=picture)
            self._board.file_writer.add_summary(summary_pb2.Summary(value=[value]), step)

    def keep(self) -> None:
        """Brings all that was written so far into the run's folder, if that is an object store."""
        if self._active:
            if self._board is not None:
                self._board.flush()
            self._mirror.keep()

    def close(self) -> None:
        if self._active:
            self._log.close()
            self._losses.close()
            if self._board is not None:
                self._board.close()
            self._mirror.close()


def _board(folder: pathlib.Path) -> Any:
    """Opens a TensorBoard writer, or returns None with a line on standard error if its package is missing."""
    try:
        import tensorboardX
    except ImportError:
        print("TensorBoard scalars are off: pip install tensorboardX", file=sys.stderr)
        return None
    return tensorboardX.SummaryWriter(str(folder))


def environment() -> dict[str, Any]:
    """Returns what is needed to repeat a run: its command, versions and devices."""
    return {
        "command": sys.argv,
        "nafp": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "devices": [str(d) for d in jax.devices()],
        "processes": jax.process_count(),
    }
