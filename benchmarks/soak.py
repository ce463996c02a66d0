"""Lets good and hostile clients ask `nafp serve` for a long time, and watches what it keeps.

python -m benchmarks.soak --database=DB [--minutes=60] [--per_s=4] [--runtime=numpy] [--out=FILE.json]

The database holds the recordings of tests/recordings/music. The server is a process of its own. Clients ask at a steady
rate, half of them as they should: clips, fingerprints, streams, pages of tracks, recordings that are added and removed.
The other half is hostile: noise, damaged files, half-sent bodies, bad forms, huge heads, streams that break off. Each
answer is held against what it should be. Once a minute memory, threads, open files and processes are counted. The file
is written anew each time, so a run that is cut off keeps its minutes.
"""

import contextlib
import http.client
import json
import logging
import os
import pathlib
import random
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags

from benchmarks import _ends, _result, serving
from evaluation.scores import results
from nafp.audio import decode
from nafp.database import database

_MINUTES = flags.DEFINE_float("minutes", 60.0, "How long. Default: 60.")
_PER_S = flags.DEFINE_float("per_s", 4.0, "Requests per second. Default: 4.")

CLIENTS, TOKEN, ADDED = 4, secrets.token_hex(16), 3  # ADDED: seconds of a recording that is added.
_CLIPS = 40
Act = Callable[[random.Random], None]


class Traffic:
    """What clients do, with clips that the database knows for sure: two of its recordings hold the same music.

    A method of `good` or `hostile` does one thing. It raises AssertionError for a wrong answer.
    """

    def __init__(self, port: int, folder: str):
        self.port = port
        self.clips: list[tuple[str, np.ndarray, bytes, bytes]] = []
        with database.Database.open(folder, runtime="numpy") as opened:
            network = opened.network(runtime="numpy")
            self.digest = network.identity["sha256"]
            rng = random.Random(0)
            while len(self.clips) < _CLIPS:
                path = rng.choice(serving.MUSIC)
                samples = decode.load(path, sample_rate_hz=serving.RATE_HZ, start_s=rng.uniform(0, 8), seconds=5)
                if any(path.stem in one.track for one in opened.identify(samples, serving.RATE_HZ, top=1)):
                    slow = decode.resample(samples, from_hz=serving.RATE_HZ, to_hz=network.sample_rate_hz)
                    self.clips.append((path.stem, samples, serving.wav(samples), network.track(slow).tobytes()))
        self.good: list[Act] = [self.clip, self.clip, self.fingerprints, self.stream]
        self.good += [self.tracks, self.page, self.change]
        self.hostile: list[Act] = [self.noise, self.damaged, self.bad_form, self.bad_number, self.wrong_network]
        self.hostile += [self.half_sent, self.huge_head, self.no_http, self.broken_stream, self.wrong_token]

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return response.status, response.read()

    def _found(self, reply: tuple[int, bytes], name: str) -> None:
        status, data = reply
        assert status == 200, (status, data)
        assert name in json.loads(data)["answers"][0]["track"], (name, data)

    def _ends(self, reply: tuple[int, bytes], *statuses: int) -> None:
        assert reply[0] in statuses, reply

    def clip(self, rng: random.Random) -> None:
        name, _, wav, _ = rng.choice(self.clips)
        self._found(self.ask("POST", "/v1/identify", wav), name)

    def fingerprints(self, rng: random.Random) -> None:
        name, _, _, rows = rng.choice(self.clips)
        path = f"/v1/identify?data_type=fingerprint&network={self.digest}"
        self._found(self.ask("POST", path, rows), name)

    def stream(self, rng: random.Random) -> None:
        from websockets.sync import client

        name, samples, _, _ = rng.choice(self.clips)
        address = f"ws://127.0.0.1:{self.port}/v1/listen?raw_hz={serving.RATE_HZ}&max_speed=0"
        with client.connect(address, proxy=None) as connection:
            for part in np.array_split(samples.astype("<f4"), 5):
                connection.send(part.tobytes())
            connection.send(b"")
            events = [json.loads(text) for text in connection]
        assert events[-1]["event"] == "end", events
        assert any(name in (event.get("track") or "") for event in events), (name, events)

    def tracks(self, rng: random.Random) -> None:
        status, data = self.ask("GET", f"/v1/tracks?limit={rng.randrange(1, 50)}")
        assert status == 200, (status, data)
        assert json.loads(data)["tracks"]

    def page(self, rng: random.Random) -> None:
        status, _ = self.ask("GET", rng.choice(("/", "/v1/health", "/metrics", "/v1/openapi.json")))
        assert status == 200, status

    def change(self, rng: random.Random) -> None:
        """Adds a recording of noise and removes it. One client at a time may add."""
        noise = np.random.default_rng(rng.randrange(2**32)).normal(0, 0.1, ADDED * serving.RATE_HZ)
        bearer = f"Bearer {TOKEN}"
        name = f"/v1/tracks?name=soak-{secrets.token_hex(8)}"
        status, data = self.ask("POST", name, serving.wav(noise.astype(np.float32)), Authorization=bearer)
        if status != 503:
            assert status == 201, (status, data)
            status, data = self.ask("DELETE", f"/v1/tracks/{json.loads(data)['id']}", Authorization=bearer)
            assert status == 204, (status, data)

    def noise(self, rng: random.Random) -> None:
        self._ends(self.ask("POST", "/v1/identify", rng.randbytes(rng.randrange(1, 50_000))), 422)

    def damaged(self, rng: random.Random) -> None:
        _, _, wav, _ = rng.choice(self.clips)
        at = rng.randrange(len(wav))
        self._ends(self.ask("POST", "/v1/identify", wav[:at] + rng.randbytes(100) + wav[at + 100 :]), 200, 422)

    def bad_form(self, rng: random.Random) -> None:
        body = b'--line\r\nContent-Disposition: form-data; name="sample"; filename="x"\r\n\r\n' + rng.randbytes(500)
        sent, kind = body[: rng.randrange(len(body))], "multipart/form-data; boundary=line"
        self._ends(self.ask("POST", "/v1/identify", sent, Content_Type=kind), 400)

    def bad_number(self, rng: random.Random) -> None:
        self._ends(self.ask("GET", f"/v1/tracks?limit={rng.randrange(-9, 1)}"), 400)
        self._ends(self.ask("GET", f"/v1/tracks/{rng.randrange(10**6, 10**9)}"), 404)

    def wrong_network(self, rng: random.Random) -> None:
        self._ends(self.ask("POST", "/v1/identify?data_type=fingerprint&network=0", rng.randbytes(512)), 409)

    def wrong_token(self, rng: random.Random) -> None:
        self._ends(self.ask("DELETE", "/v1/tracks/1", Authorization=f"Bearer {rng.randrange(10**9)}"), 401)

    def half_sent(self, rng: random.Random) -> None:
        """Sends a part of a clip, stays for up to two seconds, and leaves."""
        _, _, wav, _ = rng.choice(self.clips)
        head = f"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(wav)}\r\n\r\n".encode()
        self._send((head + wav)[: rng.randrange(len(wav))], rng.uniform(0, 2))

    def huge_head(self, rng: random.Random) -> None:
        name = b"X-%d: " % rng.randrange(100)
        self._send(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + name + b"x" * rng.randrange(20_000, 200_000), 0.1)

    def no_http(self, rng: random.Random) -> None:
        self._send(rng.randbytes(rng.randrange(1, 5000)), rng.uniform(0, 1))

    def _send(self, data: bytes, stays_s: float) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(data)
            time.sleep(stays_s)

    def broken_stream(self, rng: random.Random) -> None:
        from websockets.exceptions import WebSocketException
        from websockets.sync import client

        address = f"ws://127.0.0.1:{self.port}/v1/listen{rng.choice(('', '?raw_hz=8000', '?raw_hz=x'))}"
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError, WebSocketException))
            connection = stack.enter_context(client.connect(address, proxy=None, close_timeout=1))
            connection.send(rng.randbytes(rng.randrange(1, 30_000)))
            connection.socket.shutdown(socket.SHUT_RDWR)


def kept(pid: int) -> dict[str, Any]:
    """Counts what a server keeps: memory of itself and of its decoders, threads, open files, processes."""
    members = serving.family(pid)
    counts = {"server_mb": _resident_mb(pid), "others_mb": round(sum(map(_resident_mb, members[1:])), 1)}
    counts["processes"] = len(members)
    counts["threads"] = len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))
    counts["open"] = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
    return counts


def _resident_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    return 0.0


def attend(traffic: Traffic, ends_s: float, seed: int, done: Counter, wrong: list[str]) -> None:
    """Does one thing after the other at the asked rate, good and hostile in turn by chance."""
    rng = random.Random(seed)
    while time.monotonic() < ends_s:
        began_s = time.monotonic()
        act = rng.choice(rng.choice((traffic.good, traffic.hostile)))
        try:
            act(rng)
            done[act.__name__] += 1
        except Exception as error:
            wrong.append(f"{act.__name__}: {error!r:.300}")
            print("wrong:", wrong[-1], flush=True)
        time.sleep(max(0.0, rng.uniform(0, 2) * CLIENTS / _PER_S.value - (time.monotonic() - began_s)))


def main() -> None:
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # It complains of connections that this one cuts.
    os.environ["NAFP_TOKEN"] = TOKEN
    numbers: dict[str, Any] = {"machine": results.machine(), "minutes": [], "per_s": _PER_S.value}
    done: Counter = Counter()
    wrong: list[str] = []
    with serving.serving() as (process, port):
        traffic = Traffic(port, serving._DATABASE.value)
        ends_s = time.monotonic() + 60 * _MINUTES.value
        clients = [
            threading.Thread(target=attend, args=(traffic, ends_s, seed, done, wrong)) for seed in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        while (left_s := ends_s - time.monotonic()) > 0:
            time.sleep(min(60.0, left_s))
            minute = kept(process.pid) | {"requests": done.total(), "wrong": len(wrong), "load": os.getloadavg()[0]}
            numbers["minutes"].append(minute)
            print(json.dumps(minute), flush=True)
            _result.write(numbers | {"done": dict(done), "wrong": wrong}, serving._OUT.value)
        for client in clients:
            client.join()
        time.sleep(5)
        numbers["afterwards"] = kept(process.pid)
        numbers["cpu_s"] = round(serving.cpu_s(process.pid))
    _result.write(numbers | {"done": dict(done), "wrong": wrong}, serving._OUT.value)
    print(json.dumps(numbers["afterwards"]), dict(done), f"{len(wrong)} wrong answers")


if __name__ == "__main__":
    _ends.run(main, serving)
