"""A real Milvus server that is killed loses nothing, and nobody is told a wrong answer. Skipped where there is none.

`tests.milvus_server` says what it needs. The fast tests of the same laws are those of test_engine_kills.py and
test_engine_refusals.py.
"""

import pathlib
import shutil
import subprocess
import time

import pytest

pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'nafp[milvus]'")

from tests import databases, milvus_server
from tests import engines as on_milvus

pytestmark = pytest.mark.slow
RECORDINGS = sorted((pathlib.Path(__file__).parents[1] / "recordings" / "music").iterdir())[:4]
_WRITING = """
import sys
from nafp.database import milvus, writer
from tests import databases
milvus._PATIENCE_S = 1.0
with writer.DatabaseWriter(sys.argv[1], seal_rows=100) as changes:
    for number in range(12, 72):
        changes.append(f"/music/{number}.wav", 20.5, databases.unit(40, seed=number))
        print("added", number, flush=True)
"""
_ASKING = """
import sys
from nafp.database import database
from tests import databases
with database.Database.open(sys.argv[1]) as opened:
    near = [opened.index.search(databases.unit(40, seed=n)[10:14], 5)[1][:, 0] for n in range(int(sys.argv[2]))]
    names = [{opened.rows.tracks[track] for track in opened.rows.track_of(rows)} for rows in near]
print([n for n, found in enumerate(names) if found != {f"/music/{n}.wav"}])
"""
_HELD = """
import sys
from tests import engines
print(engines.client_of(sys.argv[1]).count(engines.engine_of(sys.argv[1]).collection))
"""
_POSTING = """
import http.client, pathlib, sys
connection = http.client.HTTPConnection("127.0.0.1", 8377, timeout=120)
connection.request("POST", "/v1/identify", pathlib.Path(sys.argv[1]).read_bytes(), {"Content-Type": "audio/wav"})
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if reason := milvus_server.missing():
        pytest.skip(reason)
    started = milvus_server.Server(tmp_path_factory.mktemp("milvus"))
    yield started
    started.end()


def cut(recording, clip):
    words = ["ffmpeg", "-v", "error", "-ss", "10", "-t", "5", "-i", str(recording), str(clip)]
    subprocess.run(words, check=True)
    return clip


def test_a_server_killed_in_the_middle_of_an_add_loses_nothing(server, tmp_path):
    db = tmp_path / "db"
    databases.filled(db, 12).close()
    assert server.nafp("engine", db, "milvus", f"--uri={server.uri}")[0] == 0
    writing = server.begin("-c", _WRITING, db)
    while "added 30" not in writing.stdout.readline():
        assert writing.poll() is None
    server.kill()
    out, told = writing.communicate(timeout=300)
    assert writing.returncode == 0
    assert out.split()[-1] == "71"
    (line,) = [line for line in told.splitlines() if "Milvus" in line]
    assert "fingerprints are searched without it until a later change sends them. What was added is safe" in line
    code, out, told = server.nafp("engine", db)
    assert (code, out, len(told.splitlines())) == (2, "", 1)
    assert told.startswith(f"nafp engine: Milvus at {server.uri}: connecting: ")
    assert server.nafp("verify", db)[0] == 2
    server.start()
    assert server.run("-c", _ASKING, db, 72)[:2] == (0, "[]\n")
    assert server.nafp("verify", db)[0] == 0
    for first, n_tracks in ((72, 73), (73, 76)):  # What is sent after a restart is there once, and stays there.
        add = f"from tests import engines; engines.add({str(db)!r}, {first}, {n_tracks - first})"
        assert server.run("-c", add)[0] == 0
        sent = on_milvus.engine_of(db)
        assert 72 * 40 <= sent.rows == sent.held  # The last tracks may wait for more, and are found without it.
        assert server.run("-c", _HELD, db)[:2] == (0, f"{sent.held}\n")
        assert server.nafp("verify", db)[0] == 0
        server.kill()
        server.start()
        assert server.run("-c", _ASKING, db, n_tracks)[:2] == (0, "[]\n")
        assert server.run("-c", _HELD, db)[:2] == (0, f"{sent.held}\n")
        assert server.nafp("verify", db)[0] == 0
    assert sent.rows == 75 * 40


def test_a_server_killed_in_the_middle_of_an_identify_gives_no_wrong_answer(server, tmp_path):
    db = tmp_path / "db"
    assert server.nafp("add", db, *RECORDINGS[:3], "--runtime=numpy")[0] == 0
    assert server.nafp("engine", db, "milvus", f"--uri={server.uri}")[0] == 0
    clips = [tmp_path / f"{number}.wav" for number in range(40)]
    cut(RECORDINGS[1], clips[0])
    for clip in clips[1:]:
        shutil.copy(clips[0], clip)
    asking = server.begin("-m", "nafp", "identify", db, *clips, "--runtime=numpy")
    answers = [asking.stdout.readline()]
    server.kill()
    out, told = asking.communicate(timeout=300)
    answers += out.splitlines()
    assert asking.returncode == 2
    assert len(answers) < len(clips)
    assert all(RECORDINGS[1].stem in answer for answer in answers), answers
    reasons = [line for line in told.splitlines() if "Milvus" in line]
    assert len(reasons) == len(clips) - len(answers)
    assert all(f".wav: Milvus at {server.uri}: " in line for line in reasons)
    for _ in range(2):
        server.start()
        assert server.nafp("identify", db, clips[0], "--runtime=numpy")[0] == 0
        server.kill()
    shutil.rmtree(server.data)  # And now it comes back with nothing.
    server.start()
    code, out, _ = server.nafp("verify", db)
    assert code == 2
    assert "is not there any more; nafp engine DB rebuild makes it anew" in out
    assert server.nafp("identify", db, clips[0], "--runtime=numpy")[0] == 2
    assert server.nafp("engine", db, "rebuild")[0] == 0
    assert server.nafp("verify", db)[0] == server.nafp("identify", db, clips[0], "--runtime=numpy")[0] == 0


def test_what_serves_and_what_monitors_says_so_while_the_server_is_gone_and_goes_on_after_that(server, tmp_path):
    db, clip, other = tmp_path / "db", cut(RECORDINGS[1], tmp_path / "clip.wav"), tmp_path / "other.wav"
    assert server.nafp("add", db, *RECORDINGS[:3], "--runtime=numpy")[0] == 0
    assert server.nafp("engine", db, "milvus", f"--uri={server.uri}", "--timeout_s=5")[0] == 0
    serving = server.begin("-m", "nafp", "serve", db, "--port=8377", "--runtime=numpy")
    try:
        assert RECORDINGS[1].stem in posted(server, clip, "200")
        assert server.nafp("add", db, RECORDINGS[3], "--runtime=numpy")[0] == 0
        assert RECORDINGS[3].stem in posted(server, cut(RECORDINGS[3], other), "200")
        server.kill()
        assert "the search engine of this database does not answer" in posted(server, clip, "503")
        code, out, told = server.nafp("monitor", db, RECORDINGS[1], "--runtime=numpy")
        assert (code, out) == (2, "")
        assert sum("Milvus" in line for line in told.splitlines()) == 1
        server.start()
        assert RECORDINGS[1].stem in posted(server, clip, "200")
        code, out, _ = server.nafp("monitor", db, RECORDINGS[1], "--runtime=numpy")
        assert code == 0
        assert RECORDINGS[1].stem in out
    finally:
        serving.terminate()
        serving.communicate(timeout=60)
    assert serving.returncode == 0


def posted(server, clip, status):
    """Sends a clip until the answer has this status, and returns that."""
    end_s = time.monotonic() + 180
    while True:
        _, out, told = server.run("-c", _POSTING, clip)
        if out.startswith(status):
            return out
        assert time.monotonic() < end_s, (out, told[-1000:])
