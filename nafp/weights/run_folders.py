"""The folder of a run, on a disk or in Google Cloud Storage (gs://bucket/run), with one interface like pathlib's."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from etils import epath

from nafp import errors

if TYPE_CHECKING:
    from pathlib import Path as Folder
else:
    Folder = epath.Path


def opened(place: str | os.PathLike) -> Folder:
    """Returns a folder to work with. It need not exist.

    Raises errors.Invalid for an address that no checkpoint can be written to, or whose package is not installed.
    """
    text = os.fspath(place)
    if is_remote(text) and not text.startswith("gs://"):
        raise errors.Invalid(
            f"{text}: checkpoints go to a folder or to gs://bucket/run; mount other storage as a folder of all hosts"
        )
    if is_remote(text) and not any(map(importlib.util.find_spec, ("gcsfs", "tensorflow"))):  # Either of them does.
        raise errors.Invalid(f"{text}: gcsfs is not installed: pip install 'nafp[gcs]'")
    return Folder(text.rstrip("/")) if is_remote(text) else Folder(text).expanduser()


def is_remote(place: str | os.PathLike) -> bool:
    """Returns whether a place is the address of an object store."""
    return "://" in os.fspath(place)
