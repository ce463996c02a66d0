"""The network of a database for browsers: an ONNX file in memory, under an address that changes with its bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from nafp.database import network_file
from nafp.weights import files


class BrowserNetwork(NamedTuple):
    """An ONNX file. digest: of its bytes, hexadecimal."""

    data: bytes
    digest: str

    @property
    def address(self) -> str:
        """Where the server has it."""
        return f"/v1/networks/{self.digest}.onnx"


def of(folder: str | os.PathLike) -> BrowserNetwork:
    """Returns the network of a database as ONNX. Its parameters are float16 where these hold all of them exactly.

    Raises errors.Invalid if the network has no form in ONNX, or if the package onnx is not installed.
    """
    held = Path(folder, network_file.NETWORK)
    variables, config, step = files.read(held)
    dtype = "float16" if files.fits_float16(variables) else "float32"
    with tempfile.TemporaryDirectory(prefix="nafp-onnx-") as scratch:
        path = Path(scratch, "network.onnx")
        # Its own filters: a machine that serves without JAX has no librosa, either.
        bank = files.read_bank(held)
        files.write(path, variables, config, step=step, source=held.name, dtype=dtype, format="onnx", bank=bank)
        data = path.read_bytes()
    return BrowserNetwork(data, hashlib.sha256(data).hexdigest()[:32])
