"""`nafp identify` from end to end: whatever is named is answered, and what cannot be read is named and skipped."""

import csv
import io
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from nafp import cli, errors
from nafp.audio import decode
from nafp.database import database, song_list
from nafp.identify import clips, identifier
from nafp.search import confidence
from nafp.verbs import identify
from nafp.weights import files, sources
from tests import networks, stores, tunes

ROOT = pathlib.Path(__file__).parents[2]
MUSIC = sorted((ROOT / "tests" / "recordings" / "music").glob("*.opus"))[:5]
KNOWN, STRANGER = MUSIC[:4], MUSIC[4]


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    """Makes a database of four recordings, in which a margin of 0.15 above the usual one is even odds."""
    folder = tmp_path_factory.mktemp("identify") / "db"
    weights = np.array([[-6.0, 40.0, 0.0]] * 2)
    confidence.Confidence([1, 19], weights, [0.5, 0.4]).save(folder.parent / "network.confidence.json")
    file = shutil.copy(sources.weights_file("small"), folder.parent / "network.safetensors")
    network = sources.load("small", runtime="numpy")
    made = database.Database.create(folder, network=file)
    with made.writer() as writing:
        for path in KNOWN:
            audio = decode.load(path, sample_rate_hz=network.sample_rate_hz, seconds=15)
            writing.append(path.stem, 15.0, network.track(audio))
    made.close()
    return folder


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Clips: a known one, one of it 4 % too fast, an unknown one, one too short, one broken."""
    folder = tmp_path_factory.mktemp("clips")
    audio = decode.load(KNOWN[1], sample_rate_hz=16000, start_s=4.0, seconds=6.0)
    decode.write_wav(folder / "known.wav", audio[:80000], sample_rate_hz=16000)
    fast = decode.resample(audio, from_hz=16640, to_hz=16000)
    decode.write_wav(folder / "fast.wav", fast[:80000], sample_rate_hz=16000)
    decode.write_wav(folder / "short.wav", audio[:7000], sample_rate_hz=16000)
    strange = decode.load(STRANGER, sample_rate_hz=16000, start_s=3.0, seconds=5.0)
    decode.write_wav(folder / "strange.wav", strange, sample_rate_hz=16000)
    (folder / "broken.wav").write_bytes(b"no sound")
    return folder


def asked(capsys, names, where, **settings):
    code = identify.run(
        identify.IdentifyRequest([str(name) for name in names], str(where), **{"runtime": "numpy"} | settings)
    )
    said = capsys.readouterr()
    return code, said.out, said.err


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def test_onnx_runtime_alone_identifies_by_a_file_of_the_network(db, cut, capsys, monkeypatch, tmp_path):
    pytest.importorskip("onnxruntime", reason="no onnxruntime: pip install 'nafp[onnx]'")
    pytest.importorskip("onnx", reason="no onnx: pip install 'nafp[onnx]'")
    variables, config, step, name = sources.read("small")
    files.write(tmp_path / "small.onnx", variables, config, step=step, source=name, format="onnx")
    for module in ("onnx", "jax"):
        monkeypatch.setitem(sys.modules, module, None)
    for runtime in ("onnx", "auto"):
        code, out, _ = asked(
            capsys,
            [cut / "known.wav"],
            db,
            format="json",
            runtime=runtime,
            checkpoint=str(tmp_path / "small.onnx"),
        )
        assert (code, records(out)[0]["answers"][0]["track"]) == (0, KNOWN[1].stem)
    with pytest.raises(errors.Invalid, match=r"--checkpoint=FILE.onnx"):  # The database has another kind of file.
        asked(capsys, [cut / "known.wav"], db, runtime="onnx")
    with pytest.raises(errors.Invalid, match=r"--runtime=jax needs the package jax"):
        asked(capsys, [cut / "known.wav"], db, runtime="jax")


def test_another_network_than_that_of_the_database_is_refused(db, cut, capsys, tmp_path):
    c = networks.few_blocks()
    files.write(tmp_path / "other.npz", networks.trained_variables(c, seed=1), c, step=1, source="other", format="npz")
    with pytest.raises(errors.Invalid, match="is not the network of the database"):
        asked(capsys, [cut / "known.wav"], db, checkpoint=str(tmp_path / "other.npz"))


@pytest.fixture(scope="module")
def fingerprints(db):
    """A store of the same recordings."""
    network = networks.small()
    tracks = {path.stem: network.track(decode.load(path, sample_rate_hz=8000, seconds=15)) for path in KNOWN[:2]}
    stores.write(db.parent / "store", "db", tracks, model=dict(network.identity))
    return db.parent / "store"


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"shifts": 4001}, "--shifts=4001: rows are 4000 samples apart"),
        ({"speeds": "9"}, "speeds '9'"),
        ({"confidence": "nowhere.json"}, "--confidence=nowhere.json: no such file"),
        ({"confidence": ""}, "--confidence=: no such file"),
        ({"raw_hz": 3}, "--raw_hz=3: samples per second, 1000 to 384000"),
        ({"format": "pfann", "out": "x.tsv", "songs": "nowhere.flac"}, "nowhere.flac: no list"),
    ],
)
def test_a_wrong_setting_is_refused_before_the_network_is_opened(db, fingerprints, cut, settings, words):
    def begun():
        raise AssertionError("the network is opened")

    for where in ({"database": str(db)}, {"store": str(fingerprints)}):
        request = identify.IdentifyRequest([str(cut / "known.wav")], **where, **{"runtime": "jax"} | settings)
        with pytest.raises(errors.Error, match=words):
            identify.run(request, prepare=begun)


def test_a_known_clip_is_found_at_its_place(db, cut, capsys):
    code, out, _ = asked(capsys, [cut / "known.wav"], db, format="json")
    (record,) = records(out)
    (answer,) = record["answers"]
    assert (code, record["query"], record["seconds"]) == (0, str(cut / "known.wav"), 5.0)
    assert answer["track"] == KNOWN[1].stem
    assert answer["start_s"] == pytest.approx(4.0, abs=0.3)
    assert answer["probability"] > 0.9
    assert answer["speed"] == pytest.approx(1.0)


def test_a_clip_that_plays_too_fast_is_found_and_its_speed_told(db, cut, capsys):
    code, out, _ = asked(capsys, [cut / "fast.wav"], db, format="json", speeds="0.97,1.04")
    (answer,) = records(out)[0]["answers"]
    assert (code, answer["track"]) == (0, KNOWN[1].stem)
    assert answer["speed"] == pytest.approx(1.04, abs=0.021)
    assert answer["start_s"] == pytest.approx(4.0, abs=0.6)


def test_a_clip_of_something_else_is_not_in_the_collection(db, cut, capsys):
    code, out, _ = asked(capsys, [cut / "strange.wav"], db, format="json")
    assert (code, records(out)[0]["answers"]) == (1, [])
    code, out, _ = asked(capsys, [cut / "strange.wav"], db, format="json", probability=0.0, top=3)
    doubtful = records(out)[0]["answers"]
    assert (code, len({each["track"] for each in doubtful})) == (0, 3)
    assert all(each["probability"] < 0.5 for each in doubtful)


def test_a_folder_is_answered_clip_by_clip_and_what_is_broken_is_named(db, cut, capsys):
    code, out, err = asked(capsys, [cut], db, format="json")
    said = {pathlib.Path(record["query"]).name: record for record in records(out)}
    assert code == 2
    assert set(said) == {"known.wav", "fast.wav", "short.wav", "strange.wav", "broken.wav"}
    assert "at least 0.5 s" in said["short.wav"]["error"]
    assert "broken.wav" in err
    assert "2 could not be read" in err
    assert said["known.wav"]["answers"]


def test_a_list_is_a_table_in_its_order(db, cut, tmp_path, capsys):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{cut / 'strange.wav'}\n{cut / 'known.wav'}\n")
    code, out, _ = asked(capsys, [listed], db, format="csv")
    table = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [pathlib.Path(row["query"]).name for row in table] == ["strange.wav", "known.wav"]
    assert [row["track"] for row in table] == ["", KNOWN[1].stem]


def test_pfanns_files_can_be_read_as_pfann_writes_them(db, cut, tmp_path, capsys):
    names = [cut / "known.wav", cut / "broken.wav", cut / "strange.wav"]
    code, out, _ = asked(capsys, names, db, format="pfann", out=str(tmp_path / "result.tsv"))
    assert (code, out) == (2, "")
    lines = [line.split("\t") for line in (tmp_path / "result.tsv").read_text().splitlines()]
    assert [line[0] for line in lines] == [str(name) for name in names]
    assert [line[1] for line in lines][:2] == [KNOWN[1].stem, "error"]
    detail = list(csv.reader(io.StringIO((tmp_path / "result_detail.csv").read_text())))
    assert detail[0] == ["query", "answer", "score", "time", "part_scores"]
    assert {len(line) for line in detail} == {5}
    assert detail[2] == [str(cut / "broken.wav"), "error", "-inf", "0", ""]
    score, time_s = (float(value) for value in detail[1][2:4])
    parts = [float(part) for part in detail[1][4].split(" ")]
    assert len(parts) == 9
    assert time_s == pytest.approx(4.0, abs=0.3)
    assert np.mean(parts) == pytest.approx(score, abs=1e-3)
    songs = (tmp_path / "result_songs.txt").read_text().splitlines()
    board = np.fromfile(tmp_path / "result.tsv.bin", np.float32).reshape(3, len(songs), 2)
    assert songs[board[0, :, 0].argmax()] == KNOWN[1].stem
    assert board[0, :, 0].max() == pytest.approx(score, abs=1e-5)
    assert not board[1].any()


def test_a_song_that_failed_keeps_its_column(db, cut, tmp_path, capsys):
    listed = ["broken.mp3", f"{KNOWN[1].stem}", "twice.wav", "twice.wav", f"music/{KNOWN[0].stem}"]
    (tmp_path / "songs.txt").write_text("\n".join(listed) + "\n")
    outs = [str(tmp_path / f"{name}.tsv") for name in ("plain", "listed", "noted")]
    asked(capsys, [cut / "known.wav"], db, format="pfann", out=outs[0])
    asked(capsys, [cut / "known.wav"], db, format="pfann", out=outs[1], songs=str(tmp_path / "songs.txt"))
    try:
        song_list.note(db, [str(tmp_path / "broken.mp3"), KNOWN[1].stem])
        song_list.note(db, [KNOWN[1].stem, "later.wav"])
        asked(capsys, [cut / "known.wav"], db, format="pfann", out=outs[2])
    finally:
        (db / song_list.FILE).unlink()
    songs, boards = [], []
    for out in outs:
        songs.append(
            [pathlib.Path(line).name for line in pathlib.Path(out[:-4] + "_songs.txt").read_text().split("\n")]
        )
        boards.append(np.fromfile(out + ".bin", np.float32).reshape(-1, 2))
    rest = [path.stem for path in KNOWN[2:]]
    assert songs[0] == [*(path.stem for path in KNOWN), ""]
    assert songs[1] == ["broken.mp3", KNOWN[1].stem, "twice.wav", KNOWN[0].stem, *rest, ""]
    assert songs[2] == ["broken.mp3", KNOWN[1].stem, "later.wav", KNOWN[0].stem, *rest, ""]
    for names, board in zip(songs[1:], boards[1:]):
        for song, cell in zip(names, board):
            expected = boards[0][songs[0].index(song)] if song in songs[0] else np.zeros(2)
            np.testing.assert_array_equal(cell, expected)


def test_songs_are_for_the_files_of_pfann(db, cut):
    with pytest.raises(ValueError, match="--songs orders the columns"):
        identify.run(identify.IdentifyRequest([str(cut / "known.wav")], str(db), songs="songs.txt"))


def test_formats_and_files_go_together(db, cut):
    with pytest.raises(ValueError, match="needs --out"):
        identify.run(identify.IdentifyRequest([str(cut / "known.wav")], str(db), format="pfann"))


def test_python_gets_the_same_answers(db, cut):
    samples = decode.load(cut / "known.wav", sample_rate_hz=16000)
    with database.Database.open(db, runtime="numpy") as opened:
        (answer,) = opened.identify(samples, 16000)
    assert answer.track == KNOWN[1].stem
    assert answer.start_s == pytest.approx(4.0, abs=0.3)


@pytest.mark.parametrize(
    "samples, rate_hz, words",
    [
        (np.zeros((2, 16000)), 8000, "one channel"),
        (np.zeros(3920), 8000, "0.49 s of audio; at least 0.5 s"),
        (np.full(16000, np.nan), 8000, "NaN"),
        (np.zeros(16000), 0, "sample_rate_hz=0"),
    ],
)
def test_what_is_no_waveform_is_refused(db, samples, rate_hz, words):
    with database.Database.open(db, runtime="numpy") as opened:
        finder = identifier.Identifier(opened.network(), opened.rows, opened.index)
        with pytest.raises(ValueError, match=words):
            finder.identify(samples, sample_rate_hz=rate_hz)


@pytest.mark.parametrize("wanted", ["sometimes", "3", "0.9,x", ""])
def test_speeds_are_words_or_numbers(db, wanted):
    with pytest.raises(ValueError, match="auto, near, none, or numbers"):
        identifier.Identifier(sources.load("small", runtime="numpy"), None, None, speeds=wanted)


def test_silence_is_not_in_the_collection(db):
    with database.Database.open(db, runtime="numpy") as opened:
        assert opened.identify(np.zeros(40000, np.float32), 8000) == []


def test_of_a_long_clip_the_beginning_is_listened_to(tmp_path):
    path = tunes.write(tmp_path / "long.wav", tunes.tune(70.0, sample_rate_hz=8000), 8000)
    (clip,) = clips.listed([str(path)], sample_rate_hz=16000, longest_s=20.0)
    samples, seconds = clip.load()
    assert (len(samples), round(seconds)) == (320000, 70)


def shell(*arguments, data=b"", block=()):
    """Runs the command as a shell does, with some packages not installed."""
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({block!r}))\n"
        "from nafp import cli\nsys.argv = ['nafp', *sys.argv[1:]]\ntry:\n    cli.main()\nfinally:\n"
        "    print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        "    print('training' if 'nafp.training' in sys.modules else '', file=sys.stderr)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        input=data,
        capture_output=True,
    )


def test_identifying_loads_no_training_code_and_no_jax(db, cut):
    ran = shell("identify", db, cut / "known.wav", "--format=json")
    assert ran.returncode == 0, ran.stderr.decode()
    *_, loaded, training = ran.stderr.decode().splitlines()
    assert records(ran.stdout.decode())[0]["answers"][0]["track"] == KNOWN[1].stem
    assert not {"jax", "flax", "grain", "optax", "orbax", "tensorboardX"} & set(loaded.split())
    assert training == ""


def test_identifying_works_where_jax_is_not_installed_and_in_a_pipe(db, cut):
    missing = ("jax", "jaxlib", "flax", "grain", "optax", "orbax", "tensorboardX")
    data = (cut / "known.wav").read_bytes()
    ran = shell("identify", db, "-", "--format=json", data=data, block=missing)
    assert ran.returncode == 0, ran.stderr.decode()
    (record,) = records(ran.stdout.decode())
    assert (record["query"], record["answers"][0]["track"]) == ("-", KNOWN[1].stem)


def test_bare_samples_come_through_a_pipe(db, cut, capsys, monkeypatch):
    samples = decode.load(cut / "known.wav", sample_rate_hz=16000)
    stream = io.TextIOWrapper(io.BytesIO(samples.astype("<f4").tobytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    code, out, _ = asked(capsys, ["-"], db, format="json", raw_hz=16000)
    assert (code, records(out)[0]["answers"][0]["track"]) == (0, KNOWN[1].stem)


@pytest.mark.parametrize("raw_hz", [0, 8000])
def test_a_pipe_without_an_end_is_refused_before_it_fills_the_disk(db, capsys, monkeypatch, raw_hz):
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, into):
            into[:] = bytes(len(into))
            return len(into)

    monkeypatch.setattr(clips, "_MOST_BYTES", 4 << 20)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    code, _, err = asked(capsys, ["-"], db, raw_hz=raw_hz)
    assert code == 2
    assert "and no end; cut a clip out of it" in err


@pytest.mark.parametrize("arguments", [["--fromat=x", "a"], ["--top=0", "a"], []])
def test_a_wrong_command_line_ends_with_2(db, arguments):
    assert shell("identify", db, *arguments).returncode == 2


def test_the_microphone_says_what_it_lacks(db, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ModuleNotFoundError) as missing:  # nafp.cli names the extra.
        asked(capsys, [], db, microphone=1.0)
    assert missing.value.name in cli.EXTRAS
    monkeypatch.delitem(sys.modules, "sounddevice")
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    code, _, err = asked(capsys, [], db, microphone=1.0)
    assert code == 2
    assert "libportaudio2" in err
