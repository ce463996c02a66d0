"""Queries at several speeds: extracted under names that say so, and scored together."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from evaluation.scores import evaluate, speeds
from nafp import errors
from nafp.fingerprints import extract
from nafp.models import numpy_network
from nafp.search import store
from tests import commands, networks, tunes
from tests.databases import unit
from tests.stores import write

ROWS, CLIPS = 40, 12


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Twelve clips of thirty tracks: every second one is like its track only when heard at 1.03."""
    folder = tmp_path_factory.mktemp("stores")
    tracks = {f"track{n}": unit(ROWS, seed=n) for n in range(30)}
    write(folder, "db", tracks)
    own, undone, truth = {}, {}, []
    for n in range(CLIPS):
        right, wrong = tracks[f"track{n}"][10:19], unit(9, seed=100 + n)
        own[f"q{n}"], undone[f"q{n}"] = (wrong, right) if n % 2 else (right, unit(9, seed=200 + n))
        truth.append([f"q{n}.wav", f"track{n}.wav", 5.0, "fast" if n % 2 else "clean", 1 + 0.03 * (n % 2)])
    write(folder, "query", own)
    write(folder, "query@1.03", undone, speed=1.03)
    with open(folder / "expected.csv", "w", newline="") as file:
        csv.writer(file).writerows([["query", "answer", "time", "condition", "rate"], *truth])
    return folder


def scored(folder, out, queries, *, lengths=("1", "9"), **settings):
    request = evaluate.Request(
        store=[str(folder)],
        out=str(out),
        truth=str(folder / "expected.csv"),
        lengths=lengths,
        show=False,
        **settings,
    )
    return speeds.run(request, queries=queries)


def test_clips_at_another_speed_are_found_when_it_is_heard(stores, tmp_path):
    alone = scored(stores, tmp_path / "a", ["query"])["groups"]["condition"]
    both = scored(stores, tmp_path / "b", ["query", "query@1.03"])
    assert alone["fast"]["9"]["song"]["rate"] < 0.5
    assert both["groups"]["condition"]["fast"]["9"]["song"]["rate"] == 1
    assert both["groups"]["condition"]["clean"]["9"]["song"]["rate"] == 1
    assert both["speeds"]["told"]["fast"]["9"] == [0.0, 0.0]


def test_heard_once_the_numbers_are_those_of_a_plain_evaluation(stores, tmp_path):
    plain = evaluate.run(
        evaluate.Request(
            store=[str(stores)],
            out=str(tmp_path / "a"),
            truth=str(stores / "expected.csv"),
            lengths=["1", "9"],
            show=False,
        )
    )
    ours = scored(stores, tmp_path / "b", ["query"])
    assert ours["hit_rates"] == plain["hit_rates"]


def test_left_out_clips_give_a_calibration_that_knows_what_is_usual(stores, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.scores.open_set.FEWEST", 5)
    monkeypatch.setattr("evaluation.scores.left_out.LEAST_LEFT", 0.0)
    longer_than_the_clips = "19"
    lengths = ["1", "9", longer_than_the_clips]
    scored(stores, tmp_path, ["query", "query@1.03"], unknown="left-out", lengths=lengths)
    kept = json.loads((tmp_path / "confidence.json").read_text())
    assert kept["lengths"] == [1, 9]
    assert len(kept["elsewhere"]) == len(kept["lengths"]) == len(kept["weights"])
    assert len(kept["verifier"]["several"]) == len(kept["verifier"]["usual"]) == len(kept["lengths"])


def test_what_was_sure_at_its_own_speed_is_left_alone(stores, tmp_path):
    (tmp_path / "sure.json").write_text(json.dumps({"lengths": [1], "weights": [[20.0, 0, 0]]}))
    found = scored(stores, tmp_path / "a", ["query", "query@1.03"], confidence=str(tmp_path / "sure.json"))
    assert found["groups"]["condition"]["fast"]["9"]["song"]["rate"] < 0.5


@pytest.fixture(scope="module")
def network():
    c = networks.config()
    return numpy_network.NumpyNetwork(networks.variables(c), c, identity={"sha256": "x"})


def extracted(network, source, folder, **settings):
    about = dict(name="query", speeds=["1"]) | settings
    return dict(extract.at_speeds(network, str(source), str(folder), **about))


def test_a_store_for_each_speed_is_written_and_not_written_twice(network, tmp_path, capsys):
    tunes.write(tmp_path / "clips" / "a.wav", tunes.tune(5.0, sample_rate_hz=8000), 8000)
    extracted(network, tmp_path / "clips", tmp_path, speeds=["1", "0.9"])
    again = extracted(network, tmp_path / "clips", tmp_path, speeds=["1", "0.9", "1.1"])
    assert list(again) == ["query@1.1"]
    assert "query, query@0.9 are there" in capsys.readouterr().out
    rows = {name: len(store.Store.open(tmp_path, name)) for name in ("query", "query@0.9", "query@1.1")}
    assert rows == {"query": 9, "query@0.9": 2 + 8, "query@1.1": 10}  # Two before the clip begins.
    assert store.Store.open(tmp_path, "query@0.9").meta["brief_rows"] == 2
    assert store.Store.open(tmp_path, "query@1.1").meta["speed"] == 1.1


@pytest.mark.parametrize("shifts", [1, 2])
@pytest.mark.parametrize("seconds", [1.0, 5.0])
def test_a_slow_clip_of_one_segment_is_fingerprinted_as_identify_does_it(network, tmp_path, seconds, shifts):
    from nafp.audio import decode

    clip = tunes.tune(seconds, sample_rate_hz=8000)
    tunes.write(tmp_path / "clips" / "a.wav", clip, 8000)
    extracted(network, tmp_path / "clips", tmp_path, speeds=["0.94"], shifts=shifts)
    kept = store.Store.open(tmp_path, "query@0.94")
    slowed = decode.resample(clip[:8000], from_hz=8000, to_hz=8000 * 0.94)
    brief = network(np.pad(slowed, (0, 8000 - len(slowed)))[None])
    np.testing.assert_allclose(np.vecdot(kept.vectors[0], brief[0]), 1, atol=0.01)
    whole = decode.load(tmp_path / "clips" / "a.wav", sample_rate_hz=7520)
    expected = network.track(whole) if len(whole) >= 8000 else np.zeros((0, kept.dim))
    begins = kept.meta["brief_rows"]
    assert begins == 2 * shifts
    np.testing.assert_allclose(kept.vectors[begins::shifts], expected, atol=1e-5)


def test_a_slow_clip_of_one_second_is_found_by_the_row_that_silence_fills(stores, tmp_path):
    tracks = {f"track{n}": unit(ROWS, seed=n) for n in range(CLIPS)}
    begun = {f"q{n}": np.concatenate([tracks[f"track{n}"][10:11], unit(18, seed=300 + n)]) for n in range(1, CLIPS, 2)}
    write(tmp_path, "slow@0.97", begun, speed=0.97, brief_rows=2)
    store_of = [str(stores), str(tmp_path)]
    request = evaluate.Request(
        store=store_of, out=str(tmp_path / "out"), truth=str(stores / "expected.csv"), lengths=["1", "9"], show=False
    )
    found = speeds.run(request, queries=["query", "slow@0.97"])["groups"]["condition"]["fast"]
    assert found["1"]["song"]["rate"] == 1
    assert found["9"]["song"]["rate"] < 0.5
    alone = evaluate.run(dataclasses.replace(request, query="slow@0.97", lengths=["9"]))
    assert alone["questions"]["known"] == 6
    assert alone["hit_rates"]["9"]["song"]["hits"] < 3  # The rows after the first two are asked.


def test_a_change_of_speed_is_undone(network, tmp_path):
    from nafp.audio import decode

    audio = tunes.tune(6.0, sample_rate_hz=16000)
    tunes.write(tmp_path / "as_it_is" / "a.wav", audio, 16000)
    fast = decode.resample(audio, from_hz=17600, to_hz=16000)
    tunes.write(tmp_path / "fast" / "a.wav", fast, 16000)
    extracted(network, tmp_path / "as_it_is", tmp_path)
    extracted(network, tmp_path / "fast", tmp_path, speeds=["1.1"])
    plain, undone = (store.Store.open(tmp_path, name).vectors for name in ("query", "query@1.1"))
    np.testing.assert_allclose(np.vecdot(plain[: len(undone)], undone[: len(plain)]), 1, atol=0.01)


def test_shifts_are_rows_in_between(network, tmp_path):
    tunes.write(tmp_path / "clips" / "a.wav", tunes.tune(5.0, sample_rate_hz=8000), 8000)
    extracted(network, tmp_path / "clips", tmp_path, name="plain")
    extracted(network, tmp_path / "clips", tmp_path, name="denser", shifts=2)
    plain, denser = (store.Store.open(tmp_path, name) for name in ("plain", "denser"))
    assert (plain.hop_s, denser.hop_s) == (0.5, 0.25)
    np.testing.assert_allclose(denser.vectors[::2], plain.vectors, atol=1e-5)


@pytest.mark.parametrize("wanted", ["fast", "3", ""])
def test_a_speed_is_a_number_near_one(network, tmp_path, wanted):
    tunes.write(tmp_path / "clips" / "a.wav", tunes.tune(2.0, sample_rate_hz=8000), 8000)
    with pytest.raises(ValueError, match="speed"):
        extracted(network, tmp_path / "clips", tmp_path, speeds=[wanted])


def test_a_clip_is_asked_as_identify_asks_unless_all_speeds_are_undone_at_once(stores, tmp_path):
    """A first look that is sure but wrong shows the difference: only --at_once undoes other speeds all the same."""
    (tmp_path / "sure.json").write_text(json.dumps({"lengths": [1], "weights": [[20.0, 0, 0]]}))
    request = evaluate.Request(
        store=[str(stores)],
        out=str(tmp_path / "out"),
        truth=str(stores / "expected.csv"),
        lengths=[9],
        confidence=str(tmp_path / "sure.json"),
        show=False,
    )
    queries = ["query", "query@1.03"]
    for at_once, is_found in ((False, False), (True, True)):
        found = speeds.run(request, queries=queries, at_once=at_once)["groups"]["condition"]["fast"]
        assert (found["9"]["song"]["rate"] == 1) is is_found
    np.testing.assert_allclose(np.load(tmp_path / "out" / "speeds.npy")[1::2, 0], 1.03)


def test_rows_that_a_look_needs_and_the_stores_lack_are_named(stores, tmp_path):
    with pytest.raises(ValueError, match=r"rows of query are 0\.5 s apart, .*0\.25 s apart; .* extract --shifts=2"):
        scored(stores, tmp_path / "out", ["query"], shifts=0)
    assert not (tmp_path / "out").exists()


def shell(*arguments):
    return commands.start(*arguments, module="evaluation.speeds").wait()


def test_the_command_writes_the_record_that_an_evaluation_writes(stores, tmp_path):
    flags = [f"--store={stores}", f"--truth={stores}/expected.csv", "--query=query,query@1.03", "--lengths=9"]
    done = shell(*flags, f"--out={tmp_path}/by_command")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "by_command" / "results.json").read_text())
    plain = evaluate.run(
        evaluate.Request(
            store=[str(stores)],
            out=str(tmp_path / "plain"),
            truth=str(stores / "expected.csv"),
            lengths=[9],
            show=False,
        )
    )
    assert set(record) == {*plain, "speeds"}
    assert record["groups"]["condition"]["fast"]["9"]["song"]["rate"] == 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--sotre=a"], "Did you mean: store"),
        (["--store=a", "--query=q", "--truth=t", "--out=o", "more"], "unexpected arguments more"),
    ],
)
def test_a_wrong_command_says_why_and_ends_with_2(arguments, words):
    done = shell(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"lengths": ["x"]}, "numbers of segments"),
        ({"shifts": -1}, "--shifts=-1"),
        ({"unknown": "strangers"}, "--unknown is left-out or not given"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_work(stores, tmp_path, settings, words):
    about = {"store": [str(stores)], "out": str(tmp_path / "out"), "truth": str(stores / "expected.csv")}
    with pytest.raises(errors.Invalid, match=words):
        speeds.run(evaluate.Request(**about | settings), queries=["query"])
    assert not (tmp_path / "out").exists()


def test_help_ends_with_0():
    done = shell("--help")
    assert done.returncode == 0
    assert "--[no]at_once: Look at every clip at all speeds" in done.stdout
