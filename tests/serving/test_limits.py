"""No request keeps the server from the next one: each of these gets a clear status, and then a clip is answered."""

import contextlib
import io
import json
import os
import pathlib
import signal
import socket
import struct
import time

import numpy as np
import pytest
import soundfile

from nafp import errors
from nafp.jobs import worker_processes
from nafp.serving import bodies, decoding, desk, refusals
from tests.serving.conftest import FORM, MUSIC, RunningServer, clip, form


@pytest.fixture(autouse=True)
def goes_on(request):
    """After each test, the servers that it used still answer."""
    yield
    for name in ("strict", "running"):
        if name in request.fixturenames:
            answer = request.getfixturevalue(name).ask("POST", "/v1/identify", clip())
            assert answer.value["answers"][0]["track"] == str(MUSIC[0])


def spoken(running: RunningServer, data: bytes, *, wait_s: float = 10.0, then: bytes = b"") -> tuple[int, bytes]:
    """Writes bytes to the server, and returns the status and the body of the response, 0 if there is none."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=wait_s) as connection:
        with contextlib.suppress(OSError):  # The server may have had enough.
            connection.sendall(data)
            connection.sendall(then)
        came = b""
        with contextlib.suppress(OSError):
            while part := connection.recv(65536):
                came += part
    head, _, body = came.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


def silent_hours() -> bytes:
    """Writes three hours of silence, which FLAC makes tiny."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(3 * 3600 * 1000, np.int16), 1000, format="FLAC")
    return file.getvalue()


def head(length: object, path: str = "/v1/identify", more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n".encode().replace(
        b"Host: x", b"Host: localhost"
    )


def test_a_body_that_is_too_large_is_refused_by_its_length_and_by_its_bytes(strict):
    answer = strict.ask("POST", "/v1/identify", b"x" * (1 << 20) + b"y")
    assert (answer.status, answer.value) == (413, {"error": "the body has more than 1 MB"})
    # In chunks, no length is stated.
    answer = strict.ask("POST", "/v1/identify", iter([b"x" * 100_000] * 12))
    assert answer.status == 413
    status, _ = spoken(strict, head(10**12))  # Before a single byte came.
    assert status == 413


def test_a_body_that_comes_too_slowly_is_refused(strict):
    started = time.monotonic()
    status, body = spoken(strict, head(1000), then=b"half")
    assert (status, json.loads(body)["error"]) == (408, "the body did not arrive within 1 s")
    assert time.monotonic() - started < 10  # Then the connection is cut.


def test_a_head_that_comes_too_slowly_is_refused(strict):
    for start in (b"", b"POST /v1/identify HTTP/1.1\r\nHost: loc"):
        status, body = spoken(strict, start)
        assert (status, json.loads(body)["error"]) == (408, "the head of the request did not arrive within 0.5 s")


def test_a_client_that_leaves_in_the_middle_costs_nothing(strict):
    for data in (head(100_000) + b"x" * 50_000, head(len(clip())) + clip()):
        with socket.create_connection(("127.0.0.1", strict.port)) as connection:
            connection.sendall(data)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # A reset.
    end_s = time.monotonic() + 10
    while strict.opened[0].desk.n_inside and time.monotonic() < end_s:
        time.sleep(0.02)
    assert strict.opened[0].desk.n_inside == 0


@pytest.mark.parametrize(
    "data, status, said",
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000, 431, "at most 4096 bytes"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000, 431, "at most 4096 bytes"),
        # Small enough to arrive at once, and whole.
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 5000 + b"\r\n\r\n", 431, "at most 4096 bytes"),
        (b"GET /?" + b"x" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431, "at most 4096 bytes"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n", 400, "no HTTP"),
        (b"GET / HTTP/9.9 x\r\n\r\n", 400, "no HTTP"),
        (head("-5"), 400, "no HTTP"),
        (head("5\r\nContent-Length: 6"), 400, "no HTTP"),
        (head(5, more="Transfer-Encoding: chunked\r\n") + b"zz\r\n\r\n", 400, "no HTTP"),
    ],
    ids=["long", "many", "at once", "address", "tls", "version", "negative", "two lengths", "bad chunk"],
)
def test_what_is_no_http_is_refused(strict, data, status, said):
    got, body = spoken(strict, data)
    assert got == status
    assert said in json.loads(body)["error"]


@pytest.mark.parametrize(
    "body, said",
    [
        (form({"sample": ("a", b"x")})[:-10], "ends before its last boundary"),
        (b"no form at all", "the form is damaged"),
        (b"", "ends before its last boundary"),
        (form({"top": 1}), "neither a field 'sample' nor a field 'file'"),
        (form({"sample": ("a", b"")}), "an empty clip"),
        (form({f"f{i}": 1 for i in range(65)}), "more than 64 parts"),
        (form({"top": "1" * 9000}), "more than 8192 bytes"),
        (
            b'--line\r\nContent-Disposition: form-data; name="' + b"x" * 3000 + b'"\r\n\r\n\r\n',
            "of more than 2048 bytes",
        ),
        (b"--line\r\nX: y\r\n\r\nz\r\n--line--\r\n", "has no name"),
        (form({"sample": ("a", b"x"), "top": "many"}), "a number from 1 to 50"),
    ],
)
def test_a_bad_form_is_refused(running, body, said):
    answer = running.ask("POST", "/v1/identify", body, **FORM)
    assert (answer.status, said in answer.value["error"]) == (400, True), answer.value


def test_other_bad_bodies_are_refused(running):
    assert running.ask("POST", "/v1/identify", b"x", Content_Type="multipart/form-data").status == 400
    answer = running.ask("POST", "/v1/identify", b"x", Content_Encoding="gzip")
    assert (answer.status, "compressed" in answer.value["error"]) == (415, True)
    for method, path, status in (
        ("GET", "/index.php", 404),
        ("GET", "/v1/../../etc/passwd", 404),
        ("GET", "/v1/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404),
        ("GET", "/v1/identify", 405),
        ("BREW", "/v1/identify", 405),
        ("GET", "/v1/tracks/-1", 404),
        ("GET", "/v1/tracks/" + "9" * 30, 404),
        ("GET", "/v1/tracks/" + "9" * 5000, 404),
    ):
        assert running.ask(method, path).status == status


def test_a_decoder_that_takes_too_long_is_killed_and_the_clip_refused(strict):
    decoders = strict.opened[0].decoders
    before, (worker,) = decoders.n_killed, decoders._workers._all
    os.kill(worker.process.pid, signal.SIGSTOP)  # As if its file kept it busy for ever.
    answer = strict.ask("POST", "/v1/identify", clip())
    assert answer.status == 422
    assert "its decoder gave no answer within 1 s and was ended" in answer.value["error"]
    assert decoders.n_killed == before + 1
    assert worker.process.exitcode == -signal.SIGKILL
    end_s = time.monotonic() + 30  # Another takes its place.
    while strict.ask("POST", "/v1/identify", clip()).status != 200:
        assert time.monotonic() < end_s
        time.sleep(0.1)
    assert list(pathlib.Path(decoders._folder).iterdir()) == []


def test_a_search_engine_that_fails_is_a_503_that_names_no_address(running, monkeypatch):
    def failing(*_, **__):
        raise errors.EngineFailed("Milvus at http://secret.example:19530: searching: deadline exceeded")

    moment = running.opened[0].database._moment
    with monkeypatch.context() as patch:
        patch.setattr(type(moment.index), "search", failing)
        answer = running.ask("POST", "/v1/identify", clip())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "the search engine of this database does not answer" in answer.value["error"]
    assert "secret" not in json.dumps(answer.value)


def test_a_server_begins_while_its_search_engine_is_gone(running, monkeypatch, caplog):
    def failing(*_, **__):
        raise errors.EngineFailed("Milvus at http://milvus.example:19530: connecting: refused")

    served = running.opened[0].database
    monkeypatch.setattr(type(served._moment.index), "search", failing)
    served.warm_up()
    assert "http://milvus.example:19530: connecting: refused" in caplog.text


def test_a_file_that_crashes_its_decoder_is_refused_and_one_without_a_decoder_may_come_back(running, monkeypatch):
    service = running.opened[0]

    def none_free(*_, **__):
        raise worker_processes.NoneFree("no process was free")

    monkeypatch.setattr(service.decoders._workers, "ask", none_free)
    assert running.ask("POST", "/v1/identify", clip()).status == 503
    monkeypatch.setattr(service.decoders._workers, "ask", lambda *_, **__: worker_processes.Crash("crashed"))
    answer = running.ask("POST", "/v1/identify", clip())
    assert (answer.status, answer.value["error"]) == (422, "crashed")
    monkeypatch.undo()


@pytest.mark.parametrize("name", ["bomb", "channels", "lies", "noise"])
def test_hostile_files_are_answered_within_the_limits(running, name):
    rng = np.random.default_rng(0)
    data = {
        "bomb": silent_hours(),
        "channels": clip()[:22] + struct.pack("<H", 60_000) + clip()[24:],
        "lies": clip()[:40] + struct.pack("<I", 0xFFFFFFFE) + clip()[44:],
        "noise": b"RIFF" + rng.bytes(200_000),
    }[name]
    answer = running.ask("POST", "/v1/identify", data)
    assert answer.status in (200, 422)


def test_requests_beyond_the_waiting_ones_are_told_to_come_back(running, monkeypatch):
    work = running.opened[0].desk
    monkeypatch.setattr(work, "n_inside", work._most)
    answer = running.ask("POST", "/v1/identify", clip())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    monkeypatch.undo()
    monkeypatch.setattr(work, "_within_s", 0.0001)
    answer = running.ask("POST", "/v1/identify?format=acrcloud", clip())
    assert (answer.status, answer.value["status"]["code"]) == (503, 3003)
    monkeypatch.undo()


def test_connections_beyond_the_limit_are_told_so(strict):
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", strict.port)))
        answer = strict.ask("GET", "/v1/health")
    assert answer.status == 503
    end_s = time.monotonic() + 10
    while strict.uvicorn.server_state.connections and time.monotonic() < end_s:
        time.sleep(0.02)


def test_a_decoder_has_little_memory_and_no_path_in_its_complaints(tmp_path):
    task = decoding.DecodeTask(b"words " * 100, str(tmp_path / "secret.mp3"), 8000, 60.0)
    with pytest.raises(errors.Undecodable) as raised:
        decoding.decoded(task)
    assert "secret" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
    assert decoding._suffix(b"ID3\x04") == decoding._suffix(b"\xff\xfb\x90\x00") == ".mp3"
    assert decoding._suffix(b"RIFF") == decoding._suffix(b"\xff") == decoding._suffix(b"") == ""


def test_a_defect_is_written_to_the_log_and_not_to_the_client(running, monkeypatch, caplog):
    def fail(*_, **__):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(running.opened[0].database, "rank", fail)
    answer = running.ask("POST", "/v1/identify", clip())
    assert (answer.status, "secret" in str(answer.value)) == (500, False)
    end_s = time.monotonic() + 10  # The client has its answer before the log has the reason.
    while "a secret" not in caplog.text:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    monkeypatch.undo()


def test_work_that_nobody_waits_for_is_not_begun():
    import asyncio

    async def drive():
        table, done = desk.Desk(jobs=1, waiting=1, within_s=0.3, each=2), []

        async def never():
            await asyncio.Event().wait()

        async def at_once():
            return None

        slow = asyncio.create_task(table.do(lambda: time.sleep(0.6), gone=never))
        await asyncio.sleep(0)
        with pytest.raises(refusals.ClientGone):
            await table.do(lambda: done.append("gone"), gone=at_once)
        with pytest.raises(refusals.Refusal, match="no answer within"):
            await table.do(lambda: done.append("late"), gone=never)
        with pytest.raises(refusals.Refusal):
            await slow
        await asyncio.sleep(0.4)
        assert await table.do(lambda: "next", gone=never) == "next"
        assert done == []
        table.close()

    asyncio.run(drive())


def test_a_form_gives_its_parts_whatever_their_bytes_are():
    data = bytes(range(256)) * 40
    parsed = bodies.form(form({"a": "b", "file": ('q"uote', data)}), {"content-type": FORM["Content_Type"]})
    assert parsed.texts == {"a": "b"}
    assert parsed.files["file"].data == data
