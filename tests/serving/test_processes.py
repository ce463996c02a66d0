"""The command itself: it listens, says where, finishes what it has at SIGTERM, and refuses what cannot be."""

import contextlib
import http.client
import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from nafp import errors
from nafp.database import catalogue, engine_facts, engine_trust, network_file
from nafp.serving import server, settings
from nafp.verbs import serve
from tests import commands
from tests.serving.conftest import MUSIC, ROOT, children, clip, said_by

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "NAFP_TOKEN"}


@contextlib.contextmanager
def command(folder: pathlib.Path, *flags: str):
    """Starts the command and yields its process and its port, once it listens."""
    words = [sys.executable, "-m", "nafp", "serve", str(folder), "--port=0", "--runtime=numpy", *flags]
    process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if found := re.match(r"serving .* \(3 tracks\) at http://127\.0\.0\.1:(\d+), read-only$", line):
                yield process, int(found[1])
                return
        raise AssertionError(f"ended with {process.wait()}")
    finally:
        process.kill()
        process.communicate()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, object]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_sigterm_finishes_what_the_server_has(filled):
    with command(filled) as (process, port):
        data = clip()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as begun:
            head = f"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
            begun.sendall(head.encode() + data[:1000])
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(OSError):  # It takes nobody new.
                ask(port, "GET", "/v1/health")
            begun.sendall(data[1000:])
            answer = begun.recv(65536)
        assert b" 200 OK" in answer.partition(b"\r\n")[0]
        assert process.wait(30) == 0


@pytest.mark.slow
def test_several_processes_share_the_work_and_the_counts_and_one_that_dies_is_replaced(filled):
    """The fast test, of one process, is test_sigterm_finishes_what_the_server_has."""
    with command(filled, "--workers=2") as (process, port):
        kept: list[tuple] = []
        data = clip()
        threads = [
            threading.Thread(target=lambda: kept.append(ask(port, "POST", "/v1/identify", data))) for _ in "1234"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(status, reply["answers"][0]["track"]) for status, reply in kept] == [(200, str(MUSIC[0]))] * 4
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        assert 'nafp_clips_total{outcome="found"} 4.0' in text
        workers = [child for child in children(process.pid) if "resource_tracker" not in said_by(child)]
        assert len(workers) == 2
        for worker in workers:  # One file, mapped by both, is in memory once.
            assert str(filled / "fingerprints-0000.log") in pathlib.Path(f"/proc/{worker}/maps").read_text()
        victim = workers[0]
        os.kill(victim, signal.SIGKILL)
        end_s = time.monotonic() + 120  # uvicorn waits 60 s for one that dies while it is asked whether it lives.
        while victim in children(process.pid) or len(children(process.pid)) < 3:
            assert time.monotonic() < end_s
            time.sleep(0.1)
        for _ in range(4):
            assert ask(port, "POST", "/v1/identify", data)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        with pytest.raises(OSError):
            ask(port, "GET", "/v1/health")


@pytest.mark.slow
def test_workers_do_not_outlive_a_parent_that_is_killed(filled):
    """The fast test, of one process, is test_sigterm_finishes_what_the_server_has."""
    with command(filled, "--workers=2") as (process, port):
        process.kill()
        process.wait()
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s:
            try:
                ask(port, "GET", "/v1/health")
            except OSError:
                return
            time.sleep(0.1)
        raise AssertionError("somebody still answers")


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"database": "nowhere"}, "no such folder"),
        ({"host": "192.0.2.1"}, "cannot be bound"),
        ({"host": ""}, "names no address"),
        ({"sending_s": 0.0}, "must be more than 0"),
        ({"request_s": math.inf}, "must be more than 0, and finite"),
        ({"clip_s": 61.0}, "at most 60 s"),
    ],
)
def test_what_cannot_be_served_is_refused(filled, changes, said):
    request = settings.ServeSettings(**{"database": str(filled), "port": 0, "runtime": "numpy"} | changes)
    with pytest.raises(errors.Invalid if "database" not in changes else errors.NotFound, match=said):
        serve.run(request)


def test_a_token_comes_from_a_pipe_and_not_from_a_device_without_end(tmp_path):
    text = "0123456789abcdef"
    (tmp_path / "token").write_text(f"{text}\n")
    with subprocess.Popen(["cat", tmp_path / "token"], stdout=subprocess.PIPE) as shell:  # <(...) of a shell.
        assert settings.token(f"/dev/fd/{shell.stdout.fileno()}") == text
    with pytest.raises(errors.Invalid, match="visible ASCII"):
        settings.token("/dev/zero")
    with pytest.raises(errors.Invalid, match=r"cannot be read: No such file or directory$"):
        settings.token(str(tmp_path / "nowhere"))


@pytest.fixture
def engined(filled, tmp_path):
    """A copy of the database that names an engine in this process."""
    shutil.copytree(filled, tmp_path / "db")
    uri = str(tmp_path / "lite.db")
    with catalogue.Catalogue(tmp_path / "db", write=True) as book, book.change():
        book.tell({engine_facts.FACT: engine_facts.asked(uri).fact()})
    return str(tmp_path / "db"), uri


def test_an_engine_that_no_waiting_makes_usable_is_refused(engined, monkeypatch):
    folder, uri = engined
    request = settings.ServeSettings(folder, port=0, runtime="numpy", workers=2)
    with pytest.raises(errors.EngineFailed, match="to which nobody has agreed"):
        serve.run(request)
    monkeypatch.setenv(engine_trust.VARIABLE, uri)
    pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'nafp[milvus]'")
    with pytest.raises(errors.Invalid, match="milvus-lite, which one process at a time can use"):
        serve.run(request)


def fail_to_open(request):
    raise RuntimeError("a defect")


def test_a_service_that_cannot_be_opened_is_no_success(filled, capfd):
    request = settings.ServeSettings(str(filled), port=0, runtime="numpy")
    with pytest.raises(errors.Invalid, match="could not be opened to be served"):
        server.run(request, fail_to_open)


@pytest.mark.parametrize("runtime", ["numpy", "jax"])
def test_a_network_that_is_damaged_is_refused_before_a_process_is_started(filled, tmp_path, runtime):
    shutil.copytree(filled, tmp_path / "db")
    with (tmp_path / "db" / network_file.NETWORK).open("ab") as file:
        file.write(b"more")
    request = settings.ServeSettings(str(tmp_path / "db"), port=0, runtime=runtime, workers=2)
    with pytest.raises(errors.Invalid, match="is damaged"):
        serve.run(request)


def test_a_wrong_command_is_told_so_in_one_line(filled):
    done = commands.nafp("serve", filled, "--token_file=nowhere", env=ENVIRONMENT)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be read" in done.stderr
