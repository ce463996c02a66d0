"""Whatever is no defect of ours is one line and exit code 2, on any terminal and any disk."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests import commands, databases

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals") / "db"
    with databases.filled(folder, 3) as opened, opened.writer() as writing:
        writing.append(
            "/music/caf\u00e9 \u97f3 \udcff.wav", 1.0, databases.unit(3, seed=9), metadata={"title": "\u97f3"}
        )
    return folder


def nafp(*arguments, **settings):
    command = [sys.executable, "-m", "nafp", *map(str, arguments)]
    settings = {"capture_output": True, "text": True, "errors": "surrogateescape"} | settings
    return subprocess.run(command, cwd=ROOT, **settings)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_reach_a_terminal_that_lacks_their_letters(db, encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    for arguments in (["list", db], ["list", db, "--format=csv"]):
        listed = nafp(*arguments, env=environment)
        assert (listed.returncode, listed.stderr) == (0, "")
        assert "caf" in listed.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_a_full_disk_under_the_output_is_one_line(db):
    with open("/dev/full", "w") as full:
        listed = nafp("list", db, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert (listed.returncode, listed.stderr) == (2, "nafp list: the output: cannot be written: the disk is full\n")


def test_what_can_be_no_database_is_said_so(db, tmp_path):
    (tmp_path / "clip.wav").write_bytes(b"RIFF")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, words in {
        "https://example.org/db": "is an address",
        tmp_path / "clip.wav": "is a file",
        tmp_path / "pipe": "perhaps a pipe",
        tmp_path / "loop": "",
    }.items():
        for arguments in (["info", name], ["add", name, ROOT / "tests"]):
            refused = commands.nafp(*arguments)
            assert refused.returncode == 2
            assert words in refused.stderr
            assert "Traceback" not in refused.stderr
            assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words, said",
    [
        ("corpus scan . --jobs=-3", "--jobs=-3"),
        ("corpus dedup . --score=2", "--score=2"),
        ("corpus dedup . --seconds=inf", "--seconds=inf"),
        ("corpus build --manifest=a.csv --sample_rate_hz=100000000", "--sample_rate_hz=100000000"),
        ("corpus scan . --test_share=2", "--test_share=2"),
        ("queries render --source=. --jobs=-1", "--jobs=-1"),
        ("queries render --source=. --seed=-1", "--seed=-1"),
        ("queries render --source=. --seconds=inf", "--seconds=inf"),
        ("queries render --source=. --variants=2", "--variants has no effect on nafp queries render"),
        ("queries render --source=. --config=configs/small.py", "--config: is for nafp queries listen"),
        ("queries render --source=. --aligned --seconds=3", "--seconds has no effect on nafp queries render --aligned"),
        ("queries pairs --source=. --snr_db=3", "--snr_db has no effect on nafp queries pairs"),
        ("queries pairs --source=. --segments=3", "--segments has no effect on nafp queries pairs --form=waveforms"),
        ("queries pairs --source=. --form=song_mine --variants=3", "--variants has no effect"),
        ("queries listen --source=. --overwrite", "--overwrite has no effect on nafp queries listen"),
        ("queries listen --config=configs/small.py --seed=3", "--seed has no effect beside --config"),
        ("amg clips --source=. --jobs=-1", "--jobs=-1"),
        ("evaluate --store=x --seed=-1", "--seed=-1"),
    ],
)
def test_what_a_flag_cannot_be_and_what_would_be_ignored_is_refused_before_work(tmp_path, words, said):
    refused = commands.nafp(*words.split(), f"--out={tmp_path / 'out'}")
    assert refused.returncode == 2
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_to_write_that_is_a_file_is_one_line(tmp_path):
    music, taken = ROOT / "tests" / "recordings" / "music", tmp_path / "taken"
    taken.write_text("a letter")
    for arguments in (
        ["corpus", "build", f"--manifest={ROOT}/tests/recordings/RECORDINGS.csv"],
        ["queries", "render", f"--source={music}", "--conditions=clean", "--count=1"],
        ["queries", "pairs", f"--source={music}", "--conditions=clipped", "--count=1"],
    ):
        refused = commands.nafp(*arguments, f"--out={taken}")
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert taken.read_text() == "a letter"


def test_a_tag_that_is_no_text_is_refused(db):
    refused = nafp("add", db, "--tag=artist=caf\udce9", ROOT / "tests" / "recordings" / "music" / "tuxi.opus")
    assert (refused.returncode, "is not printable text" in refused.stderr) == (2, True)
