"""A plan and a recording of a stranger are read as what they mean, or refused in one line."""

import pytest

from evaluation.queries import material, recordings
from nafp import errors
from tests import tunes


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> material.Material:
    folder = tmp_path_factory.mktemp("songs")
    for name in ("one", "two\x85songs", "a=b"):
        tunes.write(folder / f"{name}.wav", tunes.tune(1.0, sample_rate_hz=8000), 8000)
    return material.Material(folder)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_plan_may_have_any_usual_encoding(source, tmp_path, encoding):
    for text in ("one.wav\r\ntwo\x85songs\n", "song,start_s,seconds\none,0,1\ntwo\x85songs.wav,1,1\n"):
        (tmp_path / "plan.csv").write_bytes(text.encode(encoding))
        plan = recordings.read_plan(tmp_path / "plan.csv", source, split="test")
        assert [(material.stem(song.song), song.start_s, song.seconds) for song in plan] == [
            ("one", 0.0, 1.0),
            ("two\x85songs", 1.0, 1.0),
        ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("song,start_s,seconds\n", "names no song"),
        ("\n", "names no song"),
        ("song,start_s,seconds\none,soon,1\n", "'one' has start_s 'soon'; a number of at least 0"),
        ("song,start_s,seconds\none,0,nan\n", "'one' has seconds 'nan'"),
        ("song,start_s,seconds\none,0\n", "'one' has seconds ''"),
        ("song,start_s,seconds\nthree,0,1\n", "three is not among the references"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(source, tmp_path, text, reason):
    (tmp_path / "plan.csv").write_text(text)
    with pytest.raises(errors.Invalid, match=reason):
        recordings.read_plan(tmp_path / "plan.csv", source, split="test")
    with pytest.raises(errors.Invalid, match="No such file"):
        recordings.read_plan(tmp_path / "none.csv", source, split="test")


def test_a_recording_may_have_an_equals_sign_in_its_name(source, tmp_path):
    sound = next(piece.name for piece in source.pieces if "=" in piece.name)
    (tmp_path / "plan.txt").write_text("one\n")
    taken = recordings.given([sound], str(tmp_path / "plan.txt"), source, split="test")
    assert taken.files == [("", sound)]
    taken = recordings.given([f"low={sound}"], str(tmp_path / "plan.txt"), source, split="test")
    assert taken.files == [("low", sound)]
    with pytest.raises(errors.Invalid, match="a level is a word without slashes"):
        recordings.given([f"{tmp_path}/low={sound}"], str(tmp_path / "plan.txt"), source, split="test")


def test_a_recording_of_no_song_is_refused(source, tmp_path):
    with pytest.raises(errors.Invalid, match="songs=0: a recording needs at least 1"):
        recordings.render(source, source, tmp_path / "out", split="test", songs=0, through="clean")
