"""An extraction in shares, each done by itself and again if need be: joined, they are the store of one process."""

import shutil
import signal

import pytest

from nafp import errors
from nafp.fingerprints import per_track, shares
from tests import commands, quick_compiler
from tests.fingerprints import test_extract

pytestmark = pytest.mark.usefixtures("quick_compiler")
network, folder = test_extract.network, test_extract.folder
N = 3


@pytest.fixture
def audio(folder, tmp_path):
    """Copies the music, with one file that is no sound in share 1."""
    copied = shutil.copytree(folder / "music", tmp_path / "audio")
    (copied / "3.txt.wav").write_text("words")
    return copied


def extracted(network, audio, out, **settings):
    return test_extract.run(network, audio, out, **settings)


def in_shares(network, audio, out, numbers=range(N)):
    for i in numbers:
        extracted(network, audio, out, share=(i, N))


def test_joined_shares_are_the_store_of_one_process(network, audio, tmp_path):
    extracted(network, audio, tmp_path / "one")
    in_shares(network, audio, tmp_path / "three", (2, 0, 1, 0))  # In any order, and one of them twice.
    report = extracted(network, audio, tmp_path / "three", join=True)
    assert (report.n_tracks, len(report.failures)) == (6, 1)  # Those of share 0 were there the second time.
    assert test_extract.files_of(tmp_path / "three") == test_extract.files_of(tmp_path / "one")
    assert not (tmp_path / "three/db.parts").exists()
    with pytest.raises(errors.AlreadyExists, match="is a finished store"):
        in_shares(network, audio, tmp_path / "three", [1])


def test_what_is_missing_or_not_done_is_named(network, audio, tmp_path):
    with pytest.raises(errors.NotFound, match="holds no shares; run each with --processes=N"):
        extracted(network, audio, tmp_path, join=True)
    in_shares(network, audio, tmp_path, [0, 2])
    with pytest.raises(errors.Invalid, match="of 3 shares, missing: 1; run them again, then --join"):
        extracted(network, audio, tmp_path, join=True)
    in_shares(network, audio, tmp_path, [1])
    shares.Share(2, N).report(tmp_path / "db.parts").unlink()  # As a kill leaves it.
    with pytest.raises(errors.Invalid, match="of 3 shares, not done: 2"):
        extracted(network, audio, tmp_path, join=True)
    extracted(network, audio, tmp_path, share=(1, 4))
    with pytest.raises(errors.Invalid, match="holds shares of 3 and of 4; remove"):
        extracted(network, audio, tmp_path, join=True)


def test_a_share_of_another_network_or_source_is_named_and_stays(network, audio, tmp_path):
    in_shares(network, audio, tmp_path)
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "db.parts").iterdir())
    with pytest.raises(ValueError, match=r"0-of-3.journal was begun with other settings \(.*hop_s"):
        extracted(network, audio, tmp_path, join=True, hop_s=0.25, overwrite=True)
    (audio / "0a.wav").write_bytes((audio / "0.wav").read_bytes())  # Every later track is in another share now.
    with pytest.raises(errors.Invalid, match=r"share 0 of 3 lacks .*the source has changed since; run the share again"):
        extracted(network, audio, tmp_path, join=True)
    (audio / "0a.wav").unlink()
    (audio / "5.ogg").unlink()
    with pytest.raises(errors.Invalid, match=r"share 0 of 3 lacks |0-of-3: was begun with another source"):
        extracted(network, audio, tmp_path, join=True)
    assert before == sorted((path.name, path.read_bytes()) for path in (tmp_path / "db.parts").iterdir())


def test_a_damaged_report_is_named(network, audio, tmp_path):
    in_shares(network, audio, tmp_path)
    shares.Share(1, N).report(tmp_path / "db.parts").write_text("[1,")
    with pytest.raises(errors.Invalid, match=r"1-of-3.json: cannot be read .*run share 1 of 3 again"):
        extracted(network, audio, tmp_path, join=True)


def test_one_file_for_each_track_comes_in_shares_too(network, folder, tmp_path):
    per_track.write(network, str(folder / "music"), tmp_path / "one")
    for i in range(N):
        written = per_track.write(network, str(folder / "music"), tmp_path / "three", share=(i, N))
        assert written.report.n_tracks == len(range(i, 10, N))
    one, three = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("one", "three"))
    assert three == one


@pytest.mark.slow
def test_the_command_does_a_share_and_joins(network, folder, tmp_path):
    """A killed share is done again alone, and goes on after its finished tracks.

    The fast test, without the command, is test_joined_shares_are_the_store_of_one_process.
    """
    line = test_extract.command(folder, folder / "music", tmp_path / "two", "--processes=2")[3:]
    env = test_extract.environment(folder) | quick_compiler.ENVIRONMENT  # The laws are the same.
    running = commands.start(*line, "--process=1", env=env)
    journal = tmp_path / "two/db.parts/1-of-2.journal"
    running.wait_until(lambda: journal.exists() and len(journal.read_bytes().splitlines()) >= 2)
    assert running.kill().returncode == -signal.SIGKILL
    first = commands.nafp(*line, "--process=0", env=env)
    assert first.stdout.splitlines()[-1].startswith(f"share 0 of 2 of {tmp_path}/two/db: 5 tracks, ")
    early = commands.nafp(*line[:-1], "--join", env=env)
    assert (early.returncode, early.stdout) == (2, "")
    assert "of 2 shares, not done: 1; run them again, then --join\n" in early.stderr
    assert "goes on; " in commands.nafp(*line, "--process=1", env=env).stdout
    assert commands.nafp(*line, "--join", env=env).returncode == 2
    assert commands.nafp(*line[:-1], "--join", env=env).returncode == 0
    assert commands.nafp(*test_extract.command(folder, folder / "music", tmp_path / "one")[3:], env=env).returncode == 0
    assert test_extract.files_of(tmp_path / "two") == test_extract.files_of(tmp_path / "one")
