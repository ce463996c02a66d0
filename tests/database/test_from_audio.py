"""Recordings are added once, whole, with what is known of them; what is no recording is named; stopped, it goes on."""

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from nafp.audio import decode
from nafp.corpora import corpus, manifest
from nafp.database import database, from_audio
from nafp.verbs import list
from tests import databases, networks, tunes

ROOT = pathlib.Path(__file__).parents[2]
MUSIC = ROOT / "tests" / "recordings" / "music"
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
def there(tmp_path, network):
    with database.Database.create(tmp_path / "db", network=network) as opened:
        yield opened


def add(there, *named, **settings):
    return from_audio.add(there, [str(name) for name in named], runtime="numpy", show=False, **settings)


def called(there):
    return sorted(os.path.basename(track.name) for track in there.tracks())


def test_a_recording_is_found_where_it_is(there, music):
    report = add(there, music)
    assert sorted(map(os.path.basename, report.added)) == ["0.flac", "1.flac", "2.flac"]
    assert (report.seconds, report.failures, report.known) == (12.0, [], [])
    samples = decode.load(music / "2.flac", sample_rate_hz=RATE)
    with database.Database.open(there.folder, runtime="numpy") as opened:
        best = opened.identify(samples[int(1.5 * RATE) :], RATE)[0]
    assert best.track == str(music / "2.flac")
    assert best.start_s == pytest.approx(1.5, abs=0.26)
    assert there.track(best.track).seconds == pytest.approx(5.0)


def test_a_fingerprint_in_the_database_is_the_networks(there, music):
    add(there, music / "1.flac")
    alone = there.network(runtime="numpy")
    expected = alone.track(decode.load(music / "1.flac", sample_rate_hz=alone.sample_rate_hz))
    np.testing.assert_allclose(there.rows.read(0, len(there.rows)), expected, atol=1e-3)


def test_what_is_there_is_left_alone_and_is_not_even_decoded(there, music, monkeypatch):
    add(there, music)
    monkeypatch.setattr(decode, "stream", lambda *_, **more: pytest.fail("decoded"))
    report = add(there, music, music / "1.flac", str(music / "*.flac"))
    assert (report.added, report.unchanged, len(there)) == ([], 3, 3)


def test_the_same_bytes_under_another_name_are_said_so_without_decoding(there, music, monkeypatch):
    add(there, music)
    shutil.copy(music / "1.flac", music / "copy.flac")
    monkeypatch.setattr(decode, "stream", lambda *_, **more: pytest.fail("decoded"))
    report = add(there, music)
    assert report.known == [(str(music / "copy.flac"), str(music / "1.flac"))]
    assert called(there) == ["0.flac", "1.flac", "2.flac"]
    assert add(there, music).unchanged == 4  # Known by now.


def test_the_same_audio_in_another_container_is_said_so(there, music):
    samples, _ = soundfile.read(music / "1.flac", dtype="int16")
    soundfile.write(music / "other.wav", samples, RATE)
    report = add(there, music)
    assert report.known == [(str(music / "other.wav"), str(music / "1.flac"))]
    assert "the same audio as" in from_audio.describe(report, "db", n_tracks=3, wall_s=1.0)


def test_a_file_that_has_changed_takes_its_own_place(there, music):
    add(there, music)
    tunes.write(music / "1.flac", tunes.tune(6.0, sample_rate_hz=RATE, seed=50), RATE)
    report = add(there, music)
    assert report.replaced == [str(music / "1.flac")]
    assert len(there) == 3
    assert there.track(str(music / "1.flac")).seconds == pytest.approx(6.0)
    os.utime(music / "0.flac")  # Another time, the same bytes.
    assert add(there, music).unchanged == 3


def test_bad_files_are_named_and_cost_nothing_else(there, tmp_path):
    tunes.troubles(tmp_path / "troubles")
    report = add(there, tmp_path / "troubles")
    reasons = {os.path.basename(path): reason for path, reason in report.failures}
    assert {"nan.wav", "text.mp3", "empty.flac", "zero.wav"} <= set(reasons)
    assert "good.wav" in called(there)
    damaged = {os.path.basename(path) for path, _ in report.damaged}
    assert "cut.wav" in damaged
    assert there.track(str(tmp_path / "troubles/cut.wav")).damage
    said = from_audio.describe(report, "db", n_tracks=len(there), wall_s=1.0)
    assert f"{len(reasons)} skipped" in said
    assert "empty file, 0 bytes" in said


def test_stopped_in_the_middle_the_same_call_goes_on(there, music, monkeypatch):
    for number in range(3, 12):
        tunes.write(music / f"{number}.flac", tunes.tune(3.0, sample_rate_hz=RATE, seed=number), RATE)
    real, taken = from_audio._Adding._take, []

    def interrupted(self, outcome, one):
        if len(taken) == 4:
            raise KeyboardInterrupt
        taken.append(outcome.name)
        return real(self, outcome, one)

    monkeypatch.setattr(from_audio._Adding, "_take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add(there, music)
    monkeypatch.setattr(from_audio._Adding, "_take", real)
    assert sorted(track.name for track in there.tracks()) == sorted(taken)
    report = add(there, music)
    assert (len(report.added), report.unchanged, len(there)) == (8, 4, 12)


def test_lists_and_their_columns_and_tags_become_metadata(there, music):
    (music / "list.csv").write_text("path,artist,label\n0.flac,Somebody,Nowhere\n1.flac,,\n")
    (music / "list.txt").write_text("# a list\n2.flac\n")
    add(there, music / "list.csv", music / "list.txt", metadata={"mood": "calm"})
    assert there.track(str(music / "0.flac")).metadata == {
        "artist": "Somebody",
        "label": "Nowhere",
        "mood": "calm",
    }
    assert there.track(str(music / "2.flac")).metadata == {"mood": "calm"}
    add(there, music, metadata={"mood": "", "title": "T"})
    assert there.track(str(music / "2.flac")).metadata == {"title": "T"}


def test_tags_of_a_file_are_read(there, tmp_path):
    with soundfile.SoundFile(tmp_path / "tagged.ogg", "w", RATE, 1) as file:
        file.title, file.artist = "A title", "Ünïcode"
        file.write(tunes.tune(3.0, sample_rate_hz=RATE))
    add(there, tmp_path / "tagged.ogg")
    assert dict(there.track(str(tmp_path / "tagged.ogg")).metadata) == {
        "title": "A title",
        "artist": "Ünïcode",
    }


def test_a_corpus_is_added_by_the_names_of_its_tracks(there, music, tmp_path):
    tracks, _ = manifest.scan(str(music), kind="music")
    corpus.build(tracks, tmp_path / "corpus", sample_rate_hz=8000, jobs=0)
    assert len(add(there, tmp_path / "corpus").added) == 3
    assert add(there, tmp_path / "corpus").unchanged == 3


def test_nothing_is_made_or_begun_for_what_is_not_there(there, music):
    with pytest.raises(ValueError, match=r"nothing.flac: no such file, folder, list or pattern"):
        add(there, music, music / "nothing.flac")
    assert len(there) == 0


def test_paths_come_from_standard_input(there, music, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{music / '0.flac'}\n{music / '2.flac'}\n"))
    add(there, "-")
    assert called(there) == ["0.flac", "2.flac"]


def test_twice_the_hop_halves_the_rows_and_still_finds(tmp_path, music, network):
    with database.Database.create(tmp_path / "half", network=network, hop_s=1.0, storage="int8") as half:
        add(half, music)
        assert half.info()["fingerprints"] == 3 + 4 + 5
        samples = decode.load(music / "2.flac", sample_rate_hz=RATE)
        best = half.identify(samples[int(0.5 * RATE) : int(4.5 * RATE)], RATE)[0]
        assert (best.track, best.start_s) == (str(music / "2.flac"), pytest.approx(0.5, abs=0.26))


def test_a_database_keeps_to_its_network_storage_and_hop(tmp_path, network, there):
    assert from_audio.open_or_create(there.folder).about == there.about
    assert from_audio.open_or_create(there.folder, checkpoint=network, storage="float16").about == there.about
    other = databases.network_file(tmp_path, seed=1)
    with pytest.raises(ValueError, match="two networks cannot be compared"):
        from_audio.open_or_create(there.folder, checkpoint=other)
    with pytest.raises(ValueError, match="its storage is float16, not int8"):
        from_audio.open_or_create(there.folder, storage="int8")
    with pytest.raises(ValueError, match=r"its hop_s is 0.5, not 1.0"):
        from_audio.open_or_create(there.folder, hop_s=1.0)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path, network):
    (tmp_path / "precious").write_text("data")
    with pytest.raises(FileExistsError, match="is not empty and no database"):
        database.Database.create(tmp_path, network=network)


def test_a_network_that_is_not_there_leaves_nothing_behind(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a shipped network"):
        database.Database.create(tmp_path / "db", network="nothing")
    with pytest.raises(ValueError, match="storage 'int5': allowed are"):
        from_audio.open_or_create(tmp_path / "db", storage="int5")
    assert not (tmp_path / "db" / "catalogue.sqlite").exists()


def test_a_run_of_training_can_be_the_network(tmp_path, music):
    run = networks.write_run(tmp_path / "run", networks.config(), {7: None})
    with database.Database.create(tmp_path / "of_run", network=str(run)) as opened:
        assert opened.about["network"]["step"] == 7
        shutil.rmtree(run)  # It travels with the database.
        add(opened, music / "0.flac")
        assert len(opened) == 1


def test_an_exchanged_network_is_noticed(tmp_path, there):
    shutil.copy(databases.network_file(tmp_path, seed=1), there.folder / database.NETWORK)
    with pytest.raises(ValueError, match="is not the network that made these fingerprints"):
        there.network(runtime="numpy")


def test_databases_merge_without_their_audio(tmp_path, network):
    one = databases.filled(tmp_path / "one", 5, network=network)
    two = databases.filled(tmp_path / "two", 5, first=3, network=network, storage="int8")
    with two.writer() as writing:
        writing.append("/music/0.wav", 3.0, databases.unit(9, seed=99), digest="another")
    report = one.merge([two.refresh().folder])
    assert sorted(report.added) == ["/music/0.wav (2)", *(f"/music/{n}.wav" for n in (5, 6, 7))]
    assert [name for name, _ in report.known] == ["/music/3.wav", "/music/4.wav"]
    assert report.renamed == [("/music/0.wav", "/music/0.wav (2)")]
    assert one.track("/music/6.wav").metadata == {"title": "Title 6"}
    place = one.track("/music/7.wav")
    rows = one.rows.read(place.first_row, place.first_row + place.n_rows)
    assert np.vecdot(rows, databases.unit(40, seed=7)).min() > 0.999
    assert one.merge([two.folder]).added == []
    two.compact(storage="int4")
    one.remove(["5"])
    assert one.merge([two.folder]).added  # Rows of any storage are fingerprints.
    hop = databases.filled(tmp_path / "hop", 1, network=network, hop_s=1.0)
    with pytest.raises(ValueError, match=r"its hop_s is 1.0"):
        one.merge([hop.folder])


@pytest.mark.parametrize(
    "which, found",
    [
        (3, ["2"]),
        ("3", ["2"]),
        ("/music/4.wav", ["4"]),
        ("4.wav", ["4"]),
        ("4", ["3"]),
        ("*/[01].wav", ["0", "1"]),
        ("0*", ["0"]),
    ],
)
def test_tracks_are_named_by_number_name_or_pattern(tmp_path, network, which, found):
    there = databases.filled(tmp_path / "db5", 5, network=network)
    assert there.matching(which) == [f"/music/{name}.wav" for name in found]


def test_a_name_that_means_nothing_or_too_much_is_refused(tmp_path, network):
    there = databases.filled(tmp_path / "db5", 5, network=network)
    with there.writer() as writing:
        writing.append("/other/4.wav", 1.0, databases.unit(4))
    with pytest.raises(KeyError, match=r"2 tracks of .* are called so"):
        there.matching("4.wav")
    with pytest.raises(KeyError, match=r"no such track .*did you mean /music/3.wav"):
        there.remove(["/musik/3.wav"])
    assert len(there) == 6


@pytest.mark.parametrize("format, n_lines", [("text", 5), ("json", 5), ("csv", 6), ("tsv", 6), ("names", 5)])
def test_a_list_has_a_line_for_each_track(tmp_path, network, format, n_lines):
    there, out = databases.filled(tmp_path / "db5", 5, network=network), io.StringIO()
    assert list.write(there, [], out, format=format) == 5
    lines = out.getvalue().splitlines()
    assert len(lines) == n_lines
    assert "/music/4.wav" in lines[-1] or "4.wav" in lines[-1]
    if format == "json":
        first = json.loads(lines[0])
        assert (first["id"], first["name"], first["title"], first["fingerprints"]) == (
            1,
            "/music/0.wav",
            "Title 0",
            40,
        )


def nafp(*words, expect=0):
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "nafp", *map(str, words)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_from_the_shell_a_collection_lives_without_jax(tmp_path, network, music):
    db = tmp_path / "shell"
    said = nafp("add", db, music, f"--checkpoint={network}", "--runtime=numpy", "--tag=mood=calm")
    assert "3 tracks added (12 s of audio" in said
    first = json.loads(nafp("list", db, "--format=json").splitlines()[0])
    assert first["mood"] == "calm"
    assert "removed" in nafp("remove", db, "1.flac")
    assert "no such track" in nafp("remove", db, "1.flac", expect=1)
    assert "fingerprints of removed tracks" in nafp("info", db)
    assert "less than before" in nafp("compact", db, "--storage=int8")
    assert "whole; 2 tracks" in nafp("verify", db)


def test_verbs_of_a_database_load_no_jax(tmp_path, network):
    databases.filled(tmp_path / "light", 2, network=network).close()
    code = (
        "import sys; from nafp.database import database, from_audio, from_databases; from nafp.verbs import list\n"
        f"there = database.Database.open({str(tmp_path / 'light')!r}); there.index; there.network(runtime='numpy')\n"
        "print(*sorted({'jax', 'flax', 'optax', 'grain', 'orbax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
