"""`nafp corpus`: what a flag says about all files is so for all files, and a missing list is one line."""

import csv
import pathlib

import numpy as np
import pytest

from nafp import errors
from nafp.corpora import manifest
from nafp.verbs import corpus


def write_list(path: pathlib.Path, *rows: manifest.Track) -> str:
    manifest.write(path, [row._replace(path=str(path.parent / row.path)) for row in rows])
    return str(path)


def converted(sources: list[str], out: pathlib.Path, **settings: str) -> dict[str, tuple[str, str]]:
    assert corpus.run("convert", sources, {"out": str(out), **settings}) == 0
    return {pathlib.Path(track.path).name: (track.kind, track.split) for track in manifest.read(out)}


def test_the_split_and_kind_of_all_files_replace_those_that_a_list_gives(tmp_path):
    music = manifest.Track("a.wav", 2.0, 8000, 1, "music", "train")
    listed = write_list(tmp_path / "all.csv", music, music._replace(path="b.wav", split="", kind="noise"))
    kept = converted([listed], tmp_path / "same.csv")
    assert kept == {"a.wav": ("music", "train"), "b.wav": ("noise", "")}
    moved = converted([listed], tmp_path / "moved.csv", split="test")
    assert moved == {"a.wav": ("music", "test"), "b.wav": ("noise", "test")}
    foreign = tmp_path / "pfann.csv"
    foreign.write_text("file,duration,sample_rate,channels\nc.wav,3,8000,1\n")
    assert converted([str(foreign)], tmp_path / "n.csv", kind="noise", split="val") == {"c.wav": ("noise", "val")}


@pytest.mark.parametrize("settings", [{"split": "tets"}, {"kind": "musik"}])
def test_a_split_or_kind_that_does_not_exist_is_refused(tmp_path, settings):
    listed = write_list(tmp_path / "all.csv", manifest.Track("a.wav", 2.0))
    with pytest.raises(errors.Invalid, match="Did you mean"):
        corpus.run("convert", [listed], {"out": str(tmp_path / "x.csv"), **settings})


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"labels": ["Music"]}, "--labels is for a public dataset"),
        ({"wanted": "w.csv"}, "--wanted is for a public dataset"),
        ({"verify": True}, "--verify is for a public dataset"),
        ({"metadata": "tables"}, "--metadata is for a public dataset"),
        ({"converted": "wav"}, "--converted is for a public dataset"),
        ({"split": "train", "test_share": 0.5}, "--split gives one to all"),
        ({"val_share": 0.7, "test_share": 0.7}, "they are parts of 1"),
    ],
)
def test_settings_of_scan_without_effect_are_refused_before_it_looks(tmp_path, monkeypatch, settings, said):
    monkeypatch.setattr(manifest, "scan", lambda *_, **__: pytest.fail("scanned"))
    with pytest.raises(errors.Invalid, match=said):
        corpus.run("scan", [str(tmp_path)], {"out": str(tmp_path / "x.csv"), **settings})


def test_a_split_that_draws_nothing_says_so(tmp_path, capsys):
    tracks = [manifest.Track(f"album/{number}.wav", 2.0) for number in range(4)]
    listed, out = write_list(tmp_path / "all.csv", *tracks), tmp_path / "split.csv"
    settings = {"manifest": listed, "out": str(out), "sizes": "train=50%,test=50%"}
    assert corpus.run("split", [], settings | {"by": "folder"}) == 0
    assert "test got no track: each group goes into one split" in capsys.readouterr().out
    again = settings | {"manifest": str(out), "out": str(tmp_path / "again.csv")}
    assert corpus.run("split", [], again) == 0
    assert "4 tracks had a split, and kept it; --again draws" in capsys.readouterr().out
    assert corpus.run("split", [], again | {"again": True}) == 0
    assert "kept it" not in capsys.readouterr().out
    with pytest.raises(errors.Invalid, match="no track is room; there are music"):
        corpus.run("split", [], settings | {"kind": "room"})


def test_a_list_that_is_not_there_is_one_line(tmp_path):
    listed, out = write_list(tmp_path / "all.csv", manifest.Track("a.wav", 2.0)), str(tmp_path / "x.npy")
    for name in ("no.csv", "no.npy", "no.pkl"):
        with pytest.raises(errors.Error, match=r"no\.\w+.*No such file"):
            corpus.run("convert", [str(tmp_path / name)], {"out": out, "manifest": listed})
    for name in ("no.csv", "no.txt", "no.pkl"):
        with pytest.raises(errors.Error, match=r"no\.\w+.*No such file"):
            corpus.run("convert", [str(tmp_path / name)], {"out": str(tmp_path / "x.csv")})


def test_a_table_of_places_with_a_wrong_second_is_one_line(tmp_path):
    listed = write_list(tmp_path / "all.csv", manifest.Track("a.wav", 2.0))
    table = tmp_path / "places.csv"
    table.write_text("path,start_s\na.wav,soon\n")
    with pytest.raises(errors.Invalid, match="soon"):
        corpus.run("convert", [str(table)], {"out": str(tmp_path / "x.npy"), "manifest": listed})


def test_a_file_of_less_than_a_second_counts_as_one_row_of_the_original(tmp_path):
    files = [manifest.Track(name, seconds) for name, seconds in (("a.wav", 2.0), ("b.wav", 0.4), ("c.wav", 1.5))]
    listed = write_list(tmp_path / "all.csv", *files)  # Rows 0 to 2, 3, and 4 to 5.
    np.save(tmp_path / "ids.npy", np.array([2, 3, 4]))
    table = tmp_path / "places.csv"
    assert corpus.run("convert", [str(tmp_path / "ids.npy")], {"out": str(table), "manifest": listed}) == 0
    with open(table) as file:
        places = [(pathlib.Path(row["path"]).name, float(row["start_s"])) for row in csv.DictReader(file)]
    assert places == [("a.wav", 1.0), ("b.wav", 0.0), ("c.wav", 0.0)]
    assert corpus.run("convert", [str(table)], {"out": str(tmp_path / "again.npy"), "manifest": listed}) == 0
    assert np.load(tmp_path / "again.npy").tolist() == [2, 3, 4]
