"""Pictures of similarities, for the folder of a run and for TensorBoard."""

from __future__ import annotations

import io
import pathlib
import struct
import zlib

import numpy as np

LOWEST, HIGHEST = -0.2, 1.0  # Cosines that are black and white.
N_ROWS = 120  # Of a picture.
_POINTS = 4  # For each row and column.


def grey(similarity: np.ndarray) -> np.ndarray:
    """Returns the first rows and columns of similarities [n, n] as grey levels, uint8 [m, m]."""
    share = (similarity[:N_ROWS, :N_ROWS] - LOWEST) / (HIGHEST - LOWEST)
    levels = np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)
    return levels.repeat(_POINTS, axis=0).repeat(_POINTS, axis=1)


def png(levels: np.ndarray) -> bytes:
    """Returns a PNG file of grey levels, uint8 [height, width]. Needs no library of pictures."""
    height, width = levels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), levels], axis=1)  # 0: no filter.
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def draw(similarity: np.ndarray, path: pathlib.Path, *, title: str) -> None:
    """Draws the first rows of the similarity matrix into a PNG. A bright diagonal shows a network that recognises.

    Without matplotlib it is grey, and has neither title nor axes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        path.write_bytes(png(grey(similarity)))
        return
    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(similarity[:N_ROWS, :N_ROWS], vmin=LOWEST, vmax=HIGHEST, cmap="magma")
    axes.set(xlabel="database row (clean)", ylabel="query row (degraded)", title=title)
    figure.colorbar(image, label="cosine similarity")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    path.write_bytes(drawn.getvalue())


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
