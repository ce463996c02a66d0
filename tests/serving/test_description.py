"""The description, the headers and the counts say what the server does. `conftest.check` holds every answer to it."""

import json
import re

import jsonschema

from nafp.serving import app, description, guard, page_routes, questions, server, service, settings
from tests.serving.conftest import MUSIC, RunningServer, clip


def application(running: RunningServer):
    return app.create(running.settings, service.Service)._app


def test_every_address_is_described_and_no_other(running):
    served = {
        (re.sub(r":\w+", "", route.path), method)
        for route in application(running).routes
        for method in (getattr(route, "methods", None) or ())
        if method != "HEAD"
    }
    document = description.openapi()
    described = {
        (path, method.upper())
        for path, methods in document["paths"].items()
        for method in methods
        if method != "parameters"
    }
    assert served == described
    assert running.ask("GET", "/v1/openapi.json").value == json.loads(json.dumps(document))


def test_every_parameter_is_described_and_no_other():
    paths = description.openapi()["paths"]
    named = {parameter["name"] for parameter in paths["/v1/identify"]["post"]["parameters"]}
    assert named == set(questions._READERS)
    named = {parameter["name"] for parameter in paths["/v1/tracks"]["post"]["parameters"]}
    assert named == {"name", *app._METADATA}


def test_the_description_is_complete():
    document = description.openapi()
    text = json.dumps(document)
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        node = document
        for key in reference.split("/"):
            node = node[key]
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    ids = re.findall(r'"operationId": "(\w+)"', text)
    assert len(ids) == len(set(ids)) == 12
    assert all(hasattr(app, name) or hasattr(page_routes, name) for name in ids)


def test_every_response_binds_the_browser(running):
    answers = [
        running.ask("GET", "/v1/health"),
        running.ask("GET", "/nowhere"),
        running.ask("GET", "/metrics"),
        running.ask("POST", "/v1/identify", b"x"),
        running.ask("GET", "/v1/health", Host="evil.example"),
    ]
    for answer in answers:
        for name, value in guard.HEADERS.items():
            assert answer.headers[name.decode()] == value.decode()
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


def test_only_known_hosts_are_answered(running):
    for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost.evil:8765"):
        answer = running.ask("GET", "/v1/health", Host=host)
        assert (answer.status, "Host" in answer.value["error"]) == (421, True)
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8765"):
        assert running.ask("GET", "/v1/health", Host=host).status == 200
    assert settings.ServeSettings("db", host="0.0.0.0").known_hosts == ("*",)
    # A name of the loopback leads to no other machine, and checks of the server's health come by it.
    named = settings.ServeSettings("db", host="0.0.0.0", hosts=("a.example",)).known_hosts
    assert named == ("a.example", "127.0.0.1", "::1", "localhost")
    assert settings.ServeSettings("db").host == "127.0.0.1"


def test_what_is_counted_can_be_read(running):
    def counted() -> dict[str, float]:
        lines = running.ask("GET", "/metrics").value.decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    before = counted()
    running.ask("POST", "/v1/identify", clip())
    running.ask("POST", "/v1/identify", clip(3))
    running.ask("POST", "/v1/identify", b"words" * 100)
    running.ask("BREW", "/v1/tracks/17")
    after = counted()
    for outcome in ("found", "unknown", "unreadable"):
        name = f'nafp_clips_total{{outcome="{outcome}"}}'
        assert after[name] == before.get(name, 0) + 1
    name = 'nafp_requests_total{endpoint="identify",method="POST",status="200"}'
    assert after[name] == before.get(name, 0) + 2
    assert not any("17" in name or "BREW" in name for name in after)  # Clients invent no series.
    assert after["nafp_tracks"] == len(MUSIC) - 1
    assert after["process_resident_memory_bytes"] > 1e6


def test_the_network_is_warm_before_the_server_listens(filled, monkeypatch):
    warmed = []
    original = service.served.ServedDatabase.warm_up

    def warm_up(self):
        with server._bound(settings.ServeSettings("db", port=0)):
            warmed.append(True)
        original(self)

    monkeypatch.setattr(service.served.ServedDatabase, "warm_up", warm_up)
    opened = RunningServer(filled)
    assert not opened.uvicorn.started
    with opened:
        assert warmed == [True]
