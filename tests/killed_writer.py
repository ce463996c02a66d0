"""A writer to be killed: `python -m tests.killed_writer DB`, without JAX, forked anew for each life.

For each line `SEED STEP` on standard input a child changes the database and says on standard output what is
acknowledged, a line each: `added NAME`, `removed NAME`, `compacted`, at the end `done`; what it begins is said, too
(`adding NAME`, `removing NAME`). With STEP > 0 it kills itself
at that step of those that reach the disk; with 0 it works until somebody kills it. What a track holds follows from its
name, so that whoever reads it can tell whether it is whole.
"""

import contextlib
import os
import random
import signal
import sys

import numpy as np

DIM, SEAL_ROWS = 16, 192
STEPS = ("pwrite", "fsync", "ftruncate", "replace", "unlink")


def vectors(name: str) -> np.ndarray:
    """Gives the fingerprints of a track: 8 to 64 rows."""
    rng = np.random.default_rng(list(name.encode()))
    rows = rng.standard_normal((int(rng.integers(8, 65)), DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def create(folder: str) -> None:
    """Makes an empty database, as far as its fingerprints go."""
    from nafp.database import catalogue

    os.makedirs(folder)
    about = {
        "storage": "float16",
        "dim": DIM,
        "hop_s": 0.5,
        "generation": 0,
        "n_rows": 0,
        "files": {},
    }
    catalogue.Catalogue.create(folder, about)


def live(folder: str, seed: int, say, n_changes: int = 10**9) -> None:
    """Changes a database: many additions, some removals, now and then a compaction."""
    from nafp.database import writer

    draw = random.Random(seed)
    with writer.Writer(folder, seal_rows=SEAL_ROWS) as changing:
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
                some = [f"{seed}.{number}.{i}" for i in range(3)]
                say("\n".join(f"adding {name}" for name in some))
                with changing.together():
                    for name in some:
                        changing.append(name, 1.0, vectors(name))
                names += some
                say("\n".join(f"added {name}" for name in some))
            else:
                name = f"{seed}.{number}"
                say(f"adding {name}")
                changing.append(name, 1.0, vectors(name), metadata={"title": f"Title of {name}"})
                names.append(name)
                say(f"added {name}")


def kill_at(step: int) -> None:
    """Makes this process kill itself at the step-th call that reaches the disk; half a write is done before."""
    left = step

    def fatal(name, call):
        def counted(*args, **more):
            nonlocal left
            left -= 1
            if left == 0:
                if name == "pwrite":
                    handle, data, place = args
                    call(handle, bytes(data)[: len(data) // 2], place)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **more)

        return counted

    for name in STEPS:
        setattr(os, name, fatal(name, getattr(os, name)))


def main() -> None:
    from nafp.database import writer  # noqa: F401 - once, for all children

    for line in sys.stdin:
        seed, step = map(int, line.split())
        child = os.fork()
        if not child:
            os.write(1, f"child {os.getpid()}\n".encode())
            if step:
                kill_at(step)
            with contextlib.suppress(BrokenPipeError):
                live(
                    sys.argv[1],
                    seed,
                    lambda text: os.write(1, f"{text}\n".encode()),
                    12 if step else 10**9,
                )
                os.write(1, b"done\n")
            os._exit(0)
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    main()
