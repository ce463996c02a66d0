"""Small files of the same layout and format as the public datasets."""

import csv
import hashlib
import json

import numpy as np
import pytest
import scipy.io

from nafp.audio import decode
from nafp.corpora import corpus, manifest
from nafp.datasets import air, audioset, baf, fma, registry
from nafp.verbs import corpus as curate
from tests import tunes

OPTIONS = registry.Options()


def sound(path, seconds=1.0, seed=0):
    return tunes.write(path, tunes.tune(seconds, sample_rate_hz=8000, seed=seed), 8000)


def write_csv(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


# Columns of tracks.csv in their order there, some left out: (category, name).
FMA_COLUMNS = [
    *(("album", name) for name in ("comments", "id", "information", "title")),
    *(("artist", name) for name in ("bio", "id", "name")),
    *(("set", name) for name in ("split", "subset")),
    *(("track", name) for name in ("duration", "genre_top", "license", "title")),
]
FMA_ROWS = {  # number: artist, split, subset
    2: ("1", "training", "medium"),
    5: ("1", "training", "small"),
    140: ("6", "validation", "small"),
    1482: ("7", "test", "small"),
    99134: ("8", "training", "small"),
    155066: ("9", "test", "large"),
}


@pytest.fixture
def fma_folder(tmp_path):
    def row(number, artist, split, subset):
        biography = "a long story,\n" * 20_000  # Beyond csv's usual limit, with line breaks.
        cells = ["0", "4", "", "An album", biography if number == 5 else "", artist, f"N{artist}"]
        return [number, *cells, split, subset, "240", "Hip-Hop", "CC", f"Song {number}"]

    write_csv(
        tmp_path / "fma_metadata/tracks.csv",
        ["", *(category for category, _ in FMA_COLUMNS)],
        ["", *(name for _, name in FMA_COLUMNS)],
        ["track_id", *("" for _ in FMA_COLUMNS)],
        *(row(number, *about) for number, about in FMA_ROWS.items()),
    )
    for number in (2, 5, 140, 1482):
        name = f"{number:06d}"
        sound(tmp_path / f"fma_small/{name[:3]}/{name}.mp3", seed=number)
    (tmp_path / "fma_small/099").mkdir()
    (tmp_path / "fma_small/099/099134.mp3").write_bytes(b"no audio")
    return tmp_path


def test_fma_small_is_the_table_and_the_files_together(fma_folder):
    tracks, failures = registry.find("fma_small").scan(str(fma_folder), OPTIONS)
    assert [(t.path.split("fma_small/")[1], t.split, t.group) for t in tracks] == [
        ("000/000005.mp3", "train", "artist 1"),
        ("000/000140.mp3", "val", "artist 6"),
        ("001/001482.mp3", "test", "artist 7"),
    ]
    assert all(track.seconds == pytest.approx(1.0, abs=0.1) for track in tracks)
    assert dict(tracks[0].extra) == {
        "title": "Song 5",
        "artist": "N1",
        "album": "An album",
        "genre": "Hip-Hop",
        "license": "CC",
    }
    assert [failure.path.split("/")[-1] for failure in failures] == ["099134.mp3"]
    inside = fma.scan(str(fma_folder / "fma_small"), subset="fma_small")
    assert inside[0] == tracks


def test_the_larger_subsets_hold_the_smaller_ones(fma_folder):
    table = fma.find_table(str(fma_folder))
    numbers = {s: [track.number for track in fma.read_table(table, s)] for s in fma.SUBSETS}
    assert numbers["fma_small"] == [5, 140, 1482, 99134]
    assert numbers["fma_medium"] == [2, 5, 140, 1482, 99134]
    assert numbers["fma_large"] == numbers["fma_full"] == sorted(FMA_ROWS)


def test_files_of_fma_are_compared_with_its_checksums(fma_folder):
    home = fma_folder / "fma_small"
    lines = [
        f"{hashlib.sha1(path.read_bytes()).hexdigest()}  {path.relative_to(home)}\n"
        for path in sorted(home.rglob("*.mp3"))
    ]
    (home / "checksums").write_text("".join(lines) + "0" * 40 + "  155/155066.mp3\n")
    assert [f.reason for f in fma.verify(str(fma_folder), subset="fma_small")] == ["missing"]
    (home / "000/000005.mp3").write_bytes(b"damaged")
    bad = fma.verify(str(fma_folder), subset="fma_small")
    assert [failure.path.split("/")[-1] for failure in bad] == ["000005.mp3", "155066.mp3"]


def test_fma_without_its_table_or_its_files_says_what_is_needed(tmp_path, fma_folder):
    with pytest.raises(ValueError, match=r"no tracks.csv of fma_metadata.zip"):
        fma.scan(str(tmp_path / "nowhere/else"), subset="fma_small")
    metadata = str(fma_folder / "fma_metadata")
    with pytest.raises(ValueError, match="none of the 6 files"):
        fma.scan(str(tmp_path / "nowhere"), subset="fma_full", metadata=metadata)
    wrong = write_csv(tmp_path / "t/tracks.csv", ["a", "b"], ["c", "d"])
    with pytest.raises(ValueError, match=r"not FMA's tracks.csv"):
        fma.read_table(str(wrong), "fma_small")


@pytest.fixture
def original(tmp_path):
    home = tmp_path / "neural-audio-fp-dataset"
    for place in (
        "music/train-10k-30s/000/000002.wav",
        "music/val-query-db-500-30s/db/000/1.wav",
        "music/test-query-db-500-30s/query/000/2.wav",
        "music/test-query-db-500-30s/db/000/2.wav",
        "music/test-dummy-db-100k-full/000/000010.wav",
        "aug/bg/tr/pub.wav",
        "aug/ir/ts/mic_nokia.wav",
        "aug/speech/dev/s.wav",
    ):
        sound(home / place)
    return home


def test_the_original_dataset_is_known_by_its_tree_and_counted(original):
    tracks, failures = registry.find("neural_audio_fp_mini").scan(str(original), OPTIONS)
    found = {(track.kind, track.split) for track in tracks}
    assert {("music", "train"), ("music", "val"), ("music", "dummy"), ("noise", "train")} <= found
    assert ("speech", "val") in found
    assert failures[0].reason == "1 files, 10000 expected"
    sound(original.parent / "other/a.wav")
    with pytest.raises(ValueError, match="of the dataset there"):
        registry.find("neural_audio_fp_full").scan(str(original.parent / "other"), OPTIONS)


def test_a_folder_is_digested_by_its_contents_whatever_their_names(tmp_path):
    for name, text in (("b/2", "two"), ("a/1", "one"), ("3", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    parts = sorted(hashlib.md5(text.encode()).hexdigest() for text in ("two", "one", ""))
    expected = hashlib.md5("".join(parts).encode()).hexdigest()
    assert registry.folder_digest(str(tmp_path)) == expected
    verified = registry.find("neural_audio_fp_full").verify(str(tmp_path))
    assert expected in verified[0].reason
    assert "aa90a8fbd3e6f938cac220d8aefdb134" in verified[0].reason


ONTOLOGY = [
    {"id": "/m/04rlf", "name": "Music", "child_ids": ["/m/02sgy"]},
    {"id": "/m/02sgy", "name": "Electric guitar", "child_ids": []},
    {"id": "/m/015lz1", "name": "Singing", "child_ids": []},
    {"id": "/m/07yv9", "name": "Vehicle", "child_ids": ["/m/0195fx"]},
    {"id": "/m/0195fx", "name": "Subway, metro, underground", "child_ids": []},
    {"id": "/m/03qtwd", "name": "Crowd", "child_ids": []},
]


@pytest.fixture
def audioset_folder(tmp_path):
    home = tmp_path / "audioset"
    home.mkdir()
    (home / "ontology.json").write_text(json.dumps(ONTOLOGY))
    remarks = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=3\n"
    remarks += "# YTID, start_seconds, end_seconds, positive_labels\n"
    (home / "balanced_train_segments.csv").write_text(
        remarks
        + '--PJHxphWEs, 30.000, 40.000, "/m/0195fx,/m/07yv9"\n'
        + 'aaaaaaaaaaa, 0.000, 10.000, "/m/0195fx,/m/02sgy"\n'
        + 'bbbbbbbbb_b, 20.000, 30.000, "/m/0195fx"\n'
        + 'ccccccccccc, 5.000, 15.000, "/m/03qtwd"\n'
    )
    (home / "eval_segments.csv").write_text(
        remarks + 'ddddddddddd, 7.500, 17.500, "/m/0195fx"\neeeeeeeeeee, 0.000, 10.000, "/m/0195fx"\n'
    )
    return home


def test_noise_of_audioset_is_the_subway_without_music(audioset_folder):
    clips, names = audioset.wanted(str(audioset_folder))
    videos = ["--PJHxphWEs", "bbbbbbbbb_b", "ddddddddddd", "eeeeeeeeeee"]
    assert [clip.video for clip in clips] == videos
    assert names["/m/03qtwd"] == "Crowd"
    crowd, _ = audioset.wanted(str(audioset_folder), keep=["crowd"])
    assert [clip.video for clip in crowd] == ["ccccccccccc"]
    vehicles, _ = audioset.wanted(str(audioset_folder), keep=["Vehicle"], drop=["Crowd"])
    assert len(vehicles) == 5  # Labels below count, and music is no longer left out.
    with pytest.raises(ValueError, match="no label 'Subwy'"):
        audioset.wanted(str(audioset_folder), keep=["Subwy"])


def test_clips_of_audioset_are_found_by_the_names_downloaders_give(audioset_folder, tmp_path):
    names = ["--PJHxphWEs_30.wav", "Ybbbbbbbbb_b.wav", "ddddddddddd_7500_17500.wav", "other.wav"]
    for name in names:
        sound(audioset_folder / "wav" / name)
    tracks, failures = registry.find("audioset").scan(str(audioset_folder), OPTIONS)
    assert [(t.path.split("/")[-1], t.kind, t.split, t.group) for t in tracks] == [
        ("--PJHxphWEs_30.wav", "noise", "train", "audioset/--PJHxphWEs"),
        ("Ybbbbbbbbb_b.wav", "noise", "train", "audioset/bbbbbbbbb_b"),
        ("ddddddddddd_7500_17500.wav", "noise", "test", "audioset/ddddddddddd"),
    ]
    assert dict(tracks[0].extra)["labels"] == "Subway, metro, underground;Vehicle"
    assert failures == [manifest.Failure("eeeeeeeeeee at 0 s", "not there")]
    out, wanted = tmp_path / "noise.csv", tmp_path / "wanted.csv"
    settings = {"out": str(out), "dataset": "audioset", "wanted": str(wanted)}
    assert curate.run("scan", [str(audioset_folder)], settings) == 0
    assert len(manifest.read(out)) == 3
    assert audioset.read_clips(wanted)[0].labels == ("/m/0195fx", "/m/07yv9")
    with pytest.raises(ValueError, match=r"balanced_train_segments.csv"):
        audioset.wanted(str(audioset_folder / "wav"))


def write_air(path, samples, *, room, fs=48000):
    path.parent.mkdir(parents=True, exist_ok=True)
    info = {"fs": fs, "room": room, "head": 1, "channel": 0}
    scipy.io.savemat(path, {"h_air": samples, "air_info": info})


def test_responses_of_the_air_database_become_wav_files_of_their_rooms(tmp_path):
    home = tmp_path / "AIR_1_4"
    response = np.zeros(4800)
    response[[100, 900, 2000]] = 0.02, -0.01, 0.005
    names = {
        "air_binaural_aula_carolina_0_1_3_0_3": ("aula_carolina", response[None]),
        "air_binaural_lecture_1_0_2": ("lecture", response[:, None]),
        "air_phone_lecture1_hfrp_0": ("lecture1", response[None]),
        "air_binaural_stairway_0_1_1_90": ("stairway", response[None]),
    }
    for name, (room, samples) in names.items():
        write_air(home / f"{name}.mat", samples, room=room)
    (home / "air_phone_bathroom_hhp_1.mat").write_bytes(b"damaged")
    scipy.io.savemat(home / "air_phone_office_hhp_1.mat", {"x": 1})
    (home / "load_air.m").write_text("function")
    options = registry.Options(converted=str(tmp_path / "wav"))
    tracks, failures = registry.find("air").scan(str(home), options)
    assert [track.group for track in tracks] == [
        "air/aula_carolina",
        "air/lecture",
        "air/stairway",
        "air/lecture",
    ]
    assert {track.kind for track in tracks} == {"room"}
    for track in tracks:
        heard = decode.load(track.path, sample_rate_hz=48000)
        np.testing.assert_allclose(heard, response / 0.02, atol=1 / 16384)
    reasons = [failure.reason for failure in failures]
    assert "not a MATLAB file" in reasons[0]
    assert "h_air and air_info are needed" in reasons[1]
    before = {track.path: track.path and (tmp_path / track.path).stat().st_mtime_ns for track in tracks}
    again, _ = air.scan(str(home), converted=str(tmp_path / "wav"))
    assert again == tracks
    assert {p: (tmp_path / p).stat().st_mtime_ns for p in before} == before
    built = corpus.build(tracks, tmp_path / "corpus", jobs=0)
    assert len(built.select(kind="room")) == 4


def test_a_mat_file_of_any_name_and_number_of_channels_is_a_response(tmp_path):
    home, ears = tmp_path / "mat", np.zeros((2, 2400))
    ears[0, 60], ears[1, 80] = 0.5, 0.25
    write_air(home / "hall" / "binaural.mat", ears, room="Hall")
    write_air(home / "booth" / "binaural.mat", ears.T, room="")
    tracks, failures = air.scan(str(home), converted=str(tmp_path / "wav"))
    assert not failures
    assert [track.group for track in tracks] == ["air/binaural", "air/hall"]
    assert len({track.path for track in tracks}) == 2  # Equal names in two folders are two files.
    for track in tracks:
        heard = decode.load(track.path, sample_rate_hz=48000)
        np.testing.assert_allclose(heard, ears[0] / 0.5, atol=1 / 16384)


def test_microphones_rooms_and_musan_get_kinds_and_groups(tmp_path):
    sound(tmp_path / "micirp/IR_AKGD12.wav")
    tracks, _ = registry.find("micirp").scan(str(tmp_path / "micirp"), OPTIONS)
    assert [(t.kind, t.group) for t in tracks] == [("microphone", "IR_AKGD12")]
    home = tmp_path / "RIRS_NOISES"
    for name in (
        "simulated_rirs/smallroom/Room001/Room001-00001.wav",
        "simulated_rirs/smallroom/Room001/Room001-00002.wav",
        "real_rirs_isotropic_noises/air_type1_air_binaural_aula_carolina_1_3_90_3.wav",
        "real_rirs_isotropic_noises/air_type1_air_binaural_aula_carolina_1_1_90_3.wav",
        "real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav",
        "pointsource_noises/noise-free-sound-0000.wav",
    ):
        sound(home / name)
    tracks, _ = registry.find("rirs_noises").scan(str(home), OPTIONS)
    found = {t.path.split("/")[-1]: (t.kind, t.group) for t in tracks}
    assert found["Room001-00001.wav"] == found["Room001-00002.wav"]
    assert found["Room001-00001.wav"] == ("room", "smallroom/Room001")
    aula = ("room", "air_type1_air_binaural_aula_carolina")
    assert [value for name, value in found.items() if "aula" in name] == [aula, aula]
    assert found["RVB2014_type1_noise_largeroom1_1.wav"][0] == "noise"
    assert found["noise-free-sound-0000.wav"] == ("noise", "noise-free-sound-0000")
    for kind in ("music/fma", "noise/free-sound", "speech/librivox"):
        sound(tmp_path / f"musan/{kind}/a.wav")
    tracks, _ = registry.find("musan").scan(str(tmp_path / "musan"), OPTIONS)
    assert [track.kind for track in tracks] == ["music", "noise", "speech"]


def test_baf_has_references_queries_and_what_is_heard_when(tmp_path):
    home = tmp_path / "baf"
    sound(home / "references/ref_0027.wav")
    sound(home / "references/ref_1072.wav")
    sound(home / "queries/query_0001.wav")
    about = ["query_0001.wav", "Norway", "Discovery Channel", "2021-02-26 14:45:26"]
    missing = ["query_0002.wav", "Spain", "La 1", "2021-02-26 14:45:26"]
    write_csv(home / "queries_info.csv", ["filename", "country", "channel", "datetime"], about, missing)
    write_csv(
        home / "cross_annotations.csv",
        ["query", "reference", "query_start", "query_end", "annotators", "x_tag"],
        ["query_0001.wav", "ref_0027.wav", "40.44", "59.936", "['a', 'b', 'c']", "unanimity"],
        ["query_0001.wav", "ref_0027.wav", "40.0", "40.44", "['a', 'b']", "majority"],
        ["query_0001.wav", "ref_1072.wav", "34.49", "34.61", "['a']", "single"],
    )
    tracks, failures = registry.find("baf").scan(str(home), OPTIONS)
    assert [(t.path.split("/")[-1], t.group) for t in tracks] == [
        ("ref_0027.wav", "db"),
        ("ref_1072.wav", "db"),
        ("query_0001.wav", "query"),
    ]
    assert dict(tracks[2].extra)["channel"] == "Discovery Channel"
    assert [failure.path.split("/")[-1] for failure in failures] == ["query_0002.wav"]
    assert [len(baf.heard(str(home), agreed=tag)) for tag in baf.TAGS] == [1, 2, 3]
    first = baf.BafMatch("query_0001.wav", "ref_0027.wav", 40.44, 59.936, "unanimity")
    assert baf.heard(str(home)) == [first]
    with pytest.raises(ValueError, match=r"queries_info.csv: missing"):
        baf.scan(str(tmp_path))


def test_every_dataset_says_where_to_get_it_and_unknown_ones_are_named(capsys):
    assert curate.run("datasets", [], {}) == 0
    printed = capsys.readouterr().out
    for name, known in registry.DATASETS.items():
        assert f"{name}\n" in printed
        assert known.about in printed
        assert known.get.startswith("http")
    with pytest.raises(ValueError, match="known are neural_audio_fp_mini"):
        curate.run("scan", ["x"], {"dataset": "fma_tiny", "out": "x.csv"})


def test_a_verb_refuses_settings_it_does_not_have_and_asks_for_those_it_needs(tmp_path):
    with pytest.raises(ValueError, match=r"corpus filter takes no --seed; it takes --manifest"):
        curate.run("filter", [], {"seed": 3})
    with pytest.raises(ValueError, match=r"corpus split needs --manifest and --sizes"):
        curate.run("split", [], {"out": "x"})
    with pytest.raises(ValueError, match="Did you mean 'split'"):
        curate.run("splt", [], {})
    with pytest.raises(ValueError, match=r"corpus filter takes no 'x.csv'; say --manifest=x.csv"):
        curate.run("filter", ["x.csv"], {"manifest": "y.csv", "out": "z.csv"})
    with pytest.raises(ValueError, match="there is no folder /nowhere"):
        curate.run("filter", [], {"manifest": "y.csv", "out": "/nowhere/z.csv"})
    with pytest.raises(ValueError, match="publish no checksums"):
        curate.run("scan", ["x"], {"dataset": "musan", "out": "x.csv", "verify": True})


def test_a_filter_that_leaves_nothing_says_so_and_writes_nothing(tmp_path):
    sound(tmp_path / "a.wav")
    curate.run("scan", [str(tmp_path)], {"out": str(tmp_path / "t.csv")})
    settings = {"manifest": str(tmp_path / "t.csv"), "out": str(tmp_path / "f.csv")}
    assert curate.run("filter", [], settings | {"shortest_s": 5.0}) == 1
    assert not (tmp_path / "f.csv").exists()
    assert curate.run("filter", [], settings | {"shortest_s": 0.5}) == 0
    assert len(manifest.read(tmp_path / "f.csv")) == 1
