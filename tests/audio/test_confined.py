"""What a stranger calls audio reads no other file, waits for nothing, and leaves no program behind."""

import io
import json
import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest

from nafp import errors
from nafp.audio import containers, decode, ffmpeg, live, playlists
from nafp.jobs import child_programs
from tests import tunes

needs_ffmpeg = pytest.mark.skipif(not ffmpeg.installed(), reason="ffmpeg is not installed")
needs_linux = pytest.mark.skipif(not child_programs._follower(), reason="needs setpriv of Linux")
PLAYLISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:3,\n{secret}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{secret}'\nfile '{secret}'\n",
    "DASH": "<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{secret}</BaseURL></MPD>",
    "XML": "<?xml version='1.0'?>\n<MPD><BaseURL>{secret}</BaseURL></MPD>",
    "PLS": "[playlist]\nFile1={secret}\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.fixture
def secret(tmp_path):
    return tunes.write(tmp_path / "secret.wav", tunes.tune(3.0))


def refused(path):
    with pytest.raises(errors.Undecodable) as caught:
        decode.load(path, sample_rate_hz=8000)
    return caught.value.reason


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ""])
def test_a_playlist_is_no_audio_whatever_it_is_called(tmp_path, secret, kind, suffix):
    for start in ("", "\ufeff", " \n\t"):
        (tmp_path / f"song{suffix}").write_text(start + PLAYLISTS[kind].format(secret=secret))
        assert f"a playlist ({kind}), not audio" in refused(tmp_path / f"song{suffix}")


@needs_ffmpeg
@pytest.mark.parametrize("kind", ["HLS", "ffconcat"])
def test_ffmpeg_itself_refuses_a_playlist(tmp_path, secret, kind, monkeypatch):
    monkeypatch.setattr(playlists, "kind", lambda path: "")
    (tmp_path / "song.m4a").write_text(PLAYLISTS[kind].format(secret=secret.name))
    assert "not audio that can be read" in refused(tmp_path / "song.m4a")
    with open(tmp_path / "song.m4a", "rb") as file, pytest.raises(errors.FfmpegFailed):
        list(ffmpeg.listen(live._arguments("-"), sample_rate_hz=8000, block_s=1, stdin=file))


@pytest.mark.skipif(not containers.installed(), reason="PyAV is not installed")
@pytest.mark.parametrize("kind", ["HLS", "ffconcat"])
def test_pyav_itself_refuses_a_playlist(tmp_path, secret, kind):
    (tmp_path / "song.m4a").write_text(PLAYLISTS[kind].format(secret=secret.name))
    with pytest.raises(errors.FfmpegFailed):
        containers.Reader(os.fspath(tmp_path / "song.m4a"))


@needs_ffmpeg
def test_a_stream_may_not_open_a_file_of_this_machine(tmp_path, secret):
    (tmp_path / "song.m3u8").write_text(PLAYLISTS["HLS"].format(secret=secret))
    for name in (f"file:{tmp_path}/song.m3u8", f"file://{tmp_path}/song.m3u8", f"hls+file://{tmp_path}/song.m3u8"):
        with pytest.raises(errors.Undecodable):
            list(live.blocks(name, sample_rate_hz=8000))


def test_a_pipe_and_a_device_are_refused_before_they_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    os.symlink("/dev/zero", tmp_path / "device.wav")
    for name in ("pipe.wav", "device.wav"):
        assert "not a regular file" in refused(tmp_path / name)
    assert "cannot be opened" in refused("a\0.wav")


def fakes(folder, *, probe, program):
    """Puts an ffprobe and an ffmpeg of one's own into a folder: two lines of shell."""
    for name, line in (("ffprobe", probe), ("ffmpeg", program)):
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(stat.S_IRWXU)


def test_a_program_that_gives_nothing_is_ended_after_the_stated_time(tmp_path, monkeypatch):
    header = {
        "streams": [{"sample_rate": "8000", "channels": 1}],
        "format": {"format_name": "mov,mp4", "duration": "9"},
    }
    fakes(tmp_path, probe=f"echo '{json.dumps(header)}'", program="exec sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(ffmpeg, "PATIENCE_S", 0.2)
    (tmp_path / "song.m4a").write_bytes(bytes(100))
    began_s = time.monotonic()
    assert "ffmpeg gave nothing for 0.2 s and was ended" in refused(tmp_path / "song.m4a")
    fakes(tmp_path, probe="exec sleep 60", program="exit 1")
    assert "ffprobe gave no answer within 0.2 s" in refused(tmp_path / "song.m4a")
    assert time.monotonic() - began_s < 30


@needs_linux
def test_a_program_ends_with_the_process_that_started_it():
    code = """
import os, signal
from nafp.jobs import child_programs
print(child_programs.started(["sleep", "60"]).pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    # It keeps the pipe open that is read here, so that the time limit is the law, too.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=40)
    assert done.returncode == -signal.SIGKILL
    file = pathlib.Path(f"/proc/{int(done.stdout)}/stat")
    for _ in range(100):
        try:
            if file.read_text().split()[2] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.05)
    raise AssertionError("it goes on")


@needs_linux
@pytest.mark.parametrize("is_alive", [True, False])
def test_a_program_whose_parent_ended_before_it_began_does_not_begin(is_alive):
    parent = os.getpid() if is_alive else os.getppid()
    command = child_programs._tied(child_programs._follower(), ["echo", "it runs"], parent=parent)
    assert subprocess.run(command, capture_output=True).stdout == is_alive * b"it runs\n"


def test_a_program_outlives_the_thread_that_asked_for_it():
    programs = []
    asking = threading.Thread(target=lambda: programs.append(child_programs.started(["sleep", "60"])))
    asking.start()
    asking.join()
    time.sleep(0.2)
    assert programs[0].poll() is None
    programs[0].kill()
    programs[0].wait()


def test_a_program_that_is_not_there_is_an_error_where_it_was_asked_for():
    if not child_programs._follower():
        with pytest.raises(FileNotFoundError):
            child_programs.started(["no-such-program"])
    else:
        assert child_programs.answer(["no-such-program"], patience_s=10)[0] == 127


def test_what_a_stream_sends_that_is_no_number_becomes_silence(monkeypatch):
    def listen(*_, **__):
        yield np.repeat(np.float32([[0.1], [np.nan], [1e30], [-np.inf], [0.2]]), 2, axis=1)

    monkeypatch.setattr(ffmpeg, "listen", listen)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"")))
    (block,) = live.blocks("-", sample_rate_hz=8000)
    np.testing.assert_array_equal(block, np.float32([0.1, 0, 0, 0, 0.2]))
