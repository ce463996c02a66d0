"""Measures how many clips a second `nafp serve` answers, and how soon.

python -m benchmarks.serving --database=DB [--seconds=10] [--workers=1] [--runtime=numpy] [--out=FILE.json]

The server is a process of its own, and its clients are threads of this one, which ask again as soon as they are
answered. They send five seconds of a recording of tests/ (--clip), as a WAV file at 16 kHz, or their nine fingerprints.
CPU time is that of the server and its decoders, for each answer. On a machine with other work it tells more than wall
time.
"""

import contextlib
import http.client
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import flags

from benchmarks import _ends, _result
from evaluation.scores import results
from nafp.audio import decode
from nafp.database import database

ROOT = pathlib.Path(__file__).parent.parent
MUSIC = sorted((ROOT / "tests" / "recordings" / "music").glob("*.opus"))
_DATABASE = flags.DEFINE_string("database", None, "The database to serve. Required.", required=True)
_SECONDS = flags.DEFINE_float("seconds", 10.0, "Seconds to ask for, with each number of clients. Default: 10.")
_CLIP = flags.DEFINE_integer("clip", 0, "Number of the recording that is sent, by name. Default: 0.")
_CLIENTS = flags.DEFINE_list("clients", ["1", "8", "64"], "Numbers of clients. Default: 1,8,64.")
_WORKERS = flags.DEFINE_integer("workers", 1, "Processes of the server. Default: 1.")
_RUNTIME = flags.DEFINE_enum("runtime", "jax", ["jax", "numpy"], "What computes the network. Default: jax.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the numbers are only printed.")

CLIP_S, RATE_HZ = 5.0, 16_000


def main() -> None:
    numbers: dict[str, Any] = {"machine": results.machine(), "runtime": _RUNTIME.value, "workers": _WORKERS.value}
    with database.Database.open(_DATABASE.value) as opened:
        numbers |= {"tracks": len(opened), "fingerprints": opened.info()["fingerprints"]}
        network = opened.network(runtime="numpy")
    samples = decode.load(MUSIC[_CLIP.value], sample_rate_hz=RATE_HZ, start_s=5.0, seconds=CLIP_S)
    slow = decode.resample(samples, from_hz=RATE_HZ, to_hz=network.sample_rate_hz)
    digest = network.identity["sha256"]
    bodies = {
        "clips": ("/v1/identify", wav(samples)),
        "fingerprints": (f"/v1/identify?data_type=fingerprint&network={digest}", network.track(slow).tobytes()),
    }
    with serving() as (process, port):
        numbers["memory_mb_idle"] = memory_mb(process.pid)
        for kind, (path, body) in bodies.items():
            numbers[kind] = {}
            for n_clients in map(int, _CLIENTS.value):
                numbers[kind][n_clients] = asked(process.pid, port, path, body, n_clients)
                print(kind, n_clients, json.dumps(numbers[kind][n_clients]), flush=True)
        numbers["memory_mb"] = memory_mb(process.pid)
    numbers["load"] = os.getloadavg()
    print(json.dumps(numbers, indent=1))
    _result.write(numbers, _OUT.value)


def wav(samples: np.ndarray) -> bytes:
    """Returns samples as the bytes of a WAV file."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


@contextlib.contextmanager
def serving() -> Iterator[tuple[subprocess.Popen, int]]:
    """Runs the server during the block. Yields its process and its port. What it logs is printed.

    Raises CalledProcessError if it ends before it serves.
    """
    words = [sys.executable, "-m", "nafp", "serve", _DATABASE.value, "--port=0", f"--runtime={_RUNTIME.value}"]
    words += [f"--workers={_WORKERS.value}", "--waiting=256"]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("serving"):
            break
        sys.stderr.write(line)
    else:
        raise subprocess.CalledProcessError(process.wait(), words)
    # A pipe that nobody reads stops the server once it is full.
    logging = threading.Thread(target=sys.stderr.writelines, args=(process.stderr,))
    logging.start()
    try:
        yield process, int(re.findall(r":(\d+)", line)[0])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        logging.join()


def asked(pid: int, port: int, path: str, body: bytes, n_clients: int) -> dict[str, float]:
    """Asks for a while. Returns requests per second, the times of an answer, and CPU time for each."""
    times_s: list[float] = []
    refused: list[int] = []
    ready = threading.Barrier(n_clients + 1)

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        with contextlib.closing(connection):
            once(connection, path, body)
            ready.wait()
            connection.close()  # The server did not keep it until the slowest was ready. The next request opens it.
            while time.monotonic() < end_s[0]:
                began = time.monotonic()
                status = once(connection, path, body)
                (times_s if status == 200 else refused).append(time.monotonic() - began)  # type: ignore[arg-type]

    end_s = [float("inf")]
    clients = [threading.Thread(target=ask) for _ in range(n_clients)]
    for client in clients:
        client.start()
    ready.wait()  # Each has asked once.
    began, cpu = time.monotonic(), cpu_s(pid)
    end_s[0] = began + _SECONDS.value
    for client in clients:
        client.join()
    elapsed, used = time.monotonic() - began, cpu_s(pid) - cpu
    p50, p99 = np.percentile(times_s or [np.nan], [50, 99])
    return {
        "per_s": round(len(times_s) / elapsed, 1),
        "p50_ms": round(1e3 * float(p50), 1),
        "p99_ms": round(1e3 * float(p99), 1),
        "cpu_ms": round(1e3 * used / max(1, len(times_s)), 1),
        "answers": len(times_s),
        "refused": len(refused),
    }


def once(connection: http.client.HTTPConnection, path: str, body: bytes) -> int:
    """Asks once and returns the status. The answer must name the right track."""
    connection.request("POST", path, body)
    response = connection.getresponse()
    value = json.loads(response.read())
    if response.status == 200 and MUSIC[_CLIP.value].stem not in value["answers"][0]["track"]:
        raise RuntimeError(f"a wrong answer: {value}")
    return response.status


def family(pid: int) -> list[int]:
    """Lists a process and all that descend from it."""
    pids = [pid]
    for parent in pids:
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            pids += map(int, task.read_text().split())
    return pids


def cpu_s(pid: int) -> float:
    """Returns the CPU seconds of a process and of its descendants."""
    total = 0.0
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def memory_mb(pid: int) -> dict[str, float]:
    """Returns the proportional memory of a server: of all its processes, shared pages counted once."""
    sizes = []
    for member in family(pid):
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{member}/smaps_rollup").read_text()
            sizes.append(int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0]) / 1024)
    return {"all": round(sum(sizes)), "largest": round(max(sizes)), "processes": len(sizes)}


if __name__ == "__main__":
    _ends.run(main)
