"""A page without a server: written by `nafp page`, it identifies in the browser as Python does, offline, too."""

import functools
import http.server
import itertools
import json
import shutil
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from nafp import errors
from nafp.audio import decode
from nafp.database import database
from nafp.identify import asking, identifier
from nafp.jobs import locks
from nafp.search import collection, confidence, match, speeds, store
from nafp.serving import page_files, site
from nafp.verbs import page as verb
from tests import databases, victims
from tests.serving import browser
from tests.serving.conftest import MUSIC


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web host that knows nothing of us."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def written(filled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "page"
    assert verb.run(str(filled), out=folder) == 0
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.opened(tmp_path_factory.mktemp("microphone")) as opened:
        yield opened


@pytest.fixture(scope="module")
def host(written):
    handler = functools.partial(Quiet, directory=written)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_it_listens_without_a_server_and_without_a_network(chromium, host):
    chromium.hear(MUSIC[1], start_s=6.0, seconds=10.0)
    with chromium.page(host) as page:
        page.ready().run("navigator.serviceWorker.ready.then(() => 1)")
        page.tab.context.set_offline(True)
        page.tab.reload()
        page.ready()
        assert page.listen().startswith("Found after")
        answer = page.answered()
        assert answer.title == "Title 1"
        assert 6.0 - 0.4 < float(answer.place.split()[0].split(":")[1]) < 12.0  # A busy machine hears the file late.
        assert page.text("sent") == "Everything is computed on this device."
        assert page.text("size").startswith("3 tracks, ")
        assert page.tab.locator("#options").is_hidden()
        page.tab.get_by_label("Search").fill("title 2")
        page.until("document.querySelectorAll('#tracks li').length === 1")


_SEARCH = """async looks => {
    const {Index} = await import("/page/search.js"), of = name => fetch(`/collection/${name}`);
    const [about, tracks] = [await (await of("about.json")).json(), await (await of("tracks.json")).json()];
    const buffer = await (await of("fingerprints.bin")).arrayBuffer();
    const index = new Index({...about.index, ...about.network, buffer, tracks});
    return looks.map(look => index.identify({...look, vectors: Float32Array.from(look.vectors)}, 3, 0).answers);
}"""


def looks(network):
    """Yields clips as Python and the page look at them: at one speed and at several, with silence, with noise."""
    policy = asking.policy(hop_s=network.hop / network.sample_rate_hz)
    noise = np.random.default_rng(0)
    for number, start_s, seconds, speed, level in (
        (0, 5.2, 1.1, 1.0, 0.0),
        (1, 0.0, 4.0, 1.0, 0.05),
        (2, 7.3, 6.0, 1.03, 0.0),
        (2, 20.25, 9.0, 1.0, 0.2),
        (3, 5.0, 5.0, 1.0, 0.0),  # In no collection.
    ):
        samples = decode.load(MUSIC[number], sample_rate_hz=16_000, start_s=start_s, seconds=seconds)
        samples = samples + level * noise.standard_normal(len(samples)).astype(np.float32)
        if seconds > 5:
            samples[8000:26_000] = 0
        yield policy.first, samples, round(16_000 * speed)
        yield policy.closer(clip_s=seconds), samples, round(16_000 * speed)


@pytest.mark.slow
def test_its_search_gives_the_answers_of_python_on_the_same_vectors(chromium, host, filled):
    """The fast test, of random vectors, is test_its_search_is_that_of_python_to_the_last_digits."""
    with database.Database.open(filled) as opened, chromium.page(host) as page:
        assert opened.confidence is not None
        network = opened.network(runtime="numpy")
        asked = identifier.Identifier(network, opened.rows, opened.index, confidence=opened.confidence.plain)
        given, wanted = [], []
        for look, samples, rate_hz in looks(network):
            framed = {speed: asked._framed(samples, rate_hz, speed, look.shifts) for speed in look.speeds}
            vectors = {speed: asked._fingerprints(waves) for speed, waves in framed.items() if len(waves)}
            ranked = asked._places(
                asked._find(vectors, look.shifts), look.shifts, 3
            )  # Of the whole clip, not of parts.
            wanted.append(ranked.answers)
            given.append(
                {
                    "speeds": list(vectors),
                    "counts": [len(rows) for rows in vectors.values()],
                    "vectors": np.concatenate(list(vectors.values())).ravel().tolist(),
                    "shifts": look.shifts,
                }
            )
        found = page.run(_SEARCH, given)
    assert len(found) == 10
    for answers, ours in zip(found, wanted):
        assert [answer["track"] for answer in answers] == [answer.track.rpartition("/")[2] for answer in ours]
        for answer, own in zip(answers, ours):
            for name in ("start_s", "score", "probability", "margin", "speed", "from_s", "to_s"):
                assert answer[name] == pytest.approx(getattr(own, name), abs=2e-3), name


CALIBRATION = confidence.Confidence(
    [1, 4, 9, 19],
    np.array([[-3, 8, 4], [-3, 12, 4], [-4, 20, 5], [-4, 30, 6]], float),
    np.array([0.5, 0.3, 0.2, 0.15]),
)


def collection_of_noise(rng: np.random.Generator) -> collection.Collection:
    """Draws four tracks whose rows resemble their neighbours. The last one holds a part of the first."""
    parts = []
    for number, n in enumerate((40, 25, 61, 33)):
        drawn = rng.standard_normal((n + 3, 32))
        part = drawn[:-3] + drawn[1:-2] + drawn[2:-1] + drawn[3:]
        if number == 3:
            part[5:25] = 2 * parts[0][10:30] + 0.5 * rng.standard_normal((20, 32))
        parts.append(part / np.linalg.norm(part, axis=1, keepdims=True))
    edges = np.cumsum([0, *map(len, parts)])
    tracks = [store.TrackRows(f"t{n}", int(edges[n]), len(part), len(part) / 2) for n, part in enumerate(parts)]
    return collection.Collection([np.concatenate(parts).astype(np.float16).astype(np.float32)], tracks, hop_s=0.5)


def clips_of(rows: collection.Collection, rng: np.random.Generator) -> Iterator[tuple[dict[float, np.ndarray], int]]:
    """Yields clips as vectors by speed, and their shifts: on rows and between them, slower and faster, with silence."""
    for case in range(14):
        n, shifts, track = (1, 2, 18, 9, 19, 16, 15)[case % 7], 1 + case % 2, case % 4
        own = rows.read(int(rows.first_rows[track]), int(rows.end_rows[track])).astype(float)
        steps = np.arange(n * shifts - (shifts > 1 and n > 1)) / shifts * (0.9, 1.0, 1.1)[case % 3]
        at = np.clip(steps + 1.3 * (case % 5) + case % 2 / 2 - 3 * (case == 9), 0, len(own) - 1.001)
        clean = own[at.astype(int)] * (1 - at % 1)[:, None] + own[at.astype(int) + 1] * (at % 1)[:, None]
        by_speed = {}
        for speed in (1.0,) if case < 4 else (1.0, 0.94, 1.06):
            level = {1.0: 0.15, 0.94: 9.0, 1.06: 0.12}[speed] * (2 if case % 3 == 0 and speed == 1 else 1)
            noisy = clean + level * rng.standard_normal(clean.shape)
            noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
            noisy[2:3] = 0
            by_speed[speed] = noisy.astype(np.float32)
        yield by_speed, shifts


def test_its_search_is_that_of_python_to_the_last_digits(chromium, host):
    rng = np.random.default_rng(1)
    rows, k, given, wanted = collection_of_noise(rng), 20, [], []
    for by_speed, shifts in clips_of(rows, rng):
        heard = []
        for speed, vectors in by_speed.items():
            near = np.argsort(-(vectors @ rows.read(0, len(rows)).T), axis=1)[:, :k]
            near[~vectors.any(axis=1)] = -1
            heard.append(speeds.ClipAtSpeed(speed, vectors, near, [len(vectors[::shifts])]))
        wanted.append(ranked(speeds.rank(heard, rows, shifts=shifts, top=1 << 20)[0], rows, heard[0].vectors[::shifts]))
        counts, flat = [len(own) for own in by_speed.values()], np.concatenate(list(by_speed.values())).ravel()
        given.append({"speeds": list(by_speed), "counts": counts, "vectors": flat.tolist(), "shifts": shifts})
    stored = {
        "tracks": [{"name": name, "rows": int(n)} for name, n in zip(rows.tracks, rows.end_rows - rows.first_rows)],
        "bits": rows.read(0, len(rows)).astype("<f2").view("<u2").ravel().tolist(),
        "law": speeds.law() | {"k": k},
        "calibration": CALIBRATION.as_record(),
    } | {"dtype": "float16", "dim": 32, "gain": 1, "hop_s": 0.5, "segment_s": 1.0}
    with chromium.page(host) as page:
        found = page.run(
            """async ([stored, looks]) => {
                const {Index} = await import("/page/search.js");
                const index = new Index({...stored, buffer: Uint16Array.from(stored.bits).buffer});
                const typed = look => ({...look, vectors: Float32Array.from(look.vectors)});
                return looks.map(look => index.identify(typed(look), 3, 0).answers);
            }""",
            [stored, given],
        )
    names = ("track", "start_s", "score", "margin", "speed", "probability")
    for answers, own in zip(found, wanted, strict=True):
        assert [[answer[name] for name in names] for answer in answers] == [
            [one[0], *(pytest.approx(value, abs=1e-5) for value in one[1:])] for one in own
        ]
    assert {speed for own in wanted for *_, speed, _ in own} > {1.0, 1.06}  # And speeds between those tried.


def ranked(places: speeds.ClipRanking, rows: collection.Collection, query: np.ndarray) -> list[tuple]:
    """Returns track, start, score, margin, speed and probability of the three best tracks."""
    best, length = match.best_of_each_track(places.tracks)[:3], int(query.any(axis=1).sum())
    picked = match.Ranking(*(values[best] for values in places[:3]), places.elsewhere, places.starts[best])
    return [
        (
            *(found.track, found.start_s, found.score, found.margin, float(speed)),
            float(CALIBRATION.probability(length, np.array(found.score), np.array(found.margin))),
        )
        for found, speed in zip(match.matches(picked, rows), places.speeds[best])
    ]


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


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("about.json", '{"unfinished": true}', "This page was not written to its end."),
        ("tracks.json", "[]", "Not all files of this page are of the same collection."),
    ],
)
def test_a_page_that_is_not_whole_says_so(chromium, host, written, name, data, said):
    path = written / "collection" / name
    whole = path.read_bytes()
    path.write_text(data)
    with chromium.page(host) as page:
        page.until("document.getElementById('status').classList.contains('trouble')")
        assert page.text("status").startswith(said)
    path.write_bytes(whole)


def test_only_a_small_collection_becomes_a_page(tmp_path, monkeypatch):
    databases.filled(tmp_path / "db", 2).close()
    monkeypatch.setattr(site, "LARGEST_ROWS", 60)
    with pytest.raises(errors.Invalid, match="nafp serve is for larger collections"):
        verb.run(str(tmp_path / "db"), out=tmp_path / "page")
    databases.filled(tmp_path / "empty", 0).close()
    with pytest.raises(errors.Invalid, match="has no track"):
        verb.run(str(tmp_path / "empty"), out=tmp_path / "page")
