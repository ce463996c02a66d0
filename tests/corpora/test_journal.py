import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from nafp.corpora import corpus, manifest
from tests import tunes
from tests.corpora.conftest import content, scanned


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Two recordings and a response, as short as may be: a build of them has every kind of step."""
    folder = tmp_path_factory.mktemp("few")
    for i in range(2):
        tunes.write(folder / f"music/train/{i}.wav", tunes.tune(0.6, sample_rate_hz=8000, seed=i), 8000)
    tunes.write(folder / "room/train/hall.wav", 0.1 * tunes.tune(0.1, sample_rate_hz=8000), 8000)
    return folder


DIES_AT_EACH_STEP = """
import os, shutil, sys
from nafp.corpora import corpus, manifest
folder, out, every = *sys.argv[1:3], int(sys.argv[3])
tracks = manifest.scan(folder)[0]

def build():
    corpus.build(tracks[:2], out, jobs=0)
    corpus.build(tracks, out, jobs=0)

def dies_at(step):
    # Before and after every call that changes what is on the disk.
    counted = iter(range(1, 10**6))
    def wrap(function):
        def wrapped(*given, **named):
            if next(counted) == step: os._exit(9)
            result = function(*given, **named)
            if next(counted) == step: os._exit(9)
            return result
        return wrapped
    for module, name in ((os, "fsync"), (os, "replace"), (os, "remove"), (shutil, "copyfileobj")):
        setattr(module, name, wrap(getattr(module, name)))

os.fsync = lambda file: None  # The end of a process loses nothing that was written.
build()
names = ("samples.i16", "tracks.csv", "loudness.npy", "corpus.json")
read = lambda: [open(os.path.join(out, name), "rb").read() for name in names]
expected, step, deaths = read(), 1 - every, 0
while True:
    shutil.rmtree(out)
    step += every
    child = os.fork()
    if not child:
        dies_at(step)
        build()
        os._exit(0)
    died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not died:
        break
    deaths += 1
    if os.path.exists(os.path.join(out, "corpus.json")):
        found = corpus.Corpus.open(out)  # What is finished stays readable at any moment.
        assert all(len(found.audio(t)) == t.n_samples for t in found.tracks)
    build()
    assert read() == expected, step
    assert not [name for _, _, names in os.walk(out) for name in names if name.endswith(".part")], step
print(deaths)
"""


def run(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_build_that_dies_at_any_step_ends_in_the_same_bytes(few, tmp_path, every):
    done = run(DIES_AT_EACH_STEP, few, tmp_path / "C", every)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50 // every


# What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
BUILD = """
import signal, sys
from nafp.corpora import corpus, manifest
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    corpus.build(manifest.read(sys.argv[1]), sys.argv[2], jobs=2, progress=True)
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A manifest of 30 tracks, a second of work."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(3):
        tunes.write(folder / f"{i}.flac", tunes.stereo(10.0, seed=i))
    for i in range(3, 30):
        shutil.copy(folder / f"{i % 3}.flac", folder / f"{i}.flac")
    manifest.write(folder / "tracks.csv", scanned(folder))
    (folder / "build.py").write_text(BUILD)
    return folder


def start(folder, out):
    command = [sys.executable, folder / "build.py", folder / "tracks.csv", out]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, start_new_session=True, text=True)


@pytest.mark.parametrize("most_kills", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_build_killed_at_random_moments_ends_in_the_same_bytes(many, tmp_path, most_kills):
    corpus.build(manifest.read(many / "tracks.csv"), tmp_path / "whole", jobs=0)
    rng, kills = np.random.default_rng(), 0
    for attempt in range(12):
        process = start(many, tmp_path / "C")
        # From after the first part is there: a moment that a fast machine reaches too.
        while process.poll() is None and not any((tmp_path / "C").glob("parts/*")):
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.3) / 2**attempt)
        if process.poll() is None:
            # The builder alone, or its workers too.
            (os.kill, os.killpg)[kills % 2](process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
        if kills == most_kills:
            break
        if process.returncode == 0:
            shutil.rmtree(tmp_path / "C")  # It was done before the signal: from the start again.
    assert kills
    corpus.build(manifest.read(many / "tracks.csv"), tmp_path / "C", jobs=0)
    assert content(tmp_path / "C") == content(tmp_path / "whole")


def test_ctrl_c_keeps_what_is_decoded_and_says_so(many, tmp_path):
    for n_tracks in (30, 600):  # A short build may end before the signal reaches it.
        music, folder = tmp_path / f"music{n_tracks}", tmp_path / f"C{n_tracks}"
        music.mkdir()
        for i in range(n_tracks):
            os.link(many / f"{i % 3}.flac", music / f"{i}.flac")
        manifest.write(music / "tracks.csv", scanned(music))
        (music / "build.py").write_text(BUILD)
        process = start(music, folder)
        while not any((folder / "parts").glob("*")):
            if process.poll() is not None:
                break
            time.sleep(0.001)
        else:
            os.killpg(process.pid, 2)  # As a terminal does: to the whole group.
        _, said = process.communicate(timeout=120)
        if process.returncode:
            break
    assert process.returncode
    assert "stopped; what is decoded stays in" in said
    corpus.build(manifest.read(music / "tracks.csv"), folder, jobs=0)
    assert len(corpus.Corpus.open(folder).tracks) == n_tracks
