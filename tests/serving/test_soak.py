"""Good and hostile traffic, mixed: every good clip is answered rightly, and nothing is left behind."""

import os
import pathlib
import random
import socket
import threading
import time

import pytest

from tests.serving.conftest import FORM, MUSIC, RunningServer, clip, form

CLIENTS = 3


def resident_bytes(pid: int) -> int:
    """Returns the memory of a process that is in RAM."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def hostile(running: RunningServer, rng: random.Random) -> None:
    """Does one thing that a server should not suffer from. Its own answers are checked in test_limits."""
    data = clip(rng.randrange(3))
    kind = rng.randrange(7)
    if kind == 0:
        assert running.ask("POST", "/v1/identify", rng.randbytes(rng.randrange(1, 20_000))).status == 422
    elif kind == 1:  # Damaged in the middle.
        at = rng.randrange(44, len(data))
        sent = data[:at] + rng.randbytes(100) + data[at + 100 :]
        assert running.ask("POST", "/v1/identify", sent).status in (200, 422)
    elif kind == 2:
        assert (
            running.ask("POST", "/v1/identify", form({"sample": ("x", data)})[: rng.randrange(50)], **FORM).status
            == 400
        )
    elif kind == 3:
        assert running.ask("GET", f"/v1/tracks?limit={rng.randrange(-5, 1)}").status == 400
    elif kind == 4:
        assert running.ask("POST", "/v1/identify?data_type=fingerprint&network=0", rng.randbytes(512)).status == 409
    else:
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            head = f"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            connection.sendall((head + data)[: rng.randrange(len(data))] if kind == 5 else rng.randbytes(3000))


def traffic(running: RunningServer, seconds: float) -> int:
    """Lets a few clients ask and attack for a while. Returns how many clips were answered."""
    answered, failures, end_s = [], [], time.monotonic() + seconds

    def ask(seed: int) -> None:
        rng = random.Random(seed)
        try:
            while time.monotonic() < end_s:
                number = rng.randrange(3)
                data = clip.__wrapped__(number, start_s=rng.uniform(0, 8))  # Not from the cache, which would grow.
                reply = running.ask("POST", "/v1/identify", data)
                if reply.status == 503:  # There is no room to wait.
                    continue
                assert reply.value["answers"][0]["track"] == str(MUSIC[number])
                answered.append(number)
                hostile(running, rng)
        except BaseException as error:
            failures.append(error)

    clients = [threading.Thread(target=ask, args=(seed,)) for seed in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    if failures:
        raise failures[0]
    return len(answered)


def left_behind(running: RunningServer) -> dict[str, int]:
    """Counts what must not grow."""
    service = running.opened[0]
    folder = pathlib.Path(service.decoders._folder)
    return {
        "inside": service.desk.n_inside,
        "files": len(list(folder.iterdir())),
        "decoders": len(service.decoders._workers._all),
        "threads": threading.active_count(),
    }


def settled(running: RunningServer) -> dict[str, int]:
    """Waits until the server has closed the connections of those who left."""
    end_s = time.monotonic() + 60
    while running.uvicorn.server_state.connections and time.monotonic() < end_s:
        time.sleep(0.05)
    return left_behind(running)


def test_mixed_traffic_leaves_nothing_behind(running):
    traffic(running, 0.5)
    before = settled(running)
    assert traffic(running, 2.0) >= 3
    assert {name: count for name, count in settled(running).items() if count > before[name]} == {}


@pytest.mark.slow
def test_a_minute_of_mixed_traffic_costs_no_memory(running):
    """The fast test is test_mixed_traffic_leaves_nothing_behind."""
    traffic(running, 15.0)
    before, decoder = settled(running), next(iter(running.opened[0].decoders._workers._all)).process.pid
    memory = [resident_bytes(os.getpid()), resident_bytes(decoder)]
    n_open = len(os.listdir("/proc/self/fd"))
    n_answered = traffic(running, 60.0)
    after = settled(running)
    assert {name: count for name, count in after.items() if count > before[name]} == {}
    assert len(os.listdir("/proc/self/fd")) <= n_open + 2
    grown = [now - then for now, then in zip((resident_bytes(os.getpid()), resident_bytes(decoder)), memory)]
    print(f"{n_answered} clips; memory grew by {[round(n / 1e6, 1) for n in grown]} MB")
    assert max(grown) < 30e6
