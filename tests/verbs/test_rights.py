"""What a person may not read or write is named on one line, and the exit code is 2. Nothing is left out in silence."""

import contextlib
import os
import pathlib
import tempfile

import numpy as np
import pytest

from evaluation.queries import folder as rendered
from evaluation.queries import page
from evaluation.scores import compare
from nafp import cli, errors
from nafp.audio import decode
from nafp.corpora import corpus as packed
from nafp.corpora import lists, manifest
from nafp.database import catalogue, database, network_file
from nafp.identify import pfann_files
from nafp.monitor import state
from nafp.search import collection, index, song_index, store
from nafp.verbs import add, compact, corpus, info, merge, remove, verify
from nafp.verbs import list as listing
from tests import databases, stores, tunes

NOBODY = 65534
pytestmark = pytest.mark.skipif(not hasattr(os, "setresuid"), reason="users are changed as Linux does it")


@contextlib.contextmanager
def as_nobody():
    """Runs the block as a user who may do only what all may, if root runs the tests."""
    is_root = os.geteuid() == 0
    if is_root:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if is_root:
            os.setresuid(0, 0, 0)


@pytest.fixture
def place():
    """A folder that all may enter, and only its owner may write into."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as path:
        os.chmod(path, 0o755)
        yield pathlib.Path(path)


@contextlib.contextmanager
def without(path, mode=0):
    """Takes all rights to a path within the block, or leaves those of `mode`."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with as_nobody():
            yield
    finally:
        path.chmod(before)


def said(work) -> str:
    """Returns what the command would print: one line."""
    with pytest.raises((errors.Error, PermissionError)) as caught:
        work()
    words = cli._in_words(caught.value)
    assert words, repr(caught.value)  # Otherwise there is a trace.
    assert "\n" not in words
    return words


def test_audio_and_lists_that_may_not_be_read_are_named(place):
    song = tunes.write(place / "music" / "a.wav", tunes.tune(1.0))
    tunes.write(place / "music" / "closed" / "b.wav", tunes.tune(1.0))
    listed = place / "list.txt"
    listed.write_text(f"{song}\n")
    manifest.write(place / "list.csv", [manifest.Track(str(song))])
    with without(song):
        assert str(song) in said(lambda: decode.load(song, sample_rate_hz=8000))
        _, failures = manifest.scan([str(place / "music" / "closed"), str(song.parent)])
        assert [failure.path for failure in failures] == [str(song)]
    with without(song.parent / "closed"):
        assert "closed" in said(lambda: manifest.audio_files(song.parent))
    for path in (listed, place / "list.csv"):
        with without(path):
            assert f"{path}: Permission denied" in said(lambda path=path: lists.read(path))


def test_files_of_a_database_that_may_not_be_read_are_named(place):
    opened = databases.filled(place / "db", 20, seal_rows=640)
    opened.close()
    (place / "db").chmod(0o755)
    names = [path.name for path in (place / "db").iterdir() if path.name != "writer.lock"]
    assert any(name.endswith(".faiss") for name in names)
    for name in names:
        path = place / "db" / name
        with without(path):
            try:
                with database.Database.open(place / "db") as opened:
                    opened.network(runtime="numpy")
                    troubles = [*opened.troubles, *(reason for _, reason in opened.verify().damages)]
                    assert len(opened) == 20
            except Exception as error:
                troubles = [cli._in_words(error) or repr(error)]
        assert troubles, name
        assert "Permission denied" in troubles[0], name
    with without(place / "db"):
        words = said(lambda: database.Database.open(place / "db"))
        assert str(place / "db") in words


def test_a_read_only_database_answers_and_says_that_it_cannot_be_changed(place, capsys):
    for name in ("db", "other"):
        databases.filled(place / name, 2, first=len(name)).close()
    song = tunes.write(place / "a.wav", tunes.tune(2.0))
    folder = str(place / "db")
    with without(place / "db", 0o555):
        assert verify.run(folder) == verify.WHOLE
        assert listing.run(folder, []) == listing.FOUND
        info.run(folder)
        for work in (
            lambda: add.run(folder, [str(song)], runtime="numpy"),
            lambda: remove.run(folder, ["2.wav"]),
            lambda: compact.run(folder),
            lambda: merge.run(folder, [str(place / "other")]),
        ):
            assert "it is read-only" in said(work)
    assert len(database.Database.open(place / "db")) == 2


def test_an_output_that_may_not_be_written_is_named(place):
    rows = collection.Collection([databases.unit(40)])
    rows.tracks, rows.first_rows, rows.end_rows = ["a.mp3"], np.array([0]), np.array([40])
    built = index.build(rows, index.plan("l2", n_rows=40, dim=16))
    track = manifest.Track(str(tunes.write(place / "a.wav", tunes.tune(1.0))), 1.0, 8000, 1)
    out = place / "out"
    out.mkdir()
    shut = out / "x.csv"
    works = {
        "a manifest": lambda: manifest.write(shut, [track]),
        "corpus scan": lambda: corpus.run("scan", [str(place)], {"out": str(shut)}),
        "corpus build": lambda: packed.build([track], out / "corpus", sample_rate_hz=8000, jobs=0),
        "a store": lambda: store.Writer(out, "db", dim=16, meta={}),
        "index": lambda: song_index.write(built, rows, out / "x"),
        "monitor --out": lambda: state.MonitorJournal(None, {}, out=str(shut)),
        "identify --out": lambda: pfann_files.Files(out / "x.tsv", rows),
        "queries render": lambda: rendered.Folder(out / "queries", {}),
        "queries listen": lambda: page.write(out / "page.html", [], title=""),
        "compare": lambda: compare._write(out / "compare.md", ""),
        "a new database": lambda: database.Database.create(out / "db", network=str(place / "tiny0.safetensors")),
    }
    os.chmod(databases.network_file(place), 0o644)
    with without(out, 0o555):
        for name, work in works.items():
            assert str(out) in said(work), name
    assert list(out.iterdir()) == []


def test_stores_and_states_that_may_not_be_read_are_named(place):
    stores.write(place / "store", "db", {"a": databases.unit(4)})
    saved = place / "state"
    saved.write_text("{}")
    for path, work in (
        (saved, lambda: state.MonitorJournal(str(saved), {})),
        (place / "store" / "db.mm", lambda: store.Store.open(place / "store", "db")),
        (place / "store" / "db.json", lambda: store.Store.open(place / "store", "db")),
    ):
        with without(path):
            assert str(path) in said(work)
    assert catalogue.FILE != network_file.NETWORK
    assert issubclass(errors.Unwritable, errors.Error)
