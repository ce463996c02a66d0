"""Disks to test with: small enough to be full."""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def full(folder: pathlib.Path, *, n_bytes: int) -> Iterator[pathlib.Path]:
    """Mounts a file system of n_bytes on a new folder. Skips the test where this user may not."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "none", str(folder)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    if not is_mounted:
        pytest.skip("only root can mount a small file system, and only on Linux")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
