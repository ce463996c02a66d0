"""Verbs that write, to be killed: `python -m tests.killed_verbs`, forked anew for each life.

Lines on standard input are `VERB:FOLDER STEP`. A child does what the verb does in that folder, says `done` at its end,
or `failed: ERROR`, and kills itself at that step of those that reach the disk (see `tests.killed_writer.kill_at`).
"""

import os
import pathlib
import sys
from collections.abc import Callable
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np

from nafp.audio import live
from nafp.database import database, from_databases, writer
from nafp.identify import pfann_files
from nafp.models import protocol
from nafp.monitor import stretches
from nafp.search import collection, index
from nafp.serving import browser_network, page_files
from nafp.verbs import monitor, page
from tests import databases, killed_writer

N_BLOCKS = 3
SWITCH_AT = 29 * 40  # Rows of a full tail: those of tracks 0 .. 28.


def merge(folder: pathlib.Path) -> None:
    """Merges `other` into `db`, a few tracks at a time."""
    setattr(from_databases, "_TOGETHER_ROWS", 150)  # noqa: B010 - a constant, to the type checker
    with database.Database.open(folder / "db") as opened:
        opened.merge([folder / "other"])


def repair(folder: pathlib.Path) -> None:
    """Does what `nafp verify --repair` does."""
    with database.Database.open(folder / "db") as opened:
        opened.repair(opened.verify())


def recode(folder: pathlib.Path) -> None:
    """Does what `nafp compact --storage=pq2` does."""
    with database.Database.open(folder / "db") as opened:
        opened.compact(storage="pq2")


def begin_learned(folder: pathlib.Path) -> None:
    """Adds the tracks from which on a new database has enough to learn from, and one more (see `SWITCH_AT`)."""
    with writer.DatabaseWriter(folder / "db", seal_rows=SWITCH_AT) as writing:
        there = {track.name for track in writing.catalogue.tracks()}
        for number in (28, 29, 30):
            if f"/music/{number}.wav" not in there:
                writing.append(f"/music/{number}.wav", 20.5, databases.unit(40, seed=number))


def remove(folder: pathlib.Path) -> None:
    """Removes two tracks and compacts."""
    with database.Database.open(folder / "db") as opened:
        opened.remove(["/music/3.wav", "/music/7.wav"])
        opened.compact()


class _Heard(stretches.Monitor):
    """Finds one stretch in each block of a second, without a network."""

    def __init__(self, *_: object, **__: object):
        self._n_heard = 0

    heard_s = property(lambda self: float(self._n_heard))
    start_s = property(lambda self: float(self._n_heard))
    now = property(lambda self: [])
    lost = property(lambda self: [])

    def hear(self, samples: np.ndarray) -> list[stretches.Stretch]:
        self._n_heard += 1
        return [stretches.Stretch(f"{self._n_heard}.mp3", self._n_heard - 1, self._n_heard)]

    def finish(self) -> list[stretches.Stretch]:
        return [stretches.Stretch("end.mp3", self._n_heard, self._n_heard + 1)]

    def state(self) -> dict:
        return {"heard": self._n_heard}

    def restore(self, state: dict) -> None:
        self._n_heard = state["heard"]


def listen(folder: pathlib.Path) -> None:
    """Monitors two recordings with --state and --out."""
    rows = collection.Collection([databases.unit(3)])
    settings = {"sample_rate_hz": 8000, "identity": {"sha256": "0"}, "config": SimpleNamespace(augment={})}
    network = create_autospec(protocol.Network, instance=True, **settings)
    opened = monitor.OpenedCollection(network, rows, index.build(rows, index.plan("l2", n_rows=3, dim=16)), None)
    replaced = {
        (monitor, "open_collection"): lambda request, prepare: opened,
        (stretches, "Monitor"): _Heard,
        (live, "blocks"): lambda name, start_s, **_: iter([np.zeros(8)] * (N_BLOCKS - int(start_s))),
    }
    for (module, name), value in replaced.items():
        setattr(module, name, value)
    names = [str(folder / "a.wav"), str(folder / "b.wav")]
    out, state = str(folder / "out"), str(folder / "state")
    monitor.run(monitor.MonitorRequest(names, "db", format="json", out=out, state=state))


def answer(folder: pathlib.Path) -> None:
    """Writes the files of `nafp identify --format=pfann --out`."""
    rows = collection.Collection([databases.unit(3)])
    with pfann_files.Files(folder / "r.tsv", rows, ["a.mp3"]) as files:
        for number in range(3):
            files.add(f"{number}.wav", None)


def site(folder: pathlib.Path) -> None:
    """Does what `nafp page` does, with little beside the collection."""
    setattr(browser_network, "of", lambda _: browser_network.BrowserNetwork(b"network", "00"))  # noqa: B010
    named = {name: page_files.files()[name] for name in ("index.html", "main.js", "offline.js")}
    setattr(page_files, "files", lambda: named)  # noqa: B010
    page.run(str(folder / "db"), out=folder / "site")


VERBS: dict[str, Callable[[pathlib.Path], None]] = {
    "merge": merge,
    "repair": repair,
    "recode": recode,
    "begin_learned": begin_learned,
    "remove": remove,
    "listen": listen,
    "answer": answer,
    "site": site,
}


def main() -> None:
    for line in sys.stdin:
        what, step = line.split()
        verb, _, folder = what.partition(":")
        child = os.fork()
        if not child:
            os.write(1, f"child {os.getpid()}\n".encode())
            if int(step):
                killed_writer.kill_at(int(step))
            try:
                VERBS[verb](pathlib.Path(folder))
                os.write(1, b"done\n")
            except BaseException as error:
                os.write(1, f"failed: {error!r}\n".encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    main()
