"""Recordings are added once, whole, with what is known of them. Files that give no audio are named. It can go on."""

import contextlib
import io
import os
import shutil
import sys

import numpy as np
import pytest
import soundfile

from nafp import errors
from nafp.audio import decode
from nafp.corpora import corpus, manifest
from nafp.database import catalogue, database, from_audio
from tests import databases, tunes

RATE = 16000


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return databases.network_file(tmp_path_factory.mktemp("network"))


@pytest.fixture
def music(tmp_path):
    """Three tunes of 3, 4 and 5 s."""
    for number in range(3):
        tunes.write(
            tmp_path / f"music/{number}.flac",
            tunes.tune(3 + number, sample_rate_hz=RATE, seed=number),
            RATE,
        )
    return tmp_path / "music"


@pytest.fixture
def opened(memory, network):
    with database.Database.create(memory / "db", network=network) as opened:
        yield opened


def add(opened, *names, **settings):
    return opened.add([str(name) for name in names], runtime="numpy", show=False, **settings)


def called(opened):
    return sorted(os.path.basename(track.name) for track in opened.tracks())


def test_a_recording_is_found_where_it_is(opened, music):
    report = add(opened, music)
    assert sorted(map(os.path.basename, report.added)) == ["0.flac", "1.flac", "2.flac"]
    assert (report.seconds, report.failures, report.known) == (12.0, [], [])
    samples = decode.load(music / "2.flac", sample_rate_hz=RATE)
    with database.Database.open(opened.folder, runtime="numpy") as reader:
        best = reader.identify(samples[int(1.5 * RATE) :], RATE)[0]
    assert best.track == str(music / "2.flac")
    assert best.start_s == pytest.approx(1.5, abs=0.26)
    assert opened.track(best.track).seconds == pytest.approx(5.0)


def test_a_fingerprint_in_the_database_is_the_networks(opened, music):
    add(opened, music / "1.flac")
    alone = opened.network(runtime="numpy")
    expected = alone.track(decode.load(music / "1.flac", sample_rate_hz=alone.sample_rate_hz))
    np.testing.assert_allclose(opened.rows.read(0, len(opened.rows)), expected, atol=1e-3)


def test_what_is_there_is_left_alone_and_is_not_even_decoded(opened, music, monkeypatch):
    add(opened, music)
    monkeypatch.setattr(decode, "stream", lambda *_, **more: pytest.fail("decoded"))
    monkeypatch.setattr(opened, "network", lambda **_: pytest.fail("the network was opened"))
    report = add(opened, music, music / "1.flac", str(music / "*.flac"))
    assert (report.added, report.unchanged, len(opened)) == ([], 3, 3)


def test_the_same_bytes_under_another_name_are_said_so_without_decoding(opened, music, monkeypatch):
    add(opened, music)
    shutil.copy(music / "1.flac", music / "copy.flac")
    monkeypatch.setattr(decode, "stream", lambda *_, **more: pytest.fail("decoded"))
    report = add(opened, music)
    assert report.known == [(str(music / "copy.flac"), str(music / "1.flac"))]
    assert called(opened) == ["0.flac", "1.flac", "2.flac"]
    assert add(opened, music).unchanged == 4  # Known by now.


def test_the_same_audio_in_another_container_is_said_so(opened, music):
    samples, _ = soundfile.read(music / "1.flac", dtype="int16")
    soundfile.write(music / "other.wav", samples, RATE)
    report = add(opened, music)
    assert report.known == [(str(music / "other.wav"), str(music / "1.flac"))]


def test_a_file_that_has_changed_takes_its_own_place(opened, music):
    add(opened, music)
    tunes.write(music / "1.flac", tunes.tune(6.0, sample_rate_hz=RATE, seed=50), RATE)
    report = add(opened, music)
    assert report.replaced == [str(music / "1.flac")]
    assert len(opened) == 3
    assert opened.track(str(music / "1.flac")).seconds == pytest.approx(6.0)
    os.utime(music / "0.flac")  # Another time, the same bytes.
    assert add(opened, music).unchanged == 3


def test_bytes_of_a_file_that_was_exchanged_while_it_was_read_are_not_taken_for_known(opened, music, monkeypatch):
    song, read_through = music / "song.flac", from_audio._read_through
    shutil.copy(music / "0.flac", song)

    def exchanged(path, stamp):
        noted = read_through(path, stamp)
        shutil.copy(music / "1.flac", path)  # Between the digest of its bytes and its sound.
        return noted

    monkeypatch.setattr(from_audio, "_read_through", exchanged)
    assert add(opened, song).added == [str(song)]
    monkeypatch.undo()
    report = add(opened, music)  # 0.flac has the bytes that song.flac had, and not its sound.
    assert report.added == [str(music / "0.flac"), str(music / "2.flac")]
    assert report.known == [(str(music / "1.flac"), str(song))]


def test_a_file_that_grows_while_it_is_read_is_said_so_and_is_added_whole_later(opened, music, monkeypatch):
    song = tunes.write(music / "song.wav", tunes.tune(4.0, sample_rate_hz=RATE, seed=60), RATE)
    whole, read_through = song.read_bytes(), from_audio._read_through
    song.write_bytes(whole[: len(whole) // 2])

    def growing(path, stamp):
        noted = read_through(path, stamp)
        with open(path, "ab") as file:
            file.write(whole[len(whole) // 2 : -8000])
        return noted

    monkeypatch.setattr(from_audio, "_read_through", growing)
    add(opened, song)
    song.write_bytes(whole)
    monkeypatch.undo()
    report = add(opened, song)
    assert report.replaced == [str(song)]
    assert opened.track(str(song)).seconds == pytest.approx(4.0)


@pytest.mark.parametrize("key, value", [("dim", "64"), ("sample_rate_hz", "4000")])
def test_a_catalogue_that_does_not_fit_its_network_is_refused(opened, music, key, value):
    add(opened, music)
    with catalogue.Catalogue(opened.folder, write=True) as book, book.change():
        book.tell({key: int(value)})
    with pytest.raises(errors.Invalid, match="its network makes those of"):
        database.Database.open(opened.folder, runtime="numpy").network()


def test_bad_files_are_named_and_cost_nothing_else(opened, tmp_path):
    tunes.troubles(tmp_path / "troubles")
    report = add(opened, tmp_path / "troubles")
    reasons = {os.path.basename(path): reason for path, reason in report.failures}
    assert {"nan.wav", "text.mp3", "empty.flac", "zero.wav"} <= set(reasons)
    assert "good.wav" in called(opened)
    damaged = {os.path.basename(path) for path, _ in report.damaged}
    assert "cut.wav" in damaged
    assert opened.track(str(tmp_path / "troubles/cut.wav")).damage
    assert "empty file, 0 bytes" in reasons["empty.flac"]


def test_stopped_in_the_middle_the_same_call_goes_on(opened, music, monkeypatch):
    for number in range(3, 12):
        tunes.write(music / f"{number}.flac", tunes.tune(3.0, sample_rate_hz=RATE, seed=number), RATE)
    real = from_audio._Adding._take
    taken: list[str] = []

    def interrupted(self, outcome):
        if len(taken) == 4:
            raise KeyboardInterrupt
        taken.append(outcome.name)
        return real(self, outcome)

    monkeypatch.setattr(from_audio._Adding, "_take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add(opened, music)
    monkeypatch.setattr(from_audio._Adding, "_take", real)
    assert sorted(track.name for track in opened.tracks()) == sorted(taken)
    report = add(opened, music)
    assert (len(report.added), report.unchanged, len(opened)) == (8, 4, 12)


def test_lists_and_their_columns_and_tags_become_metadata(opened, music):
    (music / "list.csv").write_text("path,artist,label\n0.flac,Somebody,Nowhere\n1.flac,,\n")
    (music / "list.txt").write_text("# a list\n2.flac\n")
    add(opened, music / "list.csv", music / "list.txt", metadata={"mood": "calm"})
    assert opened.track(str(music / "0.flac")).metadata == {
        "artist": "Somebody",
        "label": "Nowhere",
        "mood": "calm",
    }
    assert opened.track(str(music / "2.flac")).metadata == {"mood": "calm"}
    add(opened, music, metadata={"mood": "", "title": "T"})
    assert opened.track(str(music / "2.flac")).metadata == {"title": "T"}


def test_tags_of_a_file_are_read(opened, tmp_path):
    with soundfile.SoundFile(tmp_path / "tagged.ogg", "w", RATE, 1) as file:
        file.title, file.artist = "A title", "Ünïcode"
        file.write(tunes.tune(3.0, sample_rate_hz=RATE))
    add(opened, tmp_path / "tagged.ogg")
    assert dict(opened.track(str(tmp_path / "tagged.ogg")).metadata) == {
        "title": "A title",
        "artist": "Ünïcode",
    }


def test_a_corpus_is_added_by_the_names_of_its_tracks(opened, music, tmp_path):
    tracks, _ = manifest.scan(str(music), kind="music")
    corpus.build(tracks, tmp_path / "corpus", sample_rate_hz=8000, jobs=0)
    assert len(add(opened, tmp_path / "corpus").added) == 3
    assert add(opened, tmp_path / "corpus").unchanged == 3


def test_nothing_is_made_or_begun_for_what_is_not_there(opened, music):
    with pytest.raises(ValueError, match=r"nothing.flac: no such file, folder, list or pattern"):
        add(opened, music, music / "nothing.flac")
    assert len(opened) == 0


def test_paths_come_from_standard_input(opened, music, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{music / '0.flac'}\n{music / '2.flac'}\n"))
    add(opened, "-")
    assert called(opened) == ["0.flac", "2.flac"]


def test_twice_the_hop_halves_the_rows_and_still_finds(memory, music, network):
    with contextlib.ExitStack() as stack:
        made = database.Database.create(memory / "half", network=network, hop_s=1.0, storage="int8")
        half = stack.enter_context(made)
        add(half, music)
        assert half.info()["fingerprints"] == 3 + 4 + 5
        samples = decode.load(music / "2.flac", sample_rate_hz=RATE)
        reader = stack.enter_context(database.Database.open(half.folder, runtime="numpy"))
        best = reader.identify(samples[int(0.5 * RATE) : int(4.5 * RATE)], RATE)[0]
        assert (best.track, best.start_s) == (str(music / "2.flac"), pytest.approx(0.5, abs=0.26))


def places(opened, music):
    """Returns which tune each name stands for, by its length in seconds."""
    return {os.path.basename(track.name): round(track.seconds) for track in opened.tracks()}


def swap(one, other):
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)


@pytest.mark.parametrize("backwards", [False, True])
def test_names_follow_audio_that_was_exchanged(opened, music, backwards):
    add(opened, music)
    swap(music / "0.flac", music / "2.flac")
    report = add(opened, *sorted(music.iterdir(), reverse=backwards))
    assert places(opened, music) == {"0.flac": 5, "1.flac": 4, "2.flac": 3}
    assert (len(report.renamed), report.replaced, report.added, report.unchanged) == (2, [], [], 1)
    assert add(opened, music).unchanged == 3
    swap(music / "0.flac", music / "2.flac")  # And back.
    add(opened, music)
    assert places(opened, music) == {"0.flac": 3, "1.flac": 4, "2.flac": 5}


def test_names_follow_audio_that_moved_to_the_name_of_a_file_that_is_gone(opened, music):
    add(opened, music)
    (music / "1.flac").unlink()
    (music / "2.flac").rename(music / "1.flac")
    report = add(opened, music)
    assert places(opened, music) == {"0.flac": 3, "1.flac": 5}
    assert report.renamed == [(str(music / "2.flac"), str(music / "1.flac"))]
    assert report.replaced == [str(music / "1.flac")]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("is_converted", [False, True])
def test_a_moved_file_survives_another_at_its_old_place(opened, music, backwards, is_converted):
    add(opened, music)
    moved = music / ("new.wav" if is_converted else "new.flac")
    if is_converted:
        samples, _ = soundfile.read(music / "0.flac", dtype="int16")
        soundfile.write(moved, samples, RATE)
        (music / "0.flac").unlink()
    else:
        (music / "0.flac").rename(moved)
    tunes.write(music / "0.flac", tunes.tune(7.0, sample_rate_hz=RATE, seed=50), RATE)
    add(opened, *sorted(music.iterdir(), reverse=backwards))
    assert places(opened, music) == {moved.name: 3, "0.flac": 7, "1.flac": 4, "2.flac": 5}
    assert add(opened, music).unchanged == 4


def test_a_copy_does_not_take_the_name_of_a_file_that_is_there(opened, music):
    add(opened, music)
    os.utime(music / "0.flac")  # Another time, the same bytes.
    shutil.copy(music / "0.flac", music / "a.flac")
    report = add(opened, music / "a.flac")
    assert (report.renamed, len(report.known), called(opened)) == ([], 1, ["0.flac", "1.flac", "2.flac"])


def test_other_columns_of_a_list_and_other_tags_reach_a_track_that_is_there(opened, music, tmp_path):
    table = tmp_path / "list.csv"
    table.write_text(f"path,label\n{music / '0.flac'},First\n")
    add(opened, table)
    table.write_text(f"path,label\n{music / '0.flac'},Second\n")
    report = add(opened, table)
    assert (report.unchanged, report.described) == (1, [str(music / "0.flac")])
    assert opened.track(str(music / "0.flac")).metadata["label"] == "Second"
    assert add(opened, table).described == []
    data, _ = soundfile.read(music / "0.flac", dtype="int16")
    with soundfile.SoundFile(music / "0.flac", "w", RATE, 1, "PCM_16") as file:
        file.title = "Tagged since"
        file.write(data)
    add(opened, music / "0.flac")
    assert opened.track(str(music / "0.flac")).metadata["title"] == "Tagged since"


def test_one_bad_list_is_named_and_costs_no_other_argument(opened, music, tmp_path):
    (tmp_path / "nul.m3u").write_bytes(b"\0\0")
    (tmp_path / "odd.csv").write_text("name\na.wav\n")
    report = add(opened, tmp_path / "nul.m3u", music / "0.flac", tmp_path / "odd.csv", music / "1.flac")
    assert called(opened) == ["0.flac", "1.flac"]
    (_, nul), (_, odd) = report.failures
    assert nul == "line 1: a NUL byte, which no name has; save the list as UTF-8"
    assert odd == "columns ['name']; a column named path is needed"
    with pytest.raises(ValueError, match="NUL byte"):
        add(opened, tmp_path / "nul.m3u")


def test_a_pipe_or_a_device_in_a_list_is_named_and_nothing_waits(opened, music, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    os.symlink("/dev/zero", tmp_path / "zero.flac")
    names = ["pipe.wav", "zero.flac", "/dev/tty", "/proc/kmsg", str(music / "0.flac")]
    (tmp_path / "l.txt").write_text("\n".join(names))
    report = add(opened, tmp_path / "l.txt")
    assert called(opened) == ["0.flac"]
    assert len(report.failures) == 4


def test_names_from_standard_input_may_end_in_carriage_returns_and_be_any_bytes(opened, music, monkeypatch):
    shutil.copy(music / "1.flac", os.fsencode(music) + b"/\xff.flac")
    lines = b"%b/0.flac\r\n%b/\xff.flac\r\n" % (os.fsencode(music), os.fsencode(music))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert len(add(opened, "-").added) == 2


def test_western_european_metadata_are_kept_as_text(opened, music, tmp_path):
    (music / "list.csv").write_bytes("path,title\n0.flac,Déjà vu\n".encode("cp1252"))
    add(opened, music / "list.csv")
    assert next(opened.tracks()).metadata["title"] == "Déjà vu"


def test_a_length_that_nobody_knew_stores_no_false_alarm(opened, music):
    data = bytearray((music / "0.flac").read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff\xff\xff\xff"  # 2^36 samples: 50 days.
    (music / "0.flac").write_bytes(data)
    report = add(opened, music / "0.flac")
    assert report.damaged == []
    assert next(opened.tracks()).damage == ""
