"""The page in a real browser: it listens, takes files, shows the collection, and says what is wrong."""

import json
import re
import shutil
from urllib import parse

import numpy as np
import pytest

from nafp.audio import channels, decode
from nafp.identify import asking, brief
from nafp.serving import page_files
from tests.serving.conftest import MUSIC, TOKEN, RunningServer, clip, wav

SECONDS = r"(\d+):(\d\d\.\d)"
LATE_S = 6.0  # The file of the microphone begins when it is opened; a busy machine hears it later.


@pytest.fixture(scope="module")
def served(filled, tmp_path_factory):
    """A server over a copy of the database, that plays the recordings."""
    folder = tmp_path_factory.mktemp("page") / "db"
    shutil.copytree(filled, folder)
    with RunningServer(folder, play=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(chromium, served):
    """A page for the tests that leave it as it was: to load one costs a second."""
    with chromium.page(f"http://127.0.0.1:{served.port}/") as opened:
        yield opened.ready()


@pytest.fixture
def page(shared):
    shared.sent.clear()
    yield shared
    shared.tab.unroute_all()
    assert shared.complaints == []


def place_s(answer) -> float:
    minutes, seconds = re.match(SECONDS, answer.place).groups()
    return 60 * int(minutes) + float(seconds)


def posted(page) -> list[int]:
    return [size for address, size in page.sent if "/v1/identify" in address]


def asked_speeds(page) -> list[list[str]]:
    """Returns the speeds of each question that was sent."""
    queries = [parse.parse_qs(parse.urlsplit(address).query) for address, _ in page.sent]
    return [query["speeds"][0].split(",") for query in queries if "speeds" in query]


def test_it_names_what_the_microphone_hears_and_keeps_the_sound(page, chromium):
    chromium.hear(MUSIC[1], start_s=5.0, seconds=12.0)
    status = page.listen()
    answer = page.answered()
    assert re.fullmatch(r"Found after [1-8] seconds? of sound\.", status)
    assert (answer.title, answer.by) == ("Title 1", "Somebody · <b>An album</b>")  # As text, not as HTML.
    assert 5.0 - 0.4 < place_s(answer) < 5.0 + LATE_S
    assert float(answer.sure.rstrip(" %")) > 90
    assert 0 < max(posted(page)) < 40_000  # A second of sound in 16 bits at 8 kHz has 16,000 bytes.
    assert "stays on this device" in page.text("sent")
    page.tab.wait_for_selector("#passage:not([hidden])")
    assert "Spectrograms of" in page.tab.get_attribute("#passage-picture", "aria-label")
    page.run("document.getElementById('reference').load()")
    page.until("document.getElementById('reference').readyState > 0")


def test_sound_is_sent_if_the_user_asks(page, chromium):
    chromium.hear(MUSIC[2], start_s=8.0, seconds=12.0)
    page.tab.get_by_text("Options", exact=True).click()
    box = page.tab.get_by_role("checkbox")
    box.check()
    page.listen()
    box.uncheck()
    page.tab.get_by_text("Options", exact=True).click()
    answer = page.answered()
    assert answer.title == "Title 2"
    assert 8.0 - 0.4 < place_s(answer) < 8.0 + LATE_S
    assert re.fullmatch(r"\d{2,} kB of sound were sent\.", page.text("sent"))  # Three seconds or more.


def test_a_file_is_dropped_and_named(page):
    page.drop("cafe.wav", clip(0, start_s=9.0, rate_hz=44_100))
    page.tab.get_by_text("cafe.wav: found.").wait_for()
    assert asked_speeds(page) == [["1"]]  # It is sure, so nothing else was sent.
    answer = page.answered()
    assert answer.title == "Title 0"
    assert place_s(answer) == pytest.approx(9.0, abs=0.2)
    page.drop("stranger.wav", clip(3))
    page.tab.get_by_text("stranger.wav: not in the collection.").wait_for()
    page.drop("<img src=x>.wav", b"no sound at all")
    page.tab.get_by_text("<img src=x>.wav: this browser cannot decode it.").wait_for()
    assert page.tab.locator("#drop img").count() == 0


def test_a_file_at_another_speed_is_named_by_its_fingerprints(page):
    samples = decode.load(MUSIC[0], sample_rate_hz=16_000, start_s=6.0, seconds=8.0)
    page.drop("fast.wav", wav(samples, round(16_000 * 1.06)))
    page.tab.get_by_text("fast.wav: found.").wait_for()
    assert asked_speeds(page) == [["1"], ["1", *map(str, asking.SPEEDS)]]
    assert page.answered().title == "Title 0"
    assert float(page.text("answer-speed").rstrip(" %")) == pytest.approx(6, abs=1)


def heard(track: str, start_s: float, from_s: float = 0.0, to_s: float = 10.0, probability: float = 0.99) -> dict:
    """Returns an answer to a window of ten seconds."""
    return {
        **{"track": track, "start_s": start_s, "from_s": from_s, "to_s": to_s},
        **{"probability": probability, "margin": 0.5, "speed": 1.0},
    }


def test_windows_of_a_long_file_become_stretches(page):
    windows = [
        [0, [heard("a", 4.0)]],
        [5, [heard("a", 9.0), heard("c", 1.0, probability=0.0)]],
        [10, [heard("a", 14.0)]],
        [15, [heard("a", 19.0, to_s=8.0)]],  # To 23 s.
        [20, [heard("b", 30.0 - 1.0, from_s=1.0)]],  # From 21 s on.
        [25, [heard("b", 34.0)]],
        [30, [heard("c", 7.0, probability=0.5)]],  # Not sure.
        [40, [heard("a", 4.0)]],  # The same track once more, from its beginning.
        [45, [heard("a", 9.0)]],
    ]
    stretches = page.run(
        """async windows => {
            const {added} = await import("/page/timeline.js"), stretches = [];
            for (const [at, answers] of windows) added(stretches, at, at + 10, answers, {sure: 0.9, sure_margin: 0.2});
            return stretches.map(one => [one.track, one.fromS, one.toS, one.startS]);
        }""",
        windows,
    )
    assert stretches == [["a", 0, 22, 4], ["b", 22, 35, 31], ["a", 40, 55, 4]]


@pytest.mark.slow
def test_a_long_file_becomes_a_timeline(page):
    """The fast test, of made-up answers, is test_windows_of_a_long_file_become_stretches."""
    parts = [(0, 4.0, 22.0), (3, 2.0, 20.0), (2, 3.0, 22.0)]  # The middle one is in no collection.
    sound = [decode.load(MUSIC[n], sample_rate_hz=8000, start_s=at, seconds=s) for n, at, s in parts]
    page.drop("set.wav", wav(np.concatenate(sound), 8000))
    page.tab.get_by_text("set.wav: 2 stretches of known tracks.").wait_for()
    rows = [row.split("\t") for row in page.tab.locator("#stretches tbody tr").all_inner_texts()]
    assert [row[2] for row in rows] == ["Title 0", "Title 2"]
    seconds = [[60 * int(m) + int(s) for m, s in (cell.split(":") for cell in row[:2])] for row in rows]
    np.testing.assert_allclose(seconds, [[0, 22], [42, 64]], atol=5)
    assert page.tab.locator("#timeline span").count() == 2


def test_a_long_file_that_is_sent_is_monitored_by_the_server(chromium, served):
    health = served.ask("GET", "/v1/health").value
    health["limits"]["seconds"] = 10.0  # To the page, more is long.
    parts = [(0, 4.0, 9.0), (3, 2.0, 7.0), (2, 3.0, 9.0)]  # The middle one is in no collection.
    sound = [decode.load(MUSIC[n], sample_rate_hz=8000, start_s=at, seconds=s) for n, at, s in parts]
    with chromium.page("about:blank") as page:
        page.tab.route("**/v1/health", lambda route: route.fulfill(json=health))
        page.tab.goto(f"http://127.0.0.1:{served.port}/")
        page.ready().tab.get_by_text("Options").click()
        page.tab.get_by_label("Send the sound itself").check()
        page.drop("set.wav", wav(np.concatenate(sound), 8000))
        page.tab.get_by_text("set.wav: 2 stretches of known tracks.").wait_for()
        rows = [row.split("\t") for row in page.tab.locator("#stretches tbody tr").all_inner_texts()]
        assert [row[2] for row in rows] == ["Title 0", "Title 2"]
        seconds = [[60 * int(m) + int(s) for m, s in (cell.split(":") for cell in row[:2])] for row in rows]
        np.testing.assert_allclose(seconds, [[0, 9], [16, 25]], atol=2)
        assert posted(page) == []
        # What the server says of a stream is told, too.
        served.opened[0].settings = served.settings._replace(listeners=0)
        page.drop("set.wav", wav(np.concatenate(sound), 8000))
        page.tab.get_by_text("The server says: 0 streams are being listened to already.").wait_for()
        served.opened[0].settings = served.settings


def test_without_permission_it_says_so(chromium, served):
    with chromium.page(f"http://127.0.0.1:{served.port}/", microphone=False) as page:
        assert page.ready().listen().startswith("This page may not use the microphone.")


def test_a_server_that_is_gone_is_told(page, chromium):
    chromium.hear(MUSIC[1], start_s=5.0, seconds=5.0)
    page.tab.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    assert page.listen().startswith("The server does not answer.")
    assert "ERR_CONNECTION_REFUSED" in page.complaints.pop()


def test_fingerprints_of_another_network_are_refused(chromium, served):
    address = f"http://127.0.0.1:{served.port}/"
    chromium.hear(MUSIC[1], start_s=5.0, seconds=5.0)
    health = served.ask("GET", "/v1/health").value
    health["network"]["sha256"] = "0" * 64
    with chromium.page("about:blank") as page:
        page.tab.route("**/v1/health", lambda route: route.fulfill(json=health))
        page.tab.goto(address)
        assert "fingerprints of two networks cannot be compared" in page.ready().listen()
        assert "409" in page.complaints.pop()


def test_the_collection_is_searched_extended_and_cut(page, served):
    def titles() -> list[str]:
        return page.tab.locator("#tracks li > span:first-child > span:first-child").all_inner_texts()

    assert page.text("size").startswith("3 tracks, ")
    assert titles() == ["Title 0", "Title 1", "Title 2"]
    page.tab.get_by_label("Search").fill("title 1")
    page.until("document.querySelectorAll('#tracks li').length === 1")
    assert titles() == ["Title 1"]
    page.tab.get_by_label("Search").fill("")
    page.tab.get_by_text("Add and remove").click()
    page.tab.get_by_label("Token").fill("of another server")
    page.tab.get_by_label("Recording", exact=True).set_input_files(MUSIC[3])
    page.tab.get_by_role("button", name="Add", exact=True).click()
    page.tab.get_by_text("The server does not accept this token.").wait_for()
    assert "401" in page.complaints.pop()
    page.tab.get_by_label("Token").fill(TOKEN)
    page.tab.get_by_label("Recording", exact=True).set_input_files(MUSIC[3])
    page.tab.get_by_label("Title", exact=True).fill("<i>New</i>")
    page.tab.get_by_role("button", name="Add", exact=True).click()
    page.tab.get_by_text("Added: <i>New</i>").wait_for()
    page.until("document.querySelectorAll('#tracks li').length === 4")
    assert page.text("size").startswith("4 tracks, ")
    page.tab.get_by_role("button", name="Remove <i>New</i>").click()
    page.tab.get_by_role("button", name="Remove it").click()
    page.tab.get_by_text("Removed: <i>New</i>").wait_for()
    page.until("document.querySelectorAll('#tracks li').length === 3")
    assert len(titles()) == 3
    page.tab.get_by_label("Token").fill("")


def test_it_computes_what_our_network_computes(page, served):
    samples = decode.load(MUSIC[0], sample_rate_hz=8000, start_s=3.0, seconds=4.0)
    samples[8000:17_000] = 0  # A silent second.
    computed = page.run(
        """async samples => {
            const {Engine} = await import("/page/engine.js");
            const {network, asking} = await (await fetch("/v1/health")).json();
            const engine = new Engine();
            await engine.call("open", {address: new URL(network.onnx, location).href, about: network, asking});
            const clip = engine.clip(8000);
            for (let at = 0; at < samples.length; at += 3000) {
                clip.hear(Float32Array.from(samples.slice(at, at + 3000)), at + 3000 >= samples.length);
            }
            const {counts, vectors} = await clip.look([1], 1);
            return {counts, vectors: [...vectors]};
        }""",
        samples.tolist(),
    )
    network = served.opened[0].database.network
    wanted, got = network.track(samples), np.reshape(computed["vectors"], (-1, network.dim))
    assert computed["counts"] == [len(wanted)]
    heard = np.array([np.count_nonzero(samples[at : at + 8000]) / 8000 for at in range(0, len(samples) - 7999, 4000)])
    assert (heard == 0).any()
    assert not got[heard == 0].any()
    np.testing.assert_allclose(got[heard > 0.9], wanted[heard > 0.9], atol=5e-5)
    # Beside silence, what the browser rounds otherwise lies at the floor of the spectrogram, and weighs more.
    assert (np.vecdot(got, wanted)[heard > 0] > 1 - 1e-6).all()


@pytest.mark.parametrize("from_hz, to_hz", [(48_000, 8000), (44_100, 8000), (44_100, 7520), (16_000, 8480)])
def test_its_resampler_agrees_with_ours(page, from_hz, to_hz):
    samples = decode.load(MUSIC[0], sample_rate_hz=from_hz, start_s=5.0, seconds=1.0)
    got = page.run(
        """async ([samples, from, to]) => {
            const {Resampler} = await import("/page/sound.js"), resampler = new Resampler(from, to);
            const half = samples.length >> 1;
            return [...resampler.push(Float32Array.from(samples.slice(0, half))),
                    ...resampler.push(Float32Array.from(samples.slice(half)), true)];
        }""",
        [samples.tolist(), from_hz, to_hz],
    )
    wanted = decode.resample(samples, from_hz=from_hz, to_hz=to_hz)
    n = min(len(got), len(wanted))
    assert abs(len(got) - len(wanted)) <= 1
    inside = slice(200, n - 200)
    error = np.subtract(got[:n], wanted[:n])[inside]
    assert np.sqrt(np.mean(error**2)) < 0.03 * np.sqrt(np.mean(wanted[:n][inside] ** 2))  # -30 dB, at the upper edge.


@pytest.mark.parametrize("weights", [(1,), (1, 0.5), (1, -1), (1, -1, 1, -1), (0, 1, -1), (1, -1, 0.5)])
def test_it_averages_channels_as_we_do(page, weights):
    samples = decode.load(MUSIC[0], sample_rate_hz=8000, start_s=5.0, seconds=2.0)
    heard = samples[:, None] * np.array(weights, np.float32)
    got = page.run(
        """async channels => {
            const {averaged} = await import("/page/sound.js");
            return [...averaged(channels.map(samples => Float32Array.from(samples)), 8000)];
        }""",
        heard.T.tolist(),
    )
    wanted = np.concatenate([channels.averaged(second) for second in np.split(heard, 2)])
    assert np.square(wanted).mean() > 0.01 * np.square(samples).mean()
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("n_samples", [4000, 4001, 7999, 8000, 9000])
def test_it_continues_a_brief_clip_as_we_do(page, served, n_samples):
    samples = np.arange(n_samples, dtype=np.float32)
    got = page.run(
        """async samples => {
            const {whole, before} = (await import("/page/sound.js")).continued(Float32Array.from(samples), 8000);
            return [[...whole], before];
        }""",
        samples.tolist(),
    )
    wanted = brief.continued(samples, served.opened[0].database.network, sample_rate_hz=8000)
    assert got == [wanted.samples.tolist(), 8000 * wanted.lead_s]


def test_the_page_may_run_nothing_but_its_own_files(running):
    answer = running.ask("GET", "/")
    assert answer.headers["content-security-policy"] == page_files.POLICY
    assert "unsafe-inline" not in page_files.POLICY
    html = answer.value.decode()
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:|https?://", html)
    for name, file in page_files.files().items():
        got = running.ask("GET", f"/page/{name}")
        assert (got.status, got.value, got.headers["content-type"]) == (200, file.data, file.media_type)
        etag = got.headers["etag"]
        assert running.ask("GET", f"/page/{name}", If_None_Match=etag).status == 304
        if name.endswith(".js"):
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(", file.data.decode())


@pytest.mark.parametrize(
    "name",
    ["nowhere.js", "../app.py", "..%2fapp.py", "%2e%2e/openapi.json", "ort/../../app.py", "/etc/passwd", "ort", ""],
)
def test_no_path_of_a_request_reaches_the_file_system(running, name):
    answer = running.ask("GET", f"/page/{name}")
    assert (answer.status, set(answer.value)) == (404, {"error"})


def test_a_browser_gets_the_network_of_the_database(running):
    network = running.ask("GET", "/v1/health").value["network"]
    answer = running.ask("GET", network["onnx"])
    assert (answer.status, "immutable" in answer.headers["cache-control"]) == (200, True)
    assert network["sha256"].encode() in answer.value
    assert running.ask("GET", "/v1/networks/00ff.onnx").status == 404


def test_recordings_are_played_only_by_a_server_that_was_told_to(running, served):
    assert running.ask("GET", "/v1/tracks/1/audio").status == 403
    answer = served.ask("GET", "/v1/tracks/2/audio?start_s=5&seconds=2")
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
    held = np.frombuffer(answer.value[44:], "<i2") / 32767
    wanted = decode.load(MUSIC[1], sample_rate_hz=24_000, start_s=5.0, seconds=2.0)
    np.testing.assert_allclose(held, wanted, atol=1e-3)
    for query in ("start_s=-1", "start_s=x", "seconds=31", "seconds=nan"):
        assert served.ask("GET", f"/v1/tracks/2/audio?{query}").status == 400
    assert served.ask("GET", "/v1/tracks/2/audio?start_s=9999").status == 404
    assert served.ask("GET", "/v1/tracks/99/audio").status == 404


def test_a_track_that_came_over_http_names_no_file_of_the_server(served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.wav").write_bytes(clip(2))
    added = served.ask(
        "POST", "/v1/tracks?name=secret.wav", MUSIC[3].read_bytes(), Authorization=f"Bearer {TOKEN}"
    ).value
    assert served.ask("GET", f"/v1/tracks/{added['id']}/audio").status == 404
    named = served.ask("GET", "/v1/tracks?name=secret.wav").value
    assert [track["id"] for track in named["tracks"]] == [added["id"]]
    assert served.ask("GET", "/v1/tracks?name=secret").value == {"tracks": [], "next": None}
    assert served.ask("DELETE", f"/v1/tracks/{added['id']}", Authorization=f"Bearer {TOKEN}").status == 204
    assert json.dumps(named)
