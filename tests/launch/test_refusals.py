"""Whatever is no defect of ours is one line and exit code 2, on any terminal and any disk."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests import commands, databases, stores

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
        ("queries render --source=. --config=configs/small.py", "--config"),
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


@pytest.mark.parametrize(
    "line, words",
    [
        ("identify --store=STORE --name= clip.wav", "--name= is empty"),
        ("identify DB --microphone=1e9", "not a number in the range"),
        ("monitor DB - --raw_hz=3", "--raw_hz=3: samples per second, 1000 to 384000"),
        ("index STORE --name= --out=x", "--name= is empty"),
        ("extract --checkpoint=small --source=SOURCE --out=x --name=", "--name=: the name of a store is a plain word"),
        ("extract --checkpoint=small --source=SOURCE --out=x --name=a/b", "--name=a/b: the name of a store"),
        ("extract --checkpoint=small --source=SOURCE --out=x --speeds=1,9", "speed 9: must be 0.5 to 2"),
        (
            "extract --checkpoint=small --source=SOURCE --out=x --per_track --name=y",
            "--name names a store; --per_track",
        ),
        ("queries render --source=SOURCE --out=x --jobs=-1", "--jobs=-1"),
        ("queries render --source=SOURCE --out=x --seed=-1", "--seed=-1"),
        ("queries render --source=SOURCE --out=x --variants=3", "queries render takes no --variants"),
        ("queries render --source=SOURCE --out=x --aligned --count=3", "queries render --aligned takes no --count"),
        ("queries pairs --source=SOURCE --out=x --snr_db=3", "queries pairs takes no --snr_db"),
        ("queries pairs --source=SOURCE --out=x --segments=3", "queries pairs --form=waveforms takes no --segments"),
        ("queries pairs --source=SOURCE --out=x --form=song_mine --seconds=3", "--form=song_mine takes no --seconds"),
        ("queries listen --source=SOURCE --out=x.html --overwrite", "queries listen takes no --overwrite"),
        ("corpus scan SOURCE --out=x.csv --jobs=-1", "--jobs=-1"),
        ("corpus scan SOURCE --out=x.csv --verify", "--verify is for a public dataset: name --dataset"),
        ("corpus convert a.npy --manifest=m.csv --out=x.csv --kind=music", "--kind is for lists of tracks"),
        ("corpus filter --manifest=m.csv --out=x.csv --kind=song", "kinds 'song': allowed are music"),
        ("evaluate --store=STORE --out=x --k=-1", "--k=-1"),
        ("evaluate --store=STORE --out=x --seed=-1", "--seed=-1"),
        ("evaluate --store=STORE --out=x --twin_cosine=7", "--twin_cosine=7"),
        ("evaluate --protocol=speed --references=SOURCE --checkpoint=nowhere --out=x", "neither a shipped network"),
        ("evaluate --protocol=speed --references=SOURCE --checkpoint=no.npz --out=x", "no such exported network"),
        (
            "evaluate --protocol=speed --references=SOURCE --checkpoint=small --confidence=no --out=x",
            "no: no such file",
        ),
        ("evaluate --protocol=speed --references=SOURCE --checkpoint=small --matcher=no --out=x", "--matcher='no'"),
        ("amg clips --source=SOURCE --out=x --jobs=-1", "--jobs=-1"),
        ("evaluate --store=STORE --out=x --confidence=nowhere", "--confidence=nowhere: no such file"),
    ],
)
def test_a_flag_that_cannot_be_right_or_has_no_effect_ends_the_command_with_2(tmp_path, db, line, words):
    stores.write(tmp_path / "store", "db", {"a": databases.unit(9)})
    stores.write(tmp_path / "store", "query", {"a": databases.unit(9)})
    places = {"DB": db, "STORE": tmp_path / "store", "SOURCE": ROOT / "tests/recordings/music/tuxi.opus"}
    for name, place in places.items():
        line = line.replace(name, str(place))
    refused = commands.nafp(*line.replace("=x", f"={tmp_path}/x").split())
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert words in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
