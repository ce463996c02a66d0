"""One client never takes all places: what it asks beyond its share is refused, and others are answered."""

import contextlib
import socket
import time

import pytest
import websockets
import websockets.sync.client

from nafp import errors
from nafp.serving import clients, refusals, settings
from tests.serving.conftest import MUSIC, RunningServer, clip

HERE, PROXY = ("192.0.2.1", 5000), ("127.0.0.1", 5000)


def test_addresses_are_told_apart_and_proxies_are_nobody():
    known = clients.Clients(("127.0.0.0/8", "::1", "10.1.0.0/16"))
    assert known.of(HERE) == known.of(("192.0.2.1", 6000)) == known.of(("::ffff:192.0.2.1", 1)) == "192.0.2.1"
    assert known.of(("192.0.2.2", 5000)) == "192.0.2.2"
    assert known.of(PROXY) == known.of(("::1", 0)) == known.of(("10.1.2.3", 1)) == known.of(None) == ""
    # A machine chooses the last 64 bits of its IPv6 address as it likes.
    assert known.of(("2001:db8::1", 1)) == known.of(("2001:db8::2:3", 1)) == "2001:db8::/64"
    assert known.of(("2001:db8:0:1::1", 1)) != known.of(("2001:db8::1", 1))
    assert known.of(("fe80::1%eth0", 1)) == "fe80::/64"
    with pytest.raises(errors.Invalid, match=r"--proxies: 'the proxy' .* such as 10\.0\.0\.0/8"):
        clients.Clients(("the proxy",))


def test_a_client_has_its_share_and_what_is_kept_does_not_grow():
    shares = clients.Shares(each=2)
    with contextlib.ExitStack() as stack:
        for client in ("a", "b", "a", "", "", ""):
            stack.enter_context(shares.taken(client))
        with pytest.raises(refusals.Refusal, match="2 requests of this client") as refused, shares.taken("a"):
            pass
        assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    with shares.taken("a"):
        assert sum(shares._taken.values()) == 1
    assert not shares._taken
    assert [clients.share_of(places, 0.5) for places in (1, 2, 3, 66)] == [1, 1, 2, 33]
    assert clients.share_of(66, 1.0) == 66


def test_the_bytes_that_are_held_at_once_are_bounded_and_each_client_has_its_share():
    room = clients.Room(most_bytes=100, each_bytes=60)
    with room.held("a") as grow, room.held("a") as grow_another, room.held("") as grow_of_proxy:
        grow(40)
        with pytest.raises(refusals.Refusal, match="of this client") as refused:
            grow_another(21)
        assert refused.value.status == 429
        grow_of_proxy(60)
        with pytest.raises(refusals.Refusal, match="too many bytes") as refused:
            grow_of_proxy(1)
        assert refused.value.status == 503
        assert room.n_bytes == 100
    assert (room.n_bytes, room._held) == (0, {})
    chosen = settings.ServeSettings("db", waiting_megabytes=1.0)
    assert chosen.room_bytes == chosen.client_bytes == chosen.body_bytes  # The largest clip always fits.


def test_bodies_beyond_the_room_for_them_are_told_to_come_back(running):
    room = running.opened[0].room
    with contextlib.ExitStack() as stack:
        stack.enter_context(begun(running, "192.0.2.1"))  # With four bytes of its body.
        while not room.n_bytes:
            time.sleep(0.01)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(room, "_most_bytes", len(clip()))
            answer = running.ask("POST", "/v1/identify", clip())
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    while room.n_bytes:
        time.sleep(0.01)


def test_settings_of_shares_are_checked():
    for changes, said in (({"client_share": 0.0}, "--client_share=0: more than 0"), ({"proxies": ("x",)}, "--proxies")):
        with pytest.raises(errors.Invalid, match=said):
            settings.check(settings.ServeSettings("db", **changes))


def begun(running, address: str) -> socket.socket:
    """Begins a request of a client behind a proxy, and does not end it."""
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=10)
    head = f"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\nContent-Length: 9\r\n\r\n"
    connection.sendall(head.encode() + b"half")
    return connection


def test_a_client_behind_a_proxy_leaves_room_for_others(running):
    desk, each = running.opened[0].desk, running.settings.client_jobs
    with contextlib.ExitStack() as stack:
        for _ in range(each):
            stack.enter_context(begun(running, "192.0.2.1"))
        end_s = time.monotonic() + 10
        while desk.n_inside < each and time.monotonic() < end_s:
            time.sleep(0.01)
        answer = running.ask("POST", "/v1/identify", clip(), X_Forwarded_For="192.0.2.1")
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert f"{each} requests of this client" in answer.value["error"]
        # One that claims to be another has the last address, which the proxy wrote.
        answer = running.ask("POST", "/v1/identify", clip(), X_Forwarded_For="192.0.2.9, 192.0.2.1")
        assert answer.status == 429
        for headers in ({"X_Forwarded_For": "192.0.2.2"}, {}):
            answer = running.ask("POST", "/v1/identify", clip(), **headers)
            assert answer.value["answers"][0]["track"] == str(MUSIC[0])
    end_s = time.monotonic() + 10
    while desk.n_inside and time.monotonic() < end_s:
        time.sleep(0.01)
    assert not desk._shares._taken


def test_a_client_has_its_share_of_streams(running):
    address = f"ws://127.0.0.1:{running.port}/v1/listen?raw_hz=8000"

    def opened(client: str) -> websockets.sync.client.ClientConnection:
        return websockets.sync.client.connect(address, additional_headers={"X-Forwarded-For": client})

    service = running.opened[0]
    with contextlib.ExitStack() as stack:
        for number in range(running.settings.client_listeners):
            stack.enter_context(opened("192.0.2.1"))
            while service.n_listeners <= number:
                time.sleep(0.01)
        refused = stack.enter_context(opened("192.0.2.1"))
        assert "of this client" in refused.recv(timeout=10)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            refused.recv(timeout=10)
        assert closed.value.rcvd.code == 1013
        other = stack.enter_context(opened("192.0.2.2"))
        other.send(b"")
        assert '"end"' in other.recv(timeout=20)
    end_s = time.monotonic() + 20
    while service.n_listeners and time.monotonic() < end_s:
        time.sleep(0.02)
    assert not service.streams._taken


def test_a_client_has_its_share_of_connections(filled):
    with RunningServer(filled, connections=6, proxies=("::1",)) as running, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port)))
        while len(running.uvicorn.server_state.connections) < 3:
            time.sleep(0.01)
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as fourth:
            head = fourth.recv(65536)
            assert head.startswith(b"HTTP/1.1 429 ")
            assert fourth.recv(65536) == b""  # It holds no place.
