"""A server in this process, over three recordings. Every answer that it gives is held against its description."""

import contextlib
import functools
import http.client
import io
import json
import pathlib
import re
import threading
import time
from typing import Any, NamedTuple

import jsonschema
import numpy as np
import pytest
import soundfile
import uvicorn

from nafp.audio import decode
from nafp.database import database
from nafp.serving import description, server, service, settings
from nafp.verbs import page
from tests.serving import browser

ROOT = pathlib.Path(__file__).parents[2]
MUSIC = sorted((ROOT / "tests" / "recordings" / "music").glob("*.opus"))[:4]  # The last one is in no database.
TOKEN = "a token of sixteen and more".replace(" ", "-")
RATE_HZ = 8000


_PARTS, _FORMS = re.compile(r"\{(\w+)\}"), {"number": r"\d+", "digest": "[0-9a-f]+", "name": ".+"}


class Answer(NamedTuple):
    """What came back. value: the JSON, or the bytes of another type."""

    status: int
    headers: dict[str, str]
    value: Any


class RunningServer:
    """A server that runs in a thread."""

    def __init__(self, folder: pathlib.Path, **changes: Any):
        values = {"runtime": "numpy", "port": 0, "token": TOKEN, "jobs": 1} | changes
        self.settings = settings.ServeSettings(str(folder), **values)
        self.opened: list[service.Service] = []
        self._bound = server._bound(self.settings)
        self.port = self._bound.getsockname()[1]
        self.uvicorn = uvicorn.Server(server.configuration(self.settings, self._open))
        self._thread = threading.Thread(target=self.uvicorn.run, kwargs={"sockets": [self._bound]}, daemon=True)

    def _open(self, request: settings.ServeSettings) -> service.Service:
        self.opened.append(service.Service(request))
        return self.opened[-1]

    def __enter__(self) -> "RunningServer":
        self._thread.start()
        while not self.uvicorn.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.uvicorn.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Sends a request and checks the answer against the description."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            data = response.read()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data)
        if answer.headers.get("content-type") == "application/json":
            answer = answer._replace(value=json.loads(data))
        check(method, path, answer)
        return answer


def check(method: str, path: str, answer: Answer) -> None:
    """Holds an answer against the description: its status, its type, and every field."""
    document = described_api()
    path = path.partition("?")[0]
    templates = [t for t in document["paths"] if re.fullmatch(_PARTS.sub(lambda part: _FORMS[part[1]], t), path)]
    if not templates or method.lower() not in document["paths"][templates[0]]:
        assert answer.status in (400, 404, 405, 421)
        return
    responses = document["paths"][templates[0]][method.lower()]["responses"]
    assert str(answer.status) in responses, f"{method} {path}: {answer.status} is not described: {answer.value}"
    described = responses[str(answer.status)]
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
    if answer.status in (204, 304):
        assert answer.value == b""
        return
    media = answer.headers["content-type"].partition(";")[0]
    assert media in described["content"], f"{method} {path}: {answer.status} {media}"
    if media == "application/json":
        validator(json.dumps(described["content"][media]["schema"])).validate(answer.value)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A browser for all tests of the page: to start one takes seconds."""
    with browser.opened(tmp_path_factory.mktemp("microphone")) as opened:
        yield opened


@functools.cache
def described_api() -> dict[str, Any]:
    return description.openapi()


@functools.cache
def validator(schema: str) -> jsonschema.protocols.Validator:
    """Returns what validates against a schema of the description. To check the schema itself takes longer than that."""
    whole = json.loads(schema) | {"components": described_api()["components"]}
    chosen = jsonschema.validators.validator_for(whole)
    chosen.check_schema(whole)
    return chosen(whole)


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """Makes a database of three recordings, with titles."""
    folder = tmp_path_factory.mktemp("served") / "db"
    opened = database.Database.create(folder, network="small")
    network = opened.network(runtime="numpy")
    with opened, opened.writer() as writing:
        for number, path in enumerate(MUSIC[:3]):
            samples = decode.load(path, sample_rate_hz=RATE_HZ)
            known = {"title": f"Title {number}", "artist": "Somebody", "album": "<b>An album</b>"}
            vectors = network.track(samples)
            writing.append(str(path), len(samples) / RATE_HZ, vectors, digest=path.name, metadata=known)
    return folder


@pytest.fixture(scope="session")
def written(filled, tmp_path_factory):
    """Writes a page that needs no server."""
    folder = tmp_path_factory.mktemp("site") / "page"
    assert page.run(str(filled), out=folder) == 0
    return folder


@pytest.fixture(scope="session")
def running(filled):
    """A server with the limits that users have, except that clips are shorter and there is little room to wait."""
    with RunningServer(filled, waiting=8, clip_s=12.0) as opened:
        yield opened


@pytest.fixture(scope="session")
def strict(filled):
    """A server that is quickly out of patience."""
    limits = {"header_s": 0.5, "sending_s": 1.0, "decoding_s": 1.0, "megabytes": 1.0, "header_bytes": 4096}
    with RunningServer(filled, waiting=1, connections=20, listeners=1, silent_s=0.7, token=None, **limits) as opened:
        yield opened


@functools.cache
def clip(number: int = 0, *, start_s: float = 5.0, seconds: float = 5.0, rate_hz: int = 16_000) -> bytes:
    """Returns a part of a recording as a WAV file."""
    samples = decode.load(MUSIC[number], sample_rate_hz=rate_hz, start_s=start_s, seconds=seconds)
    return wav(samples, rate_hz)


def wav(samples: np.ndarray, rate_hz: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def form(fields: dict[str, Any], boundary: str = "line") -> bytes:
    """Writes a multipart form. A value (name, bytes) is a file."""
    parts = []
    for field, value in fields.items():
        name, data = value if isinstance(value, tuple) else ("", str(value).encode())
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"'
        head += f'; filename="{name}"' if isinstance(value, tuple) else ""
        parts.append(head.encode() + b"\r\n\r\n" + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def children(pid: int) -> list[int]:
    """Lists the processes that a process has started."""
    return [
        int(word)
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
        for word in (task / "children").read_text().split()
    ]


def said_by(pid: int) -> str:
    """Returns the command line of a process."""
    return pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


FORM = {"Content_Type": "multipart/form-data; boundary=line"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
