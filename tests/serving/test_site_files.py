"""The folder that `nafp page` writes is whole, or says that it is not, whenever its writer is killed."""

import itertools
import json
import shutil

import pytest

from nafp import errors
from nafp.jobs import locks
from nafp.serving import page_files, site
from nafp.verbs import page as verb
from tests import databases, victims
from tests.serving.conftest import MUSIC


def test_the_folder_is_whole_and_names_no_folder_of_this_machine(written, filled):
    names = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    page = {f"page/{name}" for name in page_files.files() if name not in ("index.html", "offline.js")}
    collection = {f"collection/{name}" for name in ("about.json", "tracks.json", "fingerprints.bin", "network.onnx")}
    assert names == page | collection | {"index.html", "offline.js"}
    kept = json.loads(written.joinpath("offline.js").read_text().partition("FILES = ")[2].partition(";")[0])
    assert set(kept) == (names - {"offline.js"}) | {"./"}
    for path in ("collection/tracks.json", "collection/about.json", "index.html", "offline.js"):
        assert str(MUSIC[0].parent) not in written.joinpath(path).read_text()
    tracks = json.loads(written.joinpath("collection/tracks.json").read_text())
    assert [track["name"] for track in tracks] == [path.name for path in MUSIC[:3]]
    n_rows = sum(track["rows"] for track in tracks)
    assert written.joinpath("collection/fingerprints.bin").stat().st_size == n_rows * 128 * 2


def test_a_page_takes_the_place_of_a_page_only(written, filled, tmp_path):
    assert verb.run(str(filled), out=written, dtype="int8") == 0
    assert verb.run(str(filled), out=written) == 0
    (tmp_path / "mine.txt").write_text("words")
    with pytest.raises(errors.Invalid, match="was not written by nafp page"):
        verb.run(str(filled), out=tmp_path)


@pytest.fixture(scope="module")
def victim():
    process = victims.Victim("tests.killed_verbs")
    yield process
    process.end()


def lives(victim, folder, template, *, every, before=()):
    """Yields the files after each life of `nafp page`, killed a step later each time, and whether it ended well."""
    for step in itertools.count(1, every):
        shutil.copytree(template, folder)
        for name, data in before:
            (folder / "site" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "site" / name).write_bytes(data)
        answers, ended = victim.live(f"site:{folder}", step=step)
        assert not [line for line in answers if line.startswith("failed")], answers
        yield written_files(folder / "site"), ended
        shutil.rmtree(folder)
        if ended:
            return


def written_files(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in files]


def test_a_page_killed_at_any_step_is_the_old_one_the_new_one_or_says_so(victim, tmp_path):
    old_db, new_db = tmp_path / "old", tmp_path / "new"
    for place, first in ((old_db, 0), (new_db, 5)):
        place.mkdir()
        databases.filled(place / "db", 2, first=first).close()
    *_, (first, _) = lives(victim, tmp_path / "life", old_db, every=1000)
    *_, (new, _) = lives(victim, tmp_path / "life", new_db, every=1000)
    assert dict(first) != dict(new)
    assert not [name for name, _ in new if name.startswith(".")]
    unfinished = 0
    for before, every in ((first, 6), ([], 13)):
        for after, ended in lives(victim, tmp_path / "life", new_db, every=every, before=before):
            shown = [(name, data) for name, data in after if not name.startswith(".nafp-page.part/")]
            says = dict(shown).get(site.ABOUT)
            unfinished += says == b'{"unfinished": true}'
            assert says == b'{"unfinished": true}' or without_offline(shown) in map(without_offline, (before, new))
            if not ended:  # Whatever there is, the next run makes a page of it.
                *_, (again, _) = lives(victim, tmp_path / "again", new_db, every=1000, before=after)
                assert again == new
    assert unfinished > 2


def without_offline(files):
    return [(name, data) for name, data in files if name != "offline.js"]


def test_a_page_killed_by_an_earlier_version_is_written_again(filled, tmp_path):
    (tmp_path / "index.html").write_text('<html lang="en" data-collection="files">')
    assert site.may_be_written(tmp_path)
    (tmp_path / "index.html").write_text("<html>")
    assert not site.may_be_written(tmp_path)
    assert not site.may_be_written(tmp_path / "index.html")


def test_two_do_not_write_one_page(filled, tmp_path):
    (tmp_path / ".nafp-page.part").mkdir()
    with locks.take(tmp_path / ".nafp-page.part" / ".lock"), pytest.raises(errors.Locked, match="is writing a page"):
        verb.run(str(filled), out=tmp_path)


def test_only_a_small_collection_becomes_a_page(tmp_path, monkeypatch):
    databases.filled(tmp_path / "db", 2).close()
    monkeypatch.setattr(site, "LARGEST_ROWS", 60)
    with pytest.raises(errors.Invalid, match="nafp serve is for larger collections"):
        verb.run(str(tmp_path / "db"), out=tmp_path / "page")
    databases.filled(tmp_path / "empty", 0).close()
    with pytest.raises(errors.Invalid, match="has no track"):
        verb.run(str(tmp_path / "empty"), out=tmp_path / "page")
