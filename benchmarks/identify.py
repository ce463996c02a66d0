"""How soon a clip is answered: an open database, and from the shell.

python -m benchmarks.identify --folder=FOLDER [--network=full] [--rows=1000000] [--out=FILE.json]

The database is made once in FOLDER and kept: one real recording out of tests/, the rest made up (fingerprints that
change slowly, as those of music do). The network has random parameters: time does not depend on them. Timed: opening;
ten-second clips, from decoded audio to the answer, found for sure at once, and doubtful, which takes a closer look and
other speeds; and whole commands, the second of two. Wall and CPU seconds, medians: on a machine
with other work the second tells more; divided by the threads it is what the first would be.
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

import numpy as np
from absl import app, flags

from configs import full, small
from evaluation.scores import results
from nafp import config as config_lib
from nafp.audio import decode
from nafp.database import database
from nafp.identify import identifier
from nafp.search import confidence
from nafp.weights import files

ROOT = pathlib.Path(__file__).parent.parent
MUSIC = sorted((ROOT / "tests" / "recordings" / "music").glob("*.opus"))
_FOLDER = flags.DEFINE_string("folder", None, "Where the databases are made: 300 bytes a row.")
_NETWORK = flags.DEFINE_enum("network", "full", ["full", "small"], "Channels of the network.")
_ROWS = flags.DEFINE_integer("rows", 1_000_000, "Fingerprints in the database.")
_REPEATS = flags.DEFINE_integer("repeats", 15, "Queries of each kind.")
_RUNTIMES = flags.DEFINE_list("runtimes", ["jax", "numpy"], "What runs the network.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")
flags.mark_flags_as_required(["folder"])

TRACK_ROWS = 480  # Four minutes.
RATE_HZ = 16000
BATCH = 10  # As nafp identify has it.


def main(argv: list[str]) -> None:
    del argv
    folder = made(pathlib.Path(_FOLDER.value) / f"{_NETWORK.value}-{_ROWS.value}")
    found = {"machine": results.machine(), "network": _NETWORK.value, "rows": _ROWS.value}
    for runtime in _RUNTIMES.value:
        found[runtime] = opened_and_asked(folder, runtime) | {"shell": shell(folder, runtime)}
        print(runtime, json.dumps(found[runtime], indent=1), flush=True)
    if _OUT.value:
        pathlib.Path(_OUT.value).write_text(json.dumps(found, indent=1) + "\n")


def made(folder: pathlib.Path) -> pathlib.Path:
    """Returns the database, made if it is not there yet."""
    if (folder / "catalogue.sqlite").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    network = folder.with_suffix(".safetensors")
    chosen = {"full": full, "small": small}[_NETWORK.value].get_config()
    files.write(
        network,
        parameters(chosen),
        config_lib.from_json(config_lib.to_json(chosen)),
        step=0,
        dtype="float16",
    )
    there = database.Database.create(folder, network=str(network))
    known = there.network(runtime="numpy").track(decode.load(MUSIC[0], sample_rate_hz=8000))
    rng, began = np.random.default_rng(0), time.monotonic()
    with there.writer() as writing:
        writing.append("known", len(known) / 2, known)
        for number in range((_ROWS.value - len(known)) // TRACK_ROWS):
            writing.append(f"made up {number}", TRACK_ROWS / 2, slow(rng, TRACK_ROWS, known.shape[1]))
    print(f"{folder}: {_ROWS.value} rows in {time.monotonic() - began:.0f} s", flush=True)
    return folder


def parameters(chosen: object) -> dict:
    """Draws parameters, with no norm at its initial one or zero."""
    import jax

    from nafp.models import network

    rng = np.random.default_rng(0)

    def draw(path, shape):
        noise, name = rng.standard_normal(shape.shape, np.float32), str(path[-1])
        if "scale" in name:
            return 1 + noise / 10
        return noise * np.float32(0.1 if "bias" in name else np.prod(shape.shape[:-1]) ** -0.5)

    return jax.tree_util.tree_map_with_path(draw, network.abstract_variables(chosen))


def slow(rng: np.random.Generator, n_rows: int, dim: int) -> np.ndarray:
    """Draws fingerprints [n, D] of a made-up track: neighbours are alike, and all have something in common."""
    steps = rng.standard_normal((n_rows + 1, dim), np.float32)
    rows = steps[1:] + steps[:-1] + 1.5 * rng.standard_normal(dim, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def opened_and_asked(folder: pathlib.Path, runtime: str) -> dict:
    """Times opening, and clips that are known and that are not."""
    began = time.perf_counter(), time.process_time()
    there = database.Database.open(folder)
    rows, searched = there.rows, there.index
    opening = [time.perf_counter() - began[0], time.process_time() - began[1]]
    began = time.perf_counter(), time.process_time()
    network = there.network(runtime=runtime, batch_size=BATCH)
    loading = [time.perf_counter() - began[0], time.process_time() - began[1]]
    found = {"rows": len(rows), "open_s": opening, "load_network_s": loading}
    clip = decode.load(MUSIC[0], sample_rate_hz=RATE_HZ, start_s=8.1, seconds=10)
    for name, weight, speeds in (
        ("sure", 9.0, "auto"),
        ("doubtful, own speed", -9.0, "none"),
        ("doubtful", -9.0, "auto"),
    ):
        fixed = confidence.Confidence([1], np.array([[weight, 0.0, 0.0]]))
        asked = identifier.Identifier(network, rows, searched, confidence=fixed, speeds=speeds)
        found[name] = timed(functools.partial(asked.identify, clip, sample_rate_hz=RATE_HZ))
    (best,) = identifier.Identifier(network, rows, searched).identify(clip, sample_rate_hz=RATE_HZ, top=1)
    return found | {"answer": [best.track, best.start_s]}


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Gives medians of wall and CPU milliseconds, and the shortest wall, after two runs that do not count."""
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
    """Times `nafp identify DB CLIP`: the second of two."""
    clip = folder.with_suffix(".wav")
    audio = decode.load(MUSIC[0], sample_rate_hz=RATE_HZ, start_s=8.1, seconds=10)
    decode.write_wav(clip, audio, sample_rate_hz=RATE_HZ)
    command = [
        sys.executable,
        "-m",
        "nafp",
        "identify",
        str(folder),
        str(clip),
        f"--runtime={runtime}",
    ]
    for _ in range(2):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ, capture_output=True)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}


if __name__ == "__main__":
    app.run(main)
