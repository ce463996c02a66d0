"""Measures how soon a clip is answered, in an open database and from the shell.

python -m benchmarks.identify --folder=FOLDER [--network=full] [--rows=1000000] [--out=FILE.json]

The database is made once in FOLDER and kept. It holds one recording of tests/ and made-up tracks, whose fingerprints
change as slowly as those of music. The network has random parameters, on which time does not depend. It times opening,
then clips of ten seconds from decoded audio to the answer, and then whole commands, the second of two. A sure clip is
answered at once, a doubtful one takes a closer look and other speeds. Times are medians of wall and CPU time. On a
machine with other work the CPU time tells more. Divided by the number of threads, it is what the wall time would be.
"""

import functools
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import ml_collections
import numpy as np
from absl import flags

from benchmarks import _ends, _result
from configs import full, small
from evaluation.scores import results
from nafp import config
from nafp.audio import decode
from nafp.database import database
from nafp.identify import identifier
from nafp.search import confidence
from nafp.weights import files

ROOT = pathlib.Path(__file__).parent.parent
MUSIC = sorted((ROOT / "tests" / "recordings" / "music").glob("*.opus"))
_FOLDER = flags.DEFINE_string(
    "folder", None, "The folder in which databases are made, with 300 bytes a row. Required.", required=True
)
_NETWORK = flags.DEFINE_enum("network", "full", ["full", "small"], "The network to run. Default: full.")
_ROWS = flags.DEFINE_integer("rows", 1_000_000, "Fingerprints in the database. Default: 1,000,000.")
_REPEATS = flags.DEFINE_integer("repeats", 15, "Timed queries of each kind. Default: 15.")
_RUNTIMES = flags.DEFINE_list("runtimes", ["jax", "numpy"], "The runtimes to measure, out of jax and numpy.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the numbers are only printed.")

TRACK_ROWS = 480  # Rows of a made-up track, four minutes.
RATE_HZ = 16000


def main() -> None:
    folder = pathlib.Path(_FOLDER.value) / f"{_NETWORK.value}-{_ROWS.value}"
    make_database(folder)
    numbers: dict[str, Any] = {"machine": results.machine(), "network": _NETWORK.value, "rows": _ROWS.value}
    for runtime in _RUNTIMES.value:
        numbers[runtime] = open_and_ask(folder, runtime) | {"shell": shell(folder, runtime)}
        print(runtime, json.dumps(numbers[runtime], indent=1), flush=True)
    _result.write(numbers, _OUT.value)


def make_database(folder: pathlib.Path) -> None:
    """Makes the database and its network, unless the folder holds them already."""
    if (folder / "catalogue.sqlite").exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    weights = folder.with_suffix(".safetensors")
    settings = {"full": full, "small": small}[_NETWORK.value].get_config()
    files.write(weights, parameters(settings), config.from_json(config.to_json(settings)), step=0, dtype="float16")
    opened = database.Database.create(folder, network=str(weights))
    vectors = opened.network(runtime="numpy").track(decode.load(MUSIC[0], sample_rate_hz=8000))
    rng, began = np.random.default_rng(0), time.monotonic()
    with opened.writer() as writer:
        writer.append("known", len(vectors) / 2, vectors)
        for number in range((_ROWS.value - len(vectors)) // TRACK_ROWS):
            writer.append(f"made up {number}", TRACK_ROWS / 2, slow(rng, TRACK_ROWS, vectors.shape[1]))
    print(f"{folder}: {_ROWS.value} rows in {time.monotonic() - began:.0f} s", flush=True)


def parameters(settings: ml_collections.ConfigDict) -> dict[str, Any]:
    """Draws parameters of a network. No scale or bias of a norm keeps its initial one or zero."""
    import jax

    from nafp.models import network

    rng = np.random.default_rng(0)

    def draw(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> np.ndarray:
        noise, name = rng.standard_normal(shape.shape, np.float32), str(path[-1])
        if "scale" in name:
            return 1 + noise / 10
        return noise * np.float32(0.1 if "bias" in name else np.prod(shape.shape[:-1]) ** -0.5)

    return jax.tree_util.tree_map_with_path(draw, network.abstract_variables(settings))


def slow(rng: np.random.Generator, n_rows: int, dim: int) -> np.ndarray:
    """Draws the fingerprints of a made-up track, float32 [n, D]. Neighbours are alike, and all share a direction."""
    steps = rng.standard_normal((n_rows + 1, dim), np.float32)
    rows = steps[1:] + steps[:-1] + 1.5 * rng.standard_normal(dim, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def open_and_ask(folder: pathlib.Path, runtime: str) -> dict[str, Any]:
    """Times opening the database, loading its network, and answering sure and doubtful clips."""
    began = time.perf_counter(), time.process_time()
    opened = database.Database.open(folder)
    rows, searched = opened.rows, opened.index
    opening = [time.perf_counter() - began[0], time.process_time() - began[1]]
    began = time.perf_counter(), time.process_time()
    network = opened.network(runtime=runtime, batch_size=identifier.BATCH)
    loading = [time.perf_counter() - began[0], time.process_time() - began[1]]
    numbers: dict[str, Any] = {"rows": len(rows), "open_s": opening, "load_network_s": loading}
    clip = decode.load(MUSIC[0], sample_rate_hz=RATE_HZ, start_s=8.1, seconds=10)
    for name, weight, speeds in (
        ("sure", 9.0, "auto"),
        ("doubtful, own speed", -9.0, "none"),
        ("doubtful", -9.0, "auto"),
    ):
        fixed = confidence.Confidence([1], np.array([[weight, 0.0, 0.0]]))
        answering = identifier.Identifier(network, rows, searched, confidence=fixed, speeds=speeds)
        numbers[name] = timed(functools.partial(answering.identify, clip, sample_rate_hz=RATE_HZ))
    (best,) = identifier.Identifier(network, rows, searched).identify(clip, sample_rate_hz=RATE_HZ, top=1)
    return numbers | {"answer": [best.track, best.start_s]}


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Returns the medians of wall and CPU milliseconds and the least wall time, after two runs that do not count."""
    walls, cpus = [], []
    for number in range(_REPEATS.value + 2):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        if number > 1:
            walls.append(1e3 * (time.perf_counter() - wall))
            cpus.append(1e3 * (time.process_time() - cpu))
    return {
        "wall_ms": round(statistics.median(walls), 1),
        "least_wall_ms": round(min(walls), 1),
        "cpu_ms": round(statistics.median(cpus), 1),
    }


def shell(folder: pathlib.Path, runtime: str) -> dict[str, float]:
    """Times the second of two runs of `nafp identify DB CLIP`, in seconds."""
    clip = folder.with_suffix(".wav")
    audio = decode.load(MUSIC[0], sample_rate_hz=RATE_HZ, start_s=8.1, seconds=10)
    decode.write_wav(clip, audio, sample_rate_hz=RATE_HZ)
    command = [sys.executable, "-m", "nafp", "identify", str(folder), str(clip), f"--runtime={runtime}"]
    for _ in range(2):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ, capture_output=True)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}


if __name__ == "__main__":
    _ends.run(main)
