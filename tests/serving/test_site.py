"""A page without a server: written by `nafp page`, it identifies in the browser as Python does, offline, too."""

import functools
import http.server
import json
import threading

import numpy as np
import pytest

from nafp import errors
from nafp.audio import decode
from nafp.database import database
from nafp.identify import asking, identifier
from nafp.serving import page_files, site
from nafp.verbs import page as verb
from tests import databases
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
        assert float(answer.place.split()[0].split(":")[1]) == pytest.approx(6.0, abs=0.4)
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


def test_its_search_gives_the_answers_of_python_on_the_same_vectors(chromium, host, filled):
    with database.Database.open(filled) as opened, chromium.page(host) as page:
        network = opened.network(runtime="numpy")
        asked = identifier.Identifier(network, opened.rows, opened.index, confidence=opened.confidence)
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


def test_only_a_small_collection_becomes_a_page(tmp_path, monkeypatch):
    databases.filled(tmp_path / "db", 2).close()
    monkeypatch.setattr(site, "LARGEST_ROWS", 60)
    with pytest.raises(errors.Invalid, match="nafp serve is for larger collections"):
        verb.run(str(tmp_path / "db"), out=tmp_path / "page")
    databases.filled(tmp_path / "empty", 0).close()
    with pytest.raises(errors.Invalid, match="has no track"):
        verb.run(str(tmp_path / "empty"), out=tmp_path / "page")
