"""A writer to be killed: `python -m tests.killed_writer DB` or `... --create NETWORK`, forked anew for each life.

For each line on standard input a child changes the database, and says on standard output, a line each, what it begins
(`adding NAME`, `removing NAME`) and what is acknowledged (`added NAME`, `removed NAME`, `compacted`), at the end
`done`. Lines are `SEED STEP`; with --create they are `FOLDER STEP`, and the child makes a database in that folder. With
STEP > 0 it kills itself at that step of those that reach the disk; with 0 it works until somebody kills it; with the
beginning of a file's name it kills itself before it renames such a file. What a track holds follows from its name, so
that whoever reads it can tell whether it is whole.
"""

import contextlib
import functools
import importlib
import os
import random
import signal
import sqlite3
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

DIM, PEAK_BYTES, SEAL_ROWS = 16, 32, 192
STEPS = ("pwrite", "fsync", "ftruncate", "replace", "unlink", "mkdir")


@functools.cache
def vectors(name: str) -> np.ndarray:
    """Returns the fingerprints of a track: 8 to 64 rows."""
    rng = np.random.default_rng(list(name.encode()))
    rows = rng.standard_normal((int(rng.integers(8, 65)), DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@functools.cache
def peaks(name: str) -> np.ndarray:
    """Returns the peaks of a track, where the database keeps them."""
    rng = np.random.default_rng(list(name.encode())[::-1])
    return rng.integers(0, 256, (len(vectors(name)), PEAK_BYTES), np.uint8)


def create(folder: str, *, with_peaks: bool = False) -> None:
    """Makes an empty database with the facts that its fingerprints need."""
    from nafp.database import catalogue

    os.makedirs(folder)
    about = {"storage": "float16", "dim": DIM, "hop_s": 0.5, "generation": 0, "n_rows": 0, "files": {}}
    if with_peaks:
        about["peak_bytes"] = PEAK_BYTES
    catalogue.Catalogue.create(folder, about)


def live(folder: str, seed: int, say: Callable[[str], Any], n_changes: int = 10**9) -> None:
    """Changes a database: many additions, some removals, now and then a compaction."""
    from nafp.database import writer

    draw = random.Random(seed)
    with writer.DatabaseWriter(folder, seal_rows=SEAL_ROWS) as changing:
        names = [track.name for track in changing.catalogue.tracks()]
        for number in range(n_changes):
            fate = draw.random()
            if fate < 0.15 and len(names) > 5:
                name = names.pop(draw.randrange(len(names)))
                say(f"removing {name}")
                changing.remove([name])
                say(f"removed {name}")
            elif fate < 0.2:
                changing.compact()
                say("compacted")
            elif fate < 0.3:
                group = [f"{seed}.{number}.{i}" for i in range(3)]
                say("\n".join(f"adding {name}" for name in group))
                with changing.together():
                    for name in group:
                        changing.append(name, 1.0, vectors(name), peaks=peaks(name))
                names += group
                say("\n".join(f"added {name}" for name in group))
            else:
                name = f"{seed}.{number}"
                say(f"adding {name}")
                known = {"title": f"Title of {name}"}
                changing.append(name, 1.0, vectors(name), peaks=peaks(name), metadata=known)
                names.append(name)
                say(f"added {name}")


def make(folder: str, network: str) -> None:
    """Makes an empty database with a network."""
    from nafp.database import database

    database.Database.create(folder, network=network)


def kill_at(step: int) -> None:
    """Makes this process kill itself at the step-th call that reaches the disk. Half a write is done before.

    A step is a call of `os`, or a statement that changes a file of sqlite which is not yet whole.
    """
    left = step

    def count() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def fatal(name, call):
        def counted(*args, **more):
            if count():
                if name == "pwrite":
                    handle, data, place = args
                    call(handle, bytes(data)[: len(data) // 2], place)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **more)

        return counted

    for name in STEPS:
        setattr(os, name, fatal(name, getattr(os, name)))
    connect = sqlite3.connect

    def connect_and_count(path, **settings):
        connection = connect(path, **settings)
        if str(path).endswith(".part"):
            connection.set_trace_callback(lambda _: os.kill(os.getpid(), signal.SIGKILL) if count() else None)
        return connection

    setattr(sqlite3, "connect", connect_and_count)  # noqa: B010 - no assignment that a type checker would refuse


def kill_before_renaming(beginning: str) -> None:
    """Makes this process kill itself before it renames a file whose name begins so."""
    replace = os.replace

    def replace_or_die(source, target):
        if os.path.basename(source).startswith(beginning):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    setattr(os, "replace", replace_or_die)  # noqa: B010 - as above


def main() -> None:
    folder, *network = sys.argv[1:]
    importlib.import_module("nafp.database.database" if network else "nafp.database.writer")  # Once, for all children.
    for line in sys.stdin:
        what, step = line.split()
        child = os.fork()
        if not child:
            os.write(1, f"child {os.getpid()}\n".encode())
            if step.isdigit() and int(step):
                kill_at(int(step))
            elif not step.isdigit():
                kill_before_renaming(step)
            with contextlib.suppress(BrokenPipeError):
                if network:
                    make(what, *network)
                else:
                    live(
                        folder,
                        int(what),
                        lambda text: os.write(1, f"{text}\n".encode()),
                        12 if step.isdigit() and int(step) else 10**9,
                    )
                os.write(1, b"done\n")
            os._exit(0)
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    main()
