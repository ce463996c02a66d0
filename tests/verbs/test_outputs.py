"""No verb writes over an input, or over a file that it did not write. Its own former outputs it replaces."""

import json
import pathlib

import numpy as np
import pytest

from evaluation.protocols import evaluated
from evaluation.queries import folder as rendered
from evaluation.queries import mixes, page
from evaluation.scores import results
from nafp import errors
from nafp.corpora import lists, manifest, row_ids
from nafp.datasets import audioset
from nafp.identify import pfann_files
from nafp.jobs import outputs
from nafp.search import collection, index, song_index
from nafp.sequences import clips
from nafp.verbs import corpus, duplicates_table
from tests import databases

ALIEN = [b"RIFFxxxxWAVEfmt ", b"notes of mine\nof today\n", b"# Notes\n", b"\0" * 90, b"a,b\n1,2\n", b"[1, 2]"]
TRACK = manifest.Track("/music/a.mp3", 3.0, 8000, 1)


def taken(tmp_path, require, *names):
    """Checks that each of these names is kept if somebody else wrote it. require: is called without arguments."""
    require()
    for name in names:
        for content in ALIEN:
            (tmp_path / name).write_bytes(content)
            with pytest.raises(errors.Error, match=r"is there, and was not written by|holds .* did not write"):
                require()
            assert (tmp_path / name).read_bytes() == content
        (tmp_path / name).unlink()


@pytest.mark.parametrize("verb", ["scan", "filter", "split", "convert", "dedup"])
@pytest.mark.parametrize("suffix", [".csv", ".txt", ".pkl", ".npy"])
def test_a_verb_of_corpus_keeps_other_files_and_its_inputs(tmp_path, verb, suffix):
    out, given = tmp_path / f"out{suffix}", tmp_path / "in.csv"
    manifest.write(given, [TRACK])
    taken(tmp_path, lambda: corpus._require_outputs(verb, ["folder"], {"out": str(out)}), out.name)
    with pytest.raises(errors.Invalid, match="is an input of this command"):
        corpus._require_outputs(verb, [str(given)], {"out": str(given)})
    with pytest.raises(errors.Invalid, match="is an input of this command"):
        corpus._require_outputs(verb, [], {"out": str(given), "manifest": str(given)})


def test_a_manifest_is_not_filtered_onto_itself(tmp_path):
    path = tmp_path / "in.csv"
    manifest.write(path, [TRACK])
    whole = path.read_bytes()
    with pytest.raises(errors.Invalid, match="is an input"):
        corpus.run("filter", [], {"manifest": str(path), "out": str(path)})
    assert path.read_bytes() == whole


def test_former_outputs_of_corpus_are_replaced(tmp_path):
    table = duplicates_table.Table([duplicates_table.Row("a", "b", "whole", 1.0, 1.0, 3.0, 0.0, "", "")], 2, 1)
    writers = {
        "manifest.csv": lambda path: lists.write(path, [TRACK]),
        "pfann.csv": lambda path: lists.write(path, [TRACK], form="pfann", root="/music"),
        "list.txt": lambda path: lists.write(path, [TRACK] * 9000),  # Longer than what is looked at.
        "list.m3u": lambda path: lists.write(path, [TRACK]),
        "list.pkl": lambda path: lists.write(path, [TRACK] * 30),
        "ids.npy": lambda path: row_ids.write(path, [1, 2]),
        "places.csv": lambda path: row_ids.write_places(path, [row_ids.QueryStart(1, "a", 0, 0.0)]),
        "twice.csv": lambda path: duplicates_table.write(path, table),
    }
    for name, write in writers.items():
        write(str(tmp_path / name))
        corpus._require_outputs("convert", [], {"out": str(tmp_path / name)})
    audioset.write_wanted(tmp_path / "wanted.csv", [])
    corpus._require_outputs("scan", [], {"out": "", "wanted": str(tmp_path / "wanted.csv")})
    (tmp_path / "wanted.csv").write_text("a,b\n")
    with pytest.raises(errors.Invalid, match="--wanted="):
        corpus._require_outputs("scan", [], {"out": "", "wanted": str(tmp_path / "wanted.csv")})


def test_an_index_replaces_an_index(tmp_path):
    rows = collection.Collection([databases.unit(40)])
    rows.tracks, rows.first_rows, rows.end_rows = ["a.mp3"], np.array([0]), np.array([40])
    taken(tmp_path, lambda: song_index.require_out(tmp_path / "x"), "x.index", "x.json")
    built = index.build(rows, index.plan("auto", n_rows=40, dim=16))
    for _ in range(2):
        song_index.require_out(tmp_path / "x")
        song_index.write(built, rows, tmp_path / "x")
    (tmp_path / "x.index").unlink()
    song_index.require_out(tmp_path / "x")


def test_results_replace_results(tmp_path):
    names = ["results.json", "answers.npz", "table.csv", "table.md", "confidence.json"]
    taken(tmp_path, lambda: results.require_out(tmp_path), *names)
    taken(tmp_path, lambda: results.require_out(tmp_path, as_original=True), "test_ids.npy")
    (tmp_path / "table.md").write_text("| a |")
    (tmp_path / "results.json").write_text(json.dumps({"format": 1, "hit_rates": {}}))
    results.require_out(tmp_path)
    (tmp_path / "results.json").unlink()  # As a kill would leave it: answers.npz is the first file.
    np.savez_compressed(tmp_path / "answers.npz", text=np.array("{}"), lengths=np.array([1]))
    results.require_out(tmp_path)


def test_a_protocol_removes_nothing_but_former_results(tmp_path):
    out = tmp_path / "results"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(errors.AlreadyExists, match=r"thesis\.tex"):
        evaluated._clear(out)
    assert (out / "thesis.tex").exists()
    (out / "thesis.tex").rename(out / "results.json")
    with pytest.raises(errors.Invalid, match="was not written by"):
        evaluated._clear(out)
    (out / "results.json").write_text(json.dumps({"format": 1, "hit_rates": {}}))
    evaluated._clear(out)
    assert not out.exists()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["interview.wav", "expected.csv", "list.txt", "queries.json"])
def test_queries_are_never_rendered_over_recordings(tmp_path, name, overwrite):
    content = b'{"mine": 1}' if name == "queries.json" else b"years of work"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.AlreadyExists):
        rendered.Folder(tmp_path, {"count": 1}, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == content


def test_a_rendering_that_was_killed_before_its_first_query_goes_on(tmp_path):
    rendered.Folder(tmp_path, {"count": 1}).close()
    (tmp_path / "q0.wav").write_bytes(b"RIFF")  # Rendered, but not noted.
    rendered.Folder(tmp_path, {"count": 1}).close()
    with pytest.raises(errors.AlreadyExists, match="--overwrite"):
        rendered.Folder(tmp_path, {"count": 2})
    rendered.Folder(tmp_path, {"count": 2}, overwrite=True).close()
    assert not (tmp_path / "q0.wav").exists()


def test_mixes_remove_no_other_recordings(tmp_path):
    (tmp_path / "interview.wav").write_bytes(b"RIFF")
    for overwrite in (False, True):
        with pytest.raises(errors.AlreadyExists):
            mixes._fresh(tmp_path, overwrite)
    assert (tmp_path / "interview.wav").exists()


def test_a_page_replaces_a_page(tmp_path):
    taken(tmp_path, lambda: page.require_out(tmp_path / "page.html"), "page.html")
    for _ in range(2):
        page.require_out(tmp_path / "page.html")
        page.write(tmp_path / "page.html", [], title="Ours")


def test_the_four_files_of_pfann_are_replaced_together(tmp_path):
    names = ["r.tsv", "r_detail.csv", "r.tsv.bin", "r_songs.txt"]
    for name in names:
        (tmp_path / name).write_bytes(b"notes of mine\nof today\n")
        with pytest.raises(errors.Invalid, match="was not written by"):
            pfann_files.require_out(tmp_path / "r.tsv", [])
        (tmp_path / name).unlink()
    (tmp_path / "r.tsv").write_text("a.wav\tb.mp3\n")
    (tmp_path / "r_songs.txt").write_text("b.mp3\n")
    pfann_files.require_out(tmp_path / "r.tsv", [])
    with pytest.raises(errors.Invalid, match="is an input"):
        pfann_files.require_out(tmp_path / "r.tsv", [str(tmp_path / "r_songs.txt")])


def test_chunks_and_clips_are_known_by_their_form(tmp_path):
    clips.write(tmp_path / "1.npy", databases.unit(3))
    assert clips.is_former((tmp_path / "1.npy").read_bytes())
    np.save(tmp_path / "2.npy", np.zeros(5, np.float32))
    assert not clips.is_former((tmp_path / "2.npy").read_bytes())
    outputs.require(pathlib.Path("/dev/null"), verb="x", is_former=outputs.never)
