"""A clip over HTTP gets the answer of `nafp identify`, whichever way it comes: raw, in a form, as fingerprints."""

import json
import subprocess

import numpy as np
import pytest

from nafp.audio import decode, ffmpeg
from nafp.database import database
from nafp.identify import answers, clips
from nafp.verbs import identify
from tests.serving.conftest import FORM, MUSIC, RATE_HZ, RunningServer, clip, form, wav


def vectors(running: RunningServer, number=0, *, start_s=5.0, seconds=6.0):
    network = running.opened[0].database.network
    return network.track(decode.load(MUSIC[number], sample_rate_hz=RATE_HZ, start_s=start_s, seconds=seconds))


def of_network(running: RunningServer) -> str:
    return running.ask("GET", "/v1/health").value["network"]["sha256"]


@pytest.mark.parametrize("number, is_known", [(0, True), (2, True), (3, False)])
def test_the_answer_is_the_object_of_nafp_identify(running, filled, tmp_path, capsys, number, is_known):
    data = clip(number)
    path = tmp_path / "clip.wav"
    path.write_bytes(data)
    request = identify.IdentifyRequest([str(path)], str(filled), runtime="numpy", format="json")
    code = identify.run(request)
    line = json.loads(capsys.readouterr().out)
    answer = running.ask("POST", "/v1/identify?name=" + line["query"], data)
    assert (answer.status, code) == (200, identify.FOUND if is_known else identify.NOTHING)
    assert answer.value == line
    assert bool(line["answers"]) == is_known
    if is_known:
        assert line["answers"][0]["track"] == str(MUSIC[number])
        assert line["answers"][0]["start_s"] == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize("sound, says", [("silence", "silent"), ("two tracks", "holds 2 tracks or more")])
def test_the_remarks_are_those_of_nafp_identify(running, filled, tmp_path, capsys, sound, says):
    pieces = [np.zeros((8 * RATE_HZ,), np.float32)] * 2
    if sound == "two tracks":
        pieces = [decode.load(MUSIC[n], sample_rate_hz=RATE_HZ, start_s=5.0, seconds=8.0) for n in (0, 2)]
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(np.concatenate(pieces), RATE_HZ))
    identify.run(identify.IdentifyRequest([str(path)], str(filled), runtime="numpy", format="json"))
    line = json.loads(capsys.readouterr().out)
    assert line["remark"].startswith(says)
    assert running.ask("POST", "/v1/identify?name=" + line["query"], path.read_bytes()).value == line


def test_a_clip_in_another_key_is_found_and_its_pitch_told(running):
    samples = decode.load(MUSIC[0], sample_rate_hz=RATE_HZ, start_s=5.0, seconds=5.1)
    faster = decode.resample(samples, from_hz=1.25, to_hz=1.0)[: 4 * RATE_HZ]
    best = running.ask("POST", "/v1/identify?probability=0", wav(faster, RATE_HZ)).value["answers"][0]
    assert best["track"] == str(MUSIC[0])
    assert best["start_s"] == pytest.approx(5.0, abs=0.3)
    assert best["semitones"] == pytest.approx(12 * np.log2(1.25), abs=0.2)
    assert best["speed"] == pytest.approx(1.25, rel=0.01)


@pytest.mark.parametrize("field", ["sample", "file"])
def test_a_form_and_a_raw_body_get_the_same_answer(running, field):
    data = clip()
    raw = running.ask("POST", "/v1/identify?top=2&probability=0", data).value
    sent = form({"top": 2, "probability": 0, field: ("../../etc/passwd", data), "unheard_of": 1})
    in_form = running.ask("POST", "/v1/identify", sent, **FORM).value
    assert in_form["answers"] == raw["answers"]
    assert len(raw["answers"]) == 2
    assert (raw["query"], in_form["query"]) == ("", "../../etc/passwd")  # A label, and nothing else.


@pytest.mark.skipif(not ffmpeg.installed(), reason="no ffmpeg")
@pytest.mark.parametrize("container", ["webm", "mp3", "flac", "ipod"])
def test_any_container_is_heard(running, container):
    command = ["ffmpeg", "-v", "error", "-f", "wav", "-i", "-", "-f", container, "-"]
    if container == "ipod":
        command[-1:] = ["-movflags", "frag_keyframe+empty_moov", "-"]
    data = subprocess.run(command, input=clip(rate_hz=48_000), capture_output=True, check=True).stdout
    answer = running.ask("POST", "/v1/identify", data)
    assert answer.value["answers"][0]["track"] == str(MUSIC[0])


def test_clients_of_acrcloud_are_answered_in_their_words(running):
    fields = {"access_key": "k", "signature": "s", "data_type": "audio", "sample": ("clip.wav", clip(start_s=7.0))}
    value = running.ask("POST", "/v1/identify", form(fields), **FORM).value
    assert value["status"] == {"msg": "Success", "code": 0, "version": "1.0"}
    best = value["metadata"]["music"][0]
    assert (best["title"], best["artists"], best["album"]) == (
        "Title 0",
        [{"name": "Somebody"}],
        {"name": "<b>An album</b>"},
    )
    assert best["db_begin_time_offset_ms"] == pytest.approx(7000, abs=100)
    assert best["play_offset_ms"] == pytest.approx(12000, abs=300)
    assert best["duration_ms"] > 12000
    assert best["score"] > 90
    assert len(best["acrid"]) == 32
    unknown = running.ask("POST", "/v1/identify?format=acrcloud", clip(3)).value
    assert unknown["status"]["code"] == 1001
    unreadable = running.ask("POST", "/v1/identify?format=acrcloud", b"no sound" * 100)
    assert (unreadable.status, unreadable.value["status"]["code"]) == (422, 2004)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_fingerprints_get_the_answer_of_their_sound(running, dtype):
    sent = vectors(running).astype(dtype).tobytes()
    query = f"data_type=fingerprint&dtype={dtype}&network={of_network(running)}"
    value = running.ask("POST", f"/v1/identify?{query}", sent).value
    heard = running.ask("POST", "/v1/identify", clip(seconds=6.0, rate_hz=RATE_HZ)).value
    assert value["seconds"] == heard["seconds"] == 6.0
    assert value["answers"][0]["track"] == heard["answers"][0]["track"] == str(MUSIC[0])
    assert value["answers"][0]["start_s"] == pytest.approx(heard["answers"][0]["start_s"], abs=0.02)
    assert value["answers"][0]["score"] == pytest.approx(heard["answers"][0]["score"], abs=0.03)


def test_fingerprints_at_several_speeds_find_a_clip_that_plays_fast(running):
    network = running.opened[0].database.network
    samples = decode.load(MUSIC[1], sample_rate_hz=RATE_HZ, start_s=4.0, seconds=8.0)
    fast = decode.resample(samples, from_hz=1060, to_hz=1000)
    speeds = (1.0, 1.06, 0.94)
    parts = [network.track(decode.resample(fast, from_hz=1000, to_hz=1000 * speed)) for speed in speeds]
    rows, sent = ",".join(str(len(part)) for part in parts), np.concatenate(parts).astype("<f4").tobytes()
    query = f"data_type=fingerprint&network={of_network(running)}&speeds=1,1.06,0.94&rows={rows}"
    answer = running.ask("POST", f"/v1/identify?{query}", sent).value["answers"][0]
    assert (answer["track"], answer["speed"]) == (str(MUSIC[1]), pytest.approx(1.06, abs=0.01))


def test_a_clip_of_which_only_rows_between_those_of_the_database_say_something_is_answered(running):
    rows = running.opened[0].database._database.rows.read(10, 13)
    sent = (
        np.stack([0 * rows[0], rows[0], 0 * rows[0], rows[1], 0 * rows[0], rows[2], 0 * rows[0]])
        .astype("<f4")
        .tobytes()
    )
    query = f"data_type=fingerprint&network={of_network(running)}&hop_s=0.25&probability=0"
    answer = running.ask("POST", f"/v1/identify?{query}", sent)
    assert (answer.status, answer.value["answers"][0]["track"]) == (200, str(MUSIC[0]))


def test_what_is_no_question_is_told_what_is_allowed(running):
    of = f"data_type=fingerprint&network={of_network(running)}"
    row = vectors(running)[:1].tobytes()
    for query, body, status, said in (
        ("tpo=1", b"x", 400, "no parameter 'tpo'"),
        ("top=0", b"x", 400, "a number from 1 to 50"),
        ("top=9999999999999999999", b"x", 400, "a number from 1 to 50"),
        ("probability=nan", b"x", 400, "a number from 0 to 1"),
        ("format=xml", b"x", 400, "json or acrcloud"),
        ("", b"", 400, "an empty clip"),
        ("data_type=fingerprint", row, 400, "network=SHA256"),
        ("data_type=fingerprint&network=" + "0" * 64, row, 409, "two networks cannot be compared"),
        (of, row[:-1], 400, "128 numbers of float32"),
        (of, np.full(128, np.nan, "<f4").tobytes(), 400, "unit length"),
        (of, np.full(128, 1e30, "<f4").tobytes(), 400, "unit length"),
        (of, np.zeros(128, "<f4").tobytes(), 400, "unit length"),
        (of + "&hop_s=0.3", row, 400, "0.5 as in the database"),
        (of + "&speeds=0.9,1&rows=1,0", row, 400, "1 comes first"),
        (of + "&speeds=1,0.9", row, 400, "the number of fingerprints at each"),
        (of + "&speeds=1,0.9&rows=0,1", row, 400, "at least 1 at speed 1"),
        (of + "&speeds=1,0.9&rows=5,5", row, 400, "1 fingerprints came"),
        (of, row * 1000, 413, "at most 12 s"),
    ):
        answer = running.ask("POST", f"/v1/identify?{query}", body)
        assert answer.status == status, query
        assert said in answer.value["error"], answer.value
    assert running.ask("POST", f"/v1/identify?{of}", row).status == 200


@pytest.mark.parametrize(
    "body, reason",
    [
        (b"no sound at all" * 100, "not audio that can be read"),
        (wav(np.zeros(100, np.float32), 8000), "at least 0.5 s are needed"),
        (clip()[:44], "holds no samples"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "a playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "a playlist"),
    ],
    ids=["words", "short", "head", "hls", "concat"],
)
def test_a_clip_that_gives_no_sound_gets_a_reason_that_names_no_path(running, body, reason):
    answer = running.ask("POST", "/v1/identify?name=mine", body)
    assert answer.status == 422
    assert reason in answer.value["error"]
    assert (answer.value["query"], answer.value["answers"]) == ("mine", [])
    assert "/tmp" not in answer.value["error"]
    assert "nafp-serve" not in answer.value["error"]


def test_of_a_long_clip_the_beginning_is_heard_and_the_length_told(running):
    long = np.concatenate([decode.load(MUSIC[0], sample_rate_hz=RATE_HZ)] * 3)[: 70 * RATE_HZ]
    answer = running.ask("POST", "/v1/identify", wav(long, RATE_HZ)).value
    assert answer["seconds"] == 70.0
    assert answer["answers"][0]["track"] == str(MUSIC[0])


def test_an_empty_database_answers_that_it_does_not_know(tmp_path):
    database.Database.create(tmp_path / "db", network="small").close()
    with RunningServer(tmp_path / "db") as empty:
        assert empty.ask("POST", "/v1/identify", clip()).value["answers"] == []
        query = f"data_type=fingerprint&network={of_network(empty)}"
        assert empty.ask("POST", f"/v1/identify?{query}", vectors(empty).tobytes()).value["answers"] == []


def test_a_reply_of_the_command_and_of_the_server_have_the_same_fields():
    reply = answers.Reply("x", 1.0, [answers.Answer("t", 0.0, 1.0, None, 1.0)])
    assert set(json.loads(answers.as_json(reply))) == {"query", "seconds", "answers"}
    assert clips.STDIN == "-"
