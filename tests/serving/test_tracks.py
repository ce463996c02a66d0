"""The collection over HTTP: anybody lists it, a token changes it, and changes of other processes are followed."""

import contextlib
import os
import shutil
import subprocess
import sys
import time

import pytest

from nafp import errors
from nafp.audio import decode
from nafp.database import database
from nafp.serving import served, settings
from tests.serving.conftest import BEARER, FORM, MUSIC, TOKEN, RunningServer, clip, form


@pytest.fixture(scope="module")
def changing(filled, tmp_path_factory):
    """A server over a copy of the database, with the copy's folder."""
    folder = tmp_path_factory.mktemp("changing") / "db"
    shutil.copytree(filled, folder)
    with RunningServer(folder) as opened:
        yield opened, folder


def soon(holds, within_s=1.0):
    """Waits until something holds, which a busy machine may take a little longer for than `within_s`."""
    end_s = time.monotonic() + 5 * within_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_tracks_are_listed_in_pages_and_by_part_of_a_name(running):
    first = running.ask("GET", "/v1/tracks?limit=2").value
    assert [track["name"] for track in first["tracks"]] == [str(path) for path in MUSIC[:2]]
    assert first["next"] == 2
    second = running.ask("GET", f"/v1/tracks?limit=2&after={first['next']}").value
    assert [track["metadata"]["title"] for track in second["tracks"]] == ["Title 2"]
    assert second["next"] is None
    found = running.ask("GET", "/v1/tracks?q=title%201").value["tracks"]
    assert [track["id"] for track in found] == [2]
    assert running.ask("GET", "/v1/tracks/2").value == found[0]
    for query in ("limit=0", "limit=501", "limit=x", "after=-1", "after=9" + "9" * 30, "q=" + "x" * 201):
        assert running.ask("GET", f"/v1/tracks?{query}").status == 400
    assert running.ask("GET", "/v1/tracks?q=%27%25%5f%5c%00%ff%ed%a0%80").value["tracks"] == []


def test_without_the_token_nothing_changes(running, strict):
    assert strict.ask("POST", "/v1/tracks?name=x", clip(), **BEARER).status == 403  # It was started without one.
    for headers in ({}, {"Authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": "Bearer "}):
        for method, path in (("POST", "/v1/tracks?name=x"), ("DELETE", "/v1/tracks/1")):
            answer = running.ask(method, path, clip(), **headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert running.ask("GET", "/v1/health").value["tracks"] == 3


def test_a_recording_is_added_found_and_removed(changing):
    server, _ = changing
    data = MUSIC[3].read_bytes()
    assert server.ask("POST", "/v1/identify", clip(3)).value["answers"] == []
    answer = server.ask("POST", "/v1/tracks?title=A%20title", form({"file": ("new.opus", data)}), **FORM, **BEARER)
    track = answer.value
    assert (answer.status, track["name"], track["metadata"]["title"]) == (201, "new.opus", "A title")
    assert answer.headers["location"] == f"/v1/tracks/{track['id']}"
    found = server.ask("POST", "/v1/identify", clip(3)).value["answers"][0]
    assert (found["track"], found["start_s"]) == ("new.opus", pytest.approx(5, abs=0.1))
    again = server.ask("POST", "/v1/tracks?name=other", data, **BEARER)
    assert (again.status, "as the track 'new.opus'" in again.value["error"]) == (409, True)
    named = server.ask("POST", "/v1/tracks?name=new.opus", clip(0), **BEARER)
    assert (named.status, "'new.opus' already" in named.value["error"]) == (409, True)
    assert server.ask("DELETE", f"/v1/tracks/{track['id']}", **BEARER).status == 204
    assert server.ask("DELETE", f"/v1/tracks/{track['id']}", **BEARER).status == 404
    assert server.ask("POST", "/v1/identify", clip(3)).value["answers"] == []


def test_an_added_track_has_the_fingerprints_and_the_digest_of_nafp_add(changing, tmp_path):
    server, folder = changing
    shutil.copy(MUSIC[3], tmp_path / "same.opus")
    track = server.ask("POST", "/v1/tracks?name=first", MUSIC[3].read_bytes(), **BEARER).value
    with database.Database.open(folder) as opened:
        report = opened.add([str(tmp_path / "same.opus")], runtime="numpy", show=False)
    assert [known for _, known in report.known] == ["first"]
    assert server.ask("DELETE", f"/v1/tracks/{track['id']}", **BEARER).status == 204


@pytest.mark.parametrize("name", ["", "..%2Fx", "%2Fetc%2Fpasswd", "a%5Cb", "a%00b", "x" * 256, "a%0Ab"])
def test_a_name_is_a_label_and_no_path(changing, name):
    answer = changing[0].ask("POST", f"/v1/tracks?name={name}", clip(), **BEARER)
    assert (answer.status, "without slashes" in answer.value["error"]) == (400, True)


def test_what_cannot_be_added_is_refused(changing, monkeypatch):
    server, folder = changing
    for body, query, status in (
        (b"words" * 100, "name=x", 422),
        (clip(seconds=0.5), "name=x", 422),
        (b"", "name=x", 400),
        (clip(), "name=x&tilte=y", 400),
        (form({"name": "x"}), "", 400),
    ):
        headers = BEARER | (FORM if body.startswith(b"--") else {})
        assert server.ask("POST", f"/v1/tracks?{query}", body, **headers).status == status
    monkeypatch.setattr(server.opened[0], "settings", server.settings._replace(track_s=3.0))
    assert server.ask("POST", "/v1/tracks?name=x", clip(), **BEARER).status == 413
    monkeypatch.undo()
    monkeypatch.setattr("nafp.serving.served._PATIENCE_S", 0.1)
    with database.Database.open(folder) as other, other.writer():
        busy = server.ask("POST", "/v1/tracks?name=x", clip(), **BEARER)
    assert (busy.status, busy.headers["retry-after"]) == (503, "1")
    assert server.ask("GET", "/v1/health").value["tracks"] == 3


def test_what_another_process_adds_is_found_within_a_second(changing):
    server, folder = changing
    network = server.opened[0].database.network
    samples = decode.load(MUSIC[3], sample_rate_hz=8000)
    rows, seen_s = network.track(samples), []
    with database.Database.open(folder) as other:
        for _ in range(3):  # A busy machine has a slow moment, but not each time.
            with other.writer() as writing:
                writing.append("elsewhere", len(samples) / 8000, rows)
            committed = time.monotonic()
            soon(lambda: server.opened[0].database.n_tracks == 4)
            seen_s.append(time.monotonic() - committed)
            found = server.ask("POST", "/v1/identify", clip(3)).value["answers"]
            other.remove(["elsewhere"])
            soon(lambda: server.opened[0].database.n_tracks == 3)
        assert found[0]["track"] == "elsewhere"
        other.compact()
    assert server.ask("POST", "/v1/identify", clip(3)).value["answers"] == []
    assert server.ask("POST", "/v1/identify", clip(0)).value["answers"]
    assert min(seen_s) < 1


def test_another_process_and_the_server_change_one_database_in_turn(filled, tmp_path):
    folder = tmp_path / "db"
    shutil.copytree(filled, folder)
    code = f"from nafp.database import database\nwith database.Database.open({str(folder)!r}) as opened: "
    with RunningServer(folder) as server:
        for does in ("len(opened)", "opened.remove([1])"):
            subprocess.run([sys.executable, "-c", code + does], check=True)
            added = server.ask("POST", "/v1/tracks?name=new", clip(3), **BEARER)
            assert added.status == 201
            assert "new" in [track["name"] for track in server.ask("GET", "/v1/tracks").value["tracks"]]
            assert server.ask("DELETE", f"/v1/tracks/{added.value['id']}", **BEARER).status == 204
        assert server.opened[0].database.n_tracks == 2
        assert server.ask("POST", "/v1/identify", clip(2)).value["answers"][0]["track"] == str(MUSIC[2])


def test_a_commit_that_shows_later_than_its_file_changes_is_not_missed(filled, tmp_path):
    shutil.copytree(filled, tmp_path / "db")
    with contextlib.closing(served.ServedDatabase(tmp_path / "db", runtime="numpy")) as reader:
        assert not reader.refresh()
        with database.Database.open(tmp_path / "db") as other, other.writer() as writing:
            writing.append("new", 10.0, other.rows.read(0, 19))
            files = [path for path in (tmp_path / "db").iterdir() if path.name.startswith("catalogue")]
            assert reader.refresh()
            assert reader.n_tracks == 4
            for path in files:  # As if a reader had looked between the write and the commit: no time tells them apart.
                os.utime(path, ns=(0, 0))
            assert not reader.refresh()
            writing.remove(["new"])
            for path in files:
                os.utime(path, ns=(0, 0))
            assert reader.refresh()
            assert reader.n_tracks == 3


def test_a_name_that_is_no_text_is_told_in_every_answer(changing):
    server, folder = changing
    samples = decode.load(MUSIC[3], sample_rate_hz=8000)
    name = "caf\udce9.wav"  # A byte that is no UTF-8, as Python keeps it.
    with database.Database.open(folder) as other:
        with other.writer() as writing:
            writing.append(name, len(samples) / 8000, server.opened[0].database.network.track(samples))
        soon(lambda: server.opened[0].database.n_tracks == 4)
        assert server.ask("POST", "/v1/identify", clip(3)).value["answers"][0]["track"] == name
        music = server.ask("POST", "/v1/identify?format=acrcloud", clip(3)).value["metadata"]["music"]
        assert music[0]["title"] == name.removesuffix(".wav")
        assert server.ask("GET", "/v1/tracks?after=3").value["tracks"][0]["name"] == name
        other.remove([name])
        soon(lambda: server.opened[0].database.n_tracks == 3)


def test_a_database_that_cannot_be_read_anew_goes_on_answering(changing, monkeypatch, caplog):
    server, _ = changing
    served = server.opened[0].database

    def fail():
        raise errors.Invalid("damaged")

    monkeypatch.setattr(served, "refresh", fail)
    time.sleep(0.6)
    assert server.ask("POST", "/v1/identify", clip(0)).value["answers"]


def test_tokens_are_compared_whole_and_short_ones_refused(tmp_path, monkeypatch):
    chosen = settings.ServeSettings("db", token=TOKEN)
    assert chosen.opens(TOKEN)
    assert not any(chosen.opens(given) for given in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\ud800"))
    assert not settings.ServeSettings("db").opens("")
    monkeypatch.delenv("NAFP_TOKEN", raising=False)
    assert settings.token(None) is None
    monkeypatch.setenv("NAFP_TOKEN", TOKEN)
    assert settings.token(None) == TOKEN
    (tmp_path / "token").write_text("f" * 64 + "\n")
    assert settings.token(str(tmp_path / "token")) == "f" * 64
    for text in ("", "short", "x" * 15, "with a space in it, though long"):
        (tmp_path / "token").write_text(text)
        with pytest.raises(errors.Invalid, match="16 or more visible ASCII"):
            settings.token(str(tmp_path / "token"))
    with pytest.raises(errors.Invalid, match="cannot be read"):
        settings.token(str(tmp_path / "none"))
    with pytest.raises(errors.Invalid, match="--sending_s=0"):
        settings.check(settings.ServeSettings("db", sending_s=0))
    with contextlib.suppress(errors.Invalid):
        settings.check(settings.ServeSettings("db"))
