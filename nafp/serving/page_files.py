"""The files of the page: read once from the package, and never by a path of a request."""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

FOLDER = "page"
INDEX = "index.html"
# What a browser may do with the page: run and load what this server sends, compile ONNX Runtime, and nothing else.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".gz": "application/gzip",
}


class PageFile(NamedTuple):
    """One file. tag: changes with its bytes, for If-None-Match."""

    data: bytes
    media_type: str
    tag: str


@functools.cache
def files() -> dict[str, PageFile]:
    """Returns all files of the page by name. Those of ONNX Runtime are called ort/NAME."""
    return dict(sorted(_under(resources.files(__package__).joinpath(FOLDER), "")))


def _under(folder: Traversable, prefix: str) -> list[tuple[str, PageFile]]:
    found = []
    for entry in folder.iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        if entry.is_dir():
            found += _under(entry, f"{prefix}{entry.name}/")
        elif suffix in _TYPES:
            data = entry.read_bytes()
            found.append((prefix + entry.name, PageFile(data, _TYPES[suffix], hashlib.sha256(data).hexdigest()[:32])))
    return found
