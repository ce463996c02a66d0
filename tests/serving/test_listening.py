"""A stream over a WebSocket gets the stretches of `nafp monitor`, while it is still being sent."""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import numpy as np
import pytest
import websockets
from websockets.sync import client

from nafp.audio import decode, ffmpeg
from nafp.monitor import lines, stretches
from nafp.serving import questions, refusals
from tests.serving.conftest import MUSIC, RATE_HZ, RunningServer, children, clip, said_by


def connected(running: RunningServer, query: str = "", **options):
    uri = f"ws://127.0.0.1:{running.port}/v1/listen{query}"
    return client.connect(uri, proxy=None, open_timeout=30, close_timeout=10, **options)


def heard(connection) -> list[dict]:
    """Reads events until the server closes."""
    events = []
    while not events or events[-1]["event"] not in ("end", "error"):
        events.append(json.loads(connection.recv(timeout=60)))
    return events


@pytest.fixture(scope="module")
def show() -> np.ndarray:
    """Two tracks with a silence between them."""
    parts = [
        decode.load(MUSIC[number], sample_rate_hz=RATE_HZ, start_s=start_s, seconds=14)
        for number, start_s in ((0, 5), (2, 2))
    ]
    return np.concatenate([parts[0], np.zeros(8 * RATE_HZ, np.float32), parts[1]])


def test_bare_samples_get_the_stretches_of_the_monitor(running, show):
    data = decode.to_int16(show).tobytes()
    with connected(running, f"?raw_hz={RATE_HZ}&encoding=s16le&max_speed=0&name=show") as connection:
        for at in range(0, len(data), 33_333):  # Odd pieces, which cut samples apart.
            connection.send(data[at : at + 33_333])
        connection.send(b"")
        events = heard(connection)
    told = [event for event in events if event["event"] == "stretch"]
    database = running.opened[0].database
    alone = stretches.watch(database.monitor(most_speed=0), [show])
    wanted = [lines.as_record(stretch, "show") for stretch in alone]
    assert [event["track"] for event in told] == [str(MUSIC[0]), None, str(MUSIC[2])]
    for event, record in zip(told, wanted):
        assert event["recording"] == "show"
        assert (event["start_s"], event["end_s"]) == pytest.approx((record["start_s"], record["end_s"]), abs=0.3)
    assert {event["track"] for event in events if event["event"] == "playing"} == {str(MUSIC[0]), str(MUSIC[2])}
    assert events[-1] == {"event": "end", "seconds": pytest.approx(36, abs=1)}


def test_float_samples_at_another_rate_are_heard_without_those_that_are_none(running, show):
    samples = decode.resample(show[: 10 * RATE_HZ], from_hz=RATE_HZ, to_hz=11_025)
    samples[::5000] = np.nan
    with connected(running, "?raw_hz=11025&max_speed=0") as connection:
        connection.send(samples.astype("<f4").tobytes())
        connection.send("end")
        told = [event for event in heard(connection) if event["event"] == "stretch"]
    assert [event["track"] for event in told] == [str(MUSIC[0])]


@pytest.mark.skipif(not ffmpeg.installed(), reason="no ffmpeg")
def test_a_container_is_heard_while_it_is_being_sent(running):
    command = ["ffmpeg", "-v", "error", "-f", "wav", "-i", "-", "-c:a", "libopus", "-f", "webm", "-"]
    data = subprocess.run(command, input=clip(seconds=24, start_s=2), capture_output=True, check=True).stdout
    with connected(running, "?max_speed=0&unknown=false") as connection:
        for at in range(0, len(data), 5000):
            connection.send(data[at : at + 5000])
        playing = json.loads(connection.recv(timeout=60))  # The stream has not ended.
        (decoder,) = [pid for pid in children(os.getpid()) if said_by(pid).startswith("ffmpeg")]
        assert re.search(rf"Max address space +{2 << 30} ", pathlib.Path(f"/proc/{decoder}/limits").read_text())
        assert (playing["event"], playing["track"]) == ("playing", str(MUSIC[0]))
        connection.send("end")
        assert [event["event"] for event in heard(connection)] == ["stretch", "end"]


def test_a_stream_that_is_no_sound_is_refused_with_the_reason(running):
    with connected(running) as connection:
        connection.send(b"#EXTM3U\nfile:///etc/passwd\n" * 1000)
        connection.send(b"")
        event = heard(connection)[-1]
        assert event["event"] == "error"
        assert "passwd" not in event["error"]
        with pytest.raises(websockets.ConnectionClosed) as closed:
            connection.recv(timeout=10)
        assert closed.value.rcvd.code == 1003


def test_a_page_of_another_site_cannot_listen(running):
    # "null" says a page in a frame that was given no rights, which any site can make.
    for origin, status in (("https://evil.example", 403), ("null", 403), (f"http://127.0.0.1:{running.port}", 101)):
        try:
            with connected(running, "?raw_hz=8000", additional_headers={"Origin": origin}):
                got = 101
        except websockets.InvalidStatus as error:
            got = error.response.status_code
        assert got == status


def test_streams_beyond_the_limit_are_told_so_and_a_silent_one_makes_room(strict):
    service = strict.opened[0]
    with connected(strict, "?raw_hz=8000") as first:
        with connected(strict, "?raw_hz=8000") as second:
            event = heard(second)[-1]
            assert (event["event"], "already" in event["error"]) == ("error", True)
        assert heard(first) == [{"event": "end", "seconds": 0.0}]  # It sent nothing for too long.
    end_s = time.monotonic() + 10
    while service.n_listeners and time.monotonic() < end_s:
        time.sleep(0.02)
    assert service.n_listeners == 0


def test_a_client_that_vanishes_leaves_nothing_behind(running):
    with contextlib.suppress(websockets.ConnectionClosed), connected(running) as connection:
        connection.send(b"\x1a\x45\xdf\xa3" * 100)
        connection.socket.shutdown(socket.SHUT_RDWR)
    end_s = time.monotonic() + 20
    while running.opened[0].n_listeners and time.monotonic() < end_s:
        time.sleep(0.05)
    assert running.opened[0].n_listeners == 0


@pytest.mark.parametrize("query", [{"raw_hz": "1"}, {"encoding": "mp3"}, {"max_speed": "nan"}, {"x": "y"}])
def test_how_to_listen_is_checked(query):
    with pytest.raises(refusals.Refusal):
        questions.listen(query)
