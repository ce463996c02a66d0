"""A page without a server: written by `nafp page`, it identifies in the browser as Python does, offline, too."""

import functools
import http.server
import re
import threading
import types
from collections.abc import Iterator

import numpy as np
import pytest

from nafp.audio import decode
from nafp.database import database
from nafp.identify import answers, asking, identifier
from nafp.search import collection, confidence, store
from nafp.serving import site
from tests.serving.conftest import MUSIC, wav


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web host that knows nothing of us."""

    def log_message(self, *_: object) -> None:
        pass


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


@pytest.fixture(scope="module")
def shared(chromium, host):
    with chromium.page(host) as page:
        yield page.ready()


def test_two_tracks_in_one_clip_are_both_named_with_their_parts(shared):
    pieces = [decode.load(MUSIC[n], sample_rate_hz=16_000, start_s=5.0, seconds=8.0) for n in (0, 2)]
    shared.drop("both.wav", wav(np.concatenate(pieces), 16_000))
    shared.tab.get_by_text("both.wav: found.").wait_for()
    best, other = shared.answered(), shared.tab.locator("#others li").all_inner_texts()
    said = " ".join([best.title, best.place, *other])
    assert {best.title, other[0].partition(" at ")[0]} == {"Title 0", "Title 2"}
    assert re.search(r"Title 0\b[^T]*0:05[^T]*heard from 0:00 to 0:0[6-9] of the clip", said)
    assert re.search(r"Title 2\b[^T]*0:0[4-6][^T]*heard from 0:(0[7-9]|10) to 0:1[56] of the clip", said)
    assert shared.tab.get_by_role("list", name="Also in this clip").count() == 1


def test_a_clip_with_talk_around_its_track_is_named(shared):
    """The talk is noise here: what counts is that it is in no collection."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, 5 * 16_000)).astype(np.float32)
    music = decode.load(MUSIC[1], sample_rate_hz=16_000, start_s=12.0, seconds=6.0)
    shared.drop("talk.wav", wav(np.concatenate([noise[0], music, noise[1]]), 16_000))
    shared.tab.get_by_text("talk.wav: found.").wait_for()
    answer = shared.answered()
    assert answer.title == "Title 1"
    assert re.fullmatch(r"0:1[12]\.\d of 0:30, heard from 0:0[4-6] to 0:1[0-2] of the clip", answer.place)
    assert float(answer.sure.rstrip(" %")) > 90


def test_a_clip_at_another_speed_is_named_without_a_server(shared):
    samples = decode.load(MUSIC[0], sample_rate_hz=16_000, start_s=6.0, seconds=8.0)
    shared.drop("fast.wav", wav(samples, round(16_000 * 1.06)))
    shared.tab.get_by_text("fast.wav: found.").wait_for()
    assert shared.answered().title == "Title 0"
    assert float(shared.text("answer-speed").rstrip(" %")) == pytest.approx(6, abs=1)


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
            vectors = {speed: asking.fingerprints(network, waves) for speed, waves in framed.items() if len(waves)}
            ranked = asked._places(asked._find(vectors, look.shifts), look.shifts, 3)
            wanted.append(asked._in_parts(ranked, 3).answers)
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
    for page_answers, ours in zip(found, wanted):
        assert [answer["track"] for answer in page_answers] == [answer.track.rpartition("/")[2] for answer in ours]
        for answer, own in zip(page_answers, ours):
            for name in ("start_s", "score", "probability", "margin", "speed", "from_s", "to_s"):
                assert answer[name] == pytest.approx(getattr(own, name), abs=2e-3), name


NEIGHBOURS = 20
CALIBRATION = confidence.Confidence(
    [1, 4, 9, 19],
    np.array([[-3, 8, 4], [-3, 12, 4], [-4, 20, 5], [-4, 30, 6]], float),
    np.array([0.5, 0.3, 0.2, 0.15]),
)


def collection_of_noise(rng: np.random.Generator) -> collection.Collection:
    """Draws four tracks whose rows resemble their neighbours, and copies. The fourth holds a part of the first.

    The copies are of the third track: one of the same rows, and one cut half a row later.
    """
    parts = []
    for number, n in enumerate((40, 25, 61, 33)):
        drawn = rng.standard_normal((n + 3, 32))
        part = drawn[:-3] + drawn[1:-2] + drawn[2:-1] + drawn[3:]
        if number == 3:
            part[5:25] = 2 * parts[0][10:30] + 0.5 * rng.standard_normal((20, 32))
        parts.append(part / np.linalg.norm(part, axis=1, keepdims=True))
    later = parts[2][:-1] + parts[2][1:]
    parts += [parts[2], later / np.linalg.norm(later, axis=1, keepdims=True)]
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


class Exhaustive:
    """Searches all rows of a collection, as the page does."""

    def __init__(self, rows: collection.Collection):
        self.rows = rows.read(0, len(rows))

    def search(self, queries: np.ndarray, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
        cosines = queries @ self.rows.T
        near = np.argsort(-cosines, axis=1)[:, :NEIGHBOURS]
        return np.take_along_axis(cosines, near, axis=1), near


def in_parts(rows: collection.Collection, rng: np.random.Generator) -> Iterator[tuple[dict[float, np.ndarray], int]]:
    """Yields clips that hold tracks in parts of them: one between noise, two, at other speeds, with more rows."""
    for case in range(8):
        shifts, n_noise = 1 + case % 2, (0, 12, 7)[case % 3]
        places = [(case % 4, 2 + case, 12)] + [(2, 20, 14)] * (case > 2)
        by_speed = {}
        for speed in (1.0,) if case % 4 < 2 else (1.0, 0.97):
            pieces = [rng.standard_normal((n_noise * shifts, 32))]
            for track, first, n in places:
                own = rows.read(int(rows.first_rows[track]) + first, int(rows.first_rows[track]) + first + n)
                level = 0.15 if speed == (1.0, 0.97)[case // 6] else 0.5
                pieces += [np.repeat(own, shifts, axis=0) + level * rng.standard_normal((n * shifts, 32)) / 6]
                pieces += [rng.standard_normal((n_noise * shifts, 32))]
            noisy = np.concatenate(pieces)
            by_speed[speed] = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
        yield by_speed, shifts


def compared_with_python(page, rows, looks) -> list[list[answers.Answer]]:
    """Asks the page and Python the same, and returns what Python answers before it tells it exactly."""
    network = types.SimpleNamespace(segment=8000, hop=4000, sample_rate_hz=8000)
    asked = identifier.Identifier(network, rows, Exhaustive(rows), confidence=CALIBRATION)
    given, wanted = [], []
    for by_speed, shifts in looks:
        wanted.append(asked._in_parts(asked._places(asked._find(by_speed, shifts), shifts, 3), 3).answers)
        counts, flat = [len(own) for own in by_speed.values()], np.concatenate(list(by_speed.values())).ravel()
        given.append({"speeds": list(by_speed), "counts": counts, "vectors": flat.tolist(), "shifts": shifts})
    stored = {
        "tracks": [{"name": name, "rows": int(n)} for name, n in zip(rows.tracks, rows.end_rows - rows.first_rows)],
        "bits": rows.read(0, len(rows)).astype("<f2").view("<u2").ravel().tolist(),
        "law": site.law(k=NEIGHBOURS),
        "calibration": CALIBRATION.as_record(),
    } | {"dtype": "float16", "dim": 32, "gain": 1, "hop_s": 0.5, "segment_s": 1.0}
    found = page.run(
        """async ([stored, looks]) => {
            const {Index} = await import("/page/search.js");
            const index = new Index({...stored, buffer: Uint16Array.from(stored.bits).buffer});
            const typed = look => ({...look, vectors: Float32Array.from(look.vectors)});
            return looks.map(look => index.identify(typed(look), 3, 0).answers);
        }""",
        [stored, given],
    )
    names = ("track", "start_s", "score", "probability", "margin", "speed", "from_s", "to_s")
    for page_answers, own in zip(found, wanted, strict=True):
        assert [[answer[name] for name in names] for answer in page_answers] == [
            [one.track, *(pytest.approx(getattr(one, name), abs=1e-5) for name in names[1:])] for one in own
        ]
    return wanted


def test_its_search_is_that_of_python_to_the_last_digits(shared):
    rng = np.random.default_rng(1)
    rows = collection_of_noise(rng)
    wanted = compared_with_python(shared, rows, clips_of(rows, rng))
    assert {answer.speed for own in wanted for answer in own} > {1.0, 1.06}  # And speeds between those tried.


def test_it_finds_tracks_in_parts_of_a_clip_as_python_does(shared):
    rng = np.random.default_rng(2)
    rows = collection_of_noise(rng)
    wanted = compared_with_python(shared, rows, in_parts(rows, rng))
    sure = [[answer for answer in own if answer.probability > 0.9] for own in wanted]
    assert {len(own) for own in sure} >= {1, 2}
    assert sum(answer.from_s > 3 for own in sure for answer in own) > 3
    assert 0.97 in {answer.speed for own in sure for answer in own}


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
