"""`nafp add` says what became of every recording, and its exit code whether any gave a track."""

import functools

import pytest

from nafp import errors
from nafp.database import database, from_audio, song_list
from nafp.verbs import add
from tests import databases, tunes

RATE = 16000


def test_all_that_became_of_recordings_is_said():
    report = from_audio.AddReport(
        added=["new.wav", "changed.wav"],
        seconds=30.0,
        unchanged=4,
        replaced=["changed.wav"],
        known=[("copy.wav", "old.wav")],
        failures=[(f"{number}.wav", "empty file, 0 bytes") for number in range(22)],
        damaged=[("new.wav", "the file ends early")],
    )
    lines = add.described(report, "db", n_tracks=7, wall_s=2.0).splitlines()
    assert lines[0] == "db: 2 tracks added (30 s of audio in 2.0 s, 15 x real time); 7 tracks"
    assert lines[1] == "4 were there already"
    assert lines[2:6] == [
        "1 there under another name:",
        "  copy.wav: the same audio as old.wav",
        "1 replaced:",
        "  changed.wav: has other audio than before",
    ]
    assert lines[6:8] == ["22 skipped:", "  0.wav: empty file, 0 bytes"]
    assert lines[27:] == ["  and 2 more", "1 damaged:", "  new.wav: the file ends early"]


def test_a_tag_has_a_key_and_a_value():
    assert add.parsed(["mood=calm", "note=a=b", "empty="]) == {"mood": "calm", "note": "a=b", "empty": ""}
    for wrong in ("mood", "=calm"):
        with pytest.raises(errors.Invalid, match="KEY=VALUE is needed"):
            add.parsed([wrong])


def test_exit_codes_say_whether_anything_gave_a_track(tmp_path, capsys):
    network, db = databases.network_file(tmp_path), str(tmp_path / "db")
    run = functools.partial(add.run, db, checkpoint=network, runtime="numpy")
    (tmp_path / "bad.wav").write_text("no sound")
    tunes.write(tmp_path / "good.flac", tunes.tune(3.0, sample_rate_hz=RATE), RATE)
    assert run([str(tmp_path / "bad.wav")]) == add.NOTHING
    assert "1 skipped" in capsys.readouterr().out
    assert run([str(tmp_path / "good.flac")], tags=["mood=calm"]) == add.DONE
    assert "1 tracks added (3 s of audio" in capsys.readouterr().out
    assert run([str(tmp_path / "good.flac")]) == add.DONE
    assert "1 were there already" in capsys.readouterr().out
    with database.Database.open(db) as opened:
        assert [track.metadata for track in opened.tracks()] == [{"mood": "calm"}]
    assert song_list.read(db) == []
    (tmp_path / "list.txt").write_text("bad.wav\ngood.flac\nmissing.wav\n")
    assert run([str(tmp_path / "list.txt")]) == add.DONE
    assert song_list.read(db) == [str(tmp_path / name) for name in ("bad.wav", "good.flac", "missing.wav")]


@pytest.mark.parametrize("names, tags", [(["nothing.wav"], []), ([], ["calm"])])
def test_nothing_is_made_for_a_command_that_cannot_be_right(tmp_path, names, tags):
    with pytest.raises(errors.Invalid):
        add.run(str(tmp_path / "db"), names, tags=tags, prepare=lambda: pytest.fail("JAX was prepared"))
    assert not (tmp_path / "db").exists()
