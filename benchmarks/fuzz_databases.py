"""Asks damaged databases, and counts what became of them.

python -m benchmarks.fuzz_databases [--count=2000] [--first=0] [--seed=0] [--tally=FILE.json] [--keep=FOLDER]

Each case is a database of 40 tracks with one to three damages, drawn from (seed, number of the case). A process of its
own opens it and asks for six tracks that are in it and two that are not. A case that is wrong, hung, crashed or
silently lost is printed with its number, and its folder is kept under --keep. --tally adds the counts to those of
earlier calls. Exit code 1 if there is such a case.
"""

import collections
import json
import os
import pathlib
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
from absl import flags

from benchmarks import _ends
from nafp import errors
from nafp.database import database
from nafp.identify import identifier
from nafp.search import confidence
from tests import databases

FINE = ("refused by name", "right, with a remark", "right")
BAD = ("wrong", "hung", "crashed", "silently lost")
STORAGES = ("float16", "pq2")
KNOWN, UNKNOWN = (0, 7, 15, 16, 31, 39), (1000, 1001)
_COUNT = flags.DEFINE_integer("count", 2000, "Damaged databases to ask.")
_FIRST = flags.DEFINE_integer("first", 0, "Number of the first case.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the damage.")
_TALLY = flags.DEFINE_string("tally", None, "A JSON file whose counts are added to.")
_KEEP = flags.DEFINE_string("keep", None, "A folder for the databases of bad cases.")
_LIMIT_S, _LIMIT_BYTES = 30, 4 * 2**30
_N_TRACKS, _N_ROWS = 40, 40
_RIGHT, _REMARK, _REFUSED, _WRONG, _LOST = 0, 10, 11, 12, 13  # Exit codes of the process that asks.
_WORDS = {_RIGHT: "right", _REMARK: "right, with a remark", _REFUSED: "refused by name", _WRONG: "wrong"}
_WORDS[_LOST] = "silently lost"


class Asked:
    """Whole databases, one of each storage, and their answers."""

    def __init__(self, folder: pathlib.Path):
        self.folders = {storage: folder / storage for storage in STORAGES}
        network = pathlib.Path(databases.network_file(folder))
        weights = np.array([[-4.0, 16.0, 0.0]] * 2)  # A margin of 0.25 is even odds.
        confidence.Confidence([1, 40], weights).save(network.with_suffix(".confidence.json"))
        for storage, place in self.folders.items():
            opened = databases.filled(place, _N_TRACKS, network=str(network), seal_rows=640)
            if storage != "float16":
                opened.compact(storage=storage)
            opened.close()
        self.sound = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) / 5
        self.truth = {storage: self.answers(place)[0] for storage, place in self.folders.items()}

    def answers(self, folder: pathlib.Path) -> tuple[dict[str, object], list[str]]:
        """Asks a database all there is to ask. Returns the answers, and what it says of its own state."""
        with database.Database.open(folder) as opened:
            network = opened.network(runtime="numpy")
            asked = identifier.Identifier(network, opened.rows, opened.index, confidence=opened.confidence)
            if not asked.is_calibrated and opened.troubles:
                raise errors.Invalid(opened.troubles[0])  # It answers every clip, and says so.
            found: dict[str, object] = {"sound": np.round(network.track(self.sound), 4).tolist()}
            for number in KNOWN + UNKNOWN:
                ranking = asked.rank_vectors({1.0: databases.unit(_N_ROWS, seed=number)[5:20]})
                if ranking.lost:
                    raise errors.Invalid(identifier.lost_in_words(ranking.lost))
                probable = [answer for answer in ranking.answers if identifier.is_answer(answer)]
                found[f"clip {number}"] = [
                    (a.track, round(a.start_s, 2), round(a.probability or 0, 2)) for a in probable
                ]
            found["tracks"] = [(t.name, t.seconds, dict(t.metadata), t.digest) for t in opened.tracks()]
            return found, opened.troubles

    def verdict(self, storage: str, folder: pathlib.Path) -> int:
        """Returns the exit code that says how a database answers."""
        try:
            found, troubles = self.answers(folder)
        except (errors.Error, OSError):
            return _REFUSED
        truth = self.truth[storage]
        for key, right in truth.items():
            if found[key] == right:
                continue
            is_less = isinstance(right, list) and not [item for item in found[key] if item not in right]  # type: ignore[attr-defined]
            if not is_less:
                return _WRONG
            if not troubles:
                return _LOST
        return _REMARK if troubles else _RIGHT


def damaged(folder: pathlib.Path, draw: np.random.Generator) -> str:
    """Damages a database one to three times, and returns in words how."""
    done = []
    for _ in range(int(draw.choice([1, 1, 1, 2, 3]))):
        names = sorted(path.name for path in folder.iterdir() if path.name != "writer.lock")
        name = str(draw.choice(names))
        way = str(draw.choice(list(_WAYS)))
        path = folder / name
        _WAYS[way](path, draw)
        done.append(f"{name}: {way}")
    return "; ".join(done)


def _changed(change: Callable[[bytearray, np.random.Generator], object]) -> Callable[..., None]:
    def damage(path: pathlib.Path, draw: np.random.Generator) -> None:
        data = bytearray(path.read_bytes())
        if data:
            change(data, draw)
        path.write_bytes(data)

    return damage


def _bit(data: bytearray, draw: np.random.Generator) -> None:
    data[draw.integers(len(data))] ^= 1 << int(draw.integers(8))


def _head_bit(data: bytearray, draw: np.random.Generator) -> None:
    data[draw.integers(min(len(data), 256))] ^= 1 << int(draw.integers(8))


def _byte(data: bytearray, draw: np.random.Generator) -> None:
    data[draw.integers(len(data))] = int(draw.integers(256))


def _zeros(data: bytearray, draw: np.random.Generator) -> None:
    start, n = int(draw.integers(len(data))), int(draw.integers(1, 4097))
    data[start : start + n] = bytes(len(data[start : start + n]))


def _junk(data: bytearray, draw: np.random.Generator) -> None:
    start, n = int(draw.integers(len(data))), int(draw.integers(1, 513))
    data[start : start + n] = draw.bytes(len(data[start : start + n]))


def _moved(data: bytearray, draw: np.random.Generator) -> None:
    n = int(draw.integers(1, max(2, len(data) // 2)))
    first, second = (int(place) for place in draw.integers(0, len(data) - n + 1, 2))
    data[first : first + n] = data[second : second + n]


def _cut(data: bytearray, draw: np.random.Generator) -> None:
    del data[draw.integers(len(data)) :]


def _longer(data: bytearray, draw: np.random.Generator) -> None:
    data += draw.bytes(int(draw.integers(1, 5000)))


def _gone(path: pathlib.Path, draw: np.random.Generator) -> None:
    path.unlink()


def _exchanged(path: pathlib.Path, draw: np.random.Generator) -> None:
    other = draw.choice(sorted(place.name for place in path.parent.iterdir()))
    path.write_bytes((path.parent / str(other)).read_bytes())


_WAYS: dict[str, Callable[[pathlib.Path, np.random.Generator], None]] = {
    "bit": _changed(_bit),
    "bit of the head": _changed(_head_bit),
    "byte": _changed(_byte),
    "zeros": _changed(_zeros),
    "junk": _changed(_junk),
    "part moved": _changed(_moved),
    "cut": _changed(_cut),
    "longer": _changed(_longer),
    "gone": _gone,
    "content of another file": _exchanged,
}


def case(asked: Asked, number: int, seed: int, folder: pathlib.Path) -> tuple[str, str]:
    """Damages and asks one database. Returns what became of it, and how it was damaged."""
    draw = np.random.default_rng([seed, number])
    storage = str(draw.choice(STORAGES, p=[0.7, 0.3]))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(asked.folders[storage], folder)
    how = damaged(folder, draw)
    return outcome(lambda: asked.verdict(storage, folder)), f"{storage}: {how}"


def outcome(ask: Callable[[], int]) -> str:
    """Asks in a process of its own, which may crash, hang or want too much memory."""
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
        try:
            code = ask()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            code = 99
        os._exit(code)
    until = time.monotonic() + _LIMIT_S
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return _WORDS.get(os.waitstatus_to_exitcode(status), "crashed")
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hung"
        time.sleep(0.002)


def main() -> None:
    os.environ["NAFP_THREADS"] = "1"
    counts: collections.Counter[str] = collections.Counter()
    if _TALLY.value and os.path.exists(_TALLY.value):
        counts.update(json.loads(pathlib.Path(_TALLY.value).read_text()))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as place:
        asked = Asked(pathlib.Path(place))
        for number in range(_FIRST.value, _FIRST.value + _COUNT.value):
            became, how = case(asked, number, _SEED.value, pathlib.Path(place) / "case")
            counts[became] += 1
            if became in BAD:
                print(f"case {number}: {became}: {how}", flush=True)
                if _KEEP.value:
                    kept = pathlib.Path(_KEEP.value) / str(number)
                    shutil.copytree(pathlib.Path(place) / "case", kept, dirs_exist_ok=True)
    for word in (*FINE, *BAD):
        print(f"{word:24}{counts[word]:8}")
    if _TALLY.value:
        pathlib.Path(_TALLY.value).write_text(json.dumps(counts))
    sys.exit(1 if any(counts[word] for word in BAD) else 0)


if __name__ == "__main__":
    _ends.run(main)
