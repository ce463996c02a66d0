"""Protocols run from recordings to one table, each stage once and none twice."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from evaluation.protocols import evaluated
from evaluation.protocols import protocol as protocols
from evaluation.queries import conditions, rendering
from evaluation.scores import evaluate, metrics
from nafp import errors
from nafp.audio import decode
from nafp.corpora import manifest
from nafp.search import store
from tests import commands, protocol_runs, tunes
from tests.protocol_runs import RATE_HZ, Extract, cells, protocol, run

CLIPS = """
[queries]
conditions = ["clean", "n5.room"]
count = 12
seconds = 3
[distractors]
split = "train"
[evaluation]
lengths_s = [1, 3]
metrics = ["song", "exact"]
"""

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> pathlib.Path:
    return protocol_runs.place(tmp_path_factory.mktemp("place"))


def test_clips_go_from_recordings_to_a_table_of_conditions_by_lengths(place, tmp_path):
    table, extract = run(place, tmp_path / "out", protocol(tmp_path / "clips.toml", CLIPS))
    assert extract.made == {"asked": 1, "db": 1, "dummy_db": 1}
    found = cells(tmp_path / "out")
    assert set(found) == {
        (condition, metric, seconds)
        for condition in ("clean", "n5.room", "all")
        for metric in ("song", "exact")
        for seconds in (1.0, 3.0)
    }
    for (condition, _, _), cell in found.items():
        assert int(cell["asked"]) == (24 if condition == "all" else 12)
        low, high = metrics.wilson(metrics.Hits(int(cell["hits"]), int(cell["asked"])))
        assert (float(cell["low"]), float(cell["high"])) == pytest.approx((low, high))
    assert float(found["clean", "song", 3.0]["rate"]) > 0.9
    assert "song, n5.room" in table
    assert "| song, n5.room |" in (tmp_path / "out" / "table.md").read_text()


def test_the_table_is_what_evaluating_by_hand_gives(place, tmp_path):
    out = tmp_path / "out"
    run(place, out, protocol(tmp_path / "clips.toml", CLIPS))
    (name,) = [name for name in store.names(out / "store") if "asked" in name]
    request = evaluate.Request(
        store=[str(out / "store")],
        query=name,
        truth=str(out / "queries" / "expected.csv"),
        lengths=(1, 5),
        out=str(tmp_path / "by-hand"),
        show=False,
    )
    by_hand = evaluate.run(request)["groups"]["condition"]
    for (condition, metric, seconds), cell in cells(out).items():
        if condition != "all":
            expected = by_hand[condition]["1" if seconds == 1 else "5"][metric]
            assert int(cell["hits"]) == expected["hits"]


def test_run_again_everything_is_skipped_and_the_table_the_same(place, tmp_path, monkeypatch):
    asked, out = protocol(tmp_path / "clips.toml", CLIPS), tmp_path / "out"
    table, extract = run(place, out, asked)
    monkeypatch.setattr(decode, "write_wav", None)  # Nothing is rendered,
    monkeypatch.setattr(evaluate, "run", None)  # nothing searched,
    again, _ = run(place, out, asked, extract=extract)
    assert again == table
    assert extract.made.total() == 3  # and nothing fingerprinted.


def test_interrupted_in_any_stage_it_goes_on(place, tmp_path, monkeypatch):
    asked, out = protocol(tmp_path / "clips.toml", CLIPS), tmp_path / "out"
    whole, _ = run(place, tmp_path / "whole", asked)

    class Stop(Exception):
        pass

    def stop(*args, **settings):
        raise Stop

    for owner, name in ((decode, "write_wav"), (Extract, "__call__"), (evaluate, "run")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stop)
            with pytest.raises(Stop):
                run(place, out, asked)
    table, extract = run(place, out, asked)
    assert table == whole
    assert extract.made.total() == 0


def test_another_evaluation_of_the_same_sound_only_evaluates(place, tmp_path):
    out = tmp_path / "out"
    _, extract = run(place, out, protocol(tmp_path / "clips.toml", CLIPS))
    other = protocol(tmp_path / "clips.toml", CLIPS.replace("[1, 3]", "[1, 2]"))
    run(place, out, other, extract=extract)
    assert extract.made.total() == 3
    assert {seconds for *_, seconds in cells(out)} == {1.0, 2.0}


def test_another_protocol_in_the_same_folder_is_refused_or_replaces(place, tmp_path):
    out = tmp_path / "out"
    _, extract = run(place, out, protocol(tmp_path / "clips.toml", CLIPS))
    other = protocol(tmp_path / "clips.toml", CLIPS.replace("count = 12", "count = 6"))
    with pytest.raises(FileExistsError, match="queries differ"):
        run(place, out, other)
    run(place, out, other, extract=extract, overwrite=True)
    assert extract.made["asked"] == 2
    assert cells(out)["clean", "song", 1.0]["asked"] == "6"


def test_a_database_that_is_there_is_taken(place, tmp_path):
    asked = protocol(tmp_path / "clips.toml", CLIPS)
    run(place, tmp_path / "first", asked)
    there = tmp_path / "first" / "store"
    _, extract = run(place, tmp_path / "second", asked, store=str(there))
    assert extract.made == {"asked": 1}
    assert cells(tmp_path / "second") == cells(tmp_path / "first")
    with pytest.raises(ValueError, match="no finished db in it"):
        run(place, tmp_path / "third", asked, store=str(tmp_path / "nowhere"))


def test_aligned_queries_are_found_row_by_row(place, tmp_path):
    text = """
kind = "aligned"
[queries]
conditions = ["clean", "n10"]
spliced = true
[evaluation]
lengths_s = [1, 5]
metrics = ["near", "exact"]
ids = 40
"""
    run(place, tmp_path / "out", protocol(tmp_path / "aligned.toml", text))
    found = cells(tmp_path / "out")
    assert {condition for condition, *_ in found} == {"clean", "n10"}
    assert {cell["asked"] for cell in found.values()} == {"40"}
    assert float(found["clean", "near", 5.0]["rate"]) > 0.8


def test_audio_that_is_given_is_taken_as_it_is(place, tmp_path):
    for i in range(6):
        for side in ("db", "query"):
            tune = tunes.tune(6, sample_rate_hz=RATE_HZ, seed=i)
            tunes.write(tmp_path / "set" / side / f"{i}.wav", tune, RATE_HZ)
    text = """
kind = "given"
[references]
folder = "db"
[queries]
folder = "query"
[evaluation]
lengths_s = [1, 3]
metrics = ["exact"]
"""
    asked = protocol(tmp_path / "given.toml", text)
    run(tmp_path / "set", tmp_path / "out", asked)
    found = cells(tmp_path / "out")
    assert {cell["rate"] for cell in found.values()} == {"1.0"}
    with pytest.raises(FileNotFoundError, match="looks for it in --references"):
        run(tmp_path, tmp_path / "out2", asked)


def test_the_originals_dataset_is_taken_as_it_is(tmp_path):
    music = tmp_path / "set" / "music"
    for i in range(8):
        tune = tunes.tune(6, sample_rate_hz=RATE_HZ, seed=i)
        if i < 4:
            tunes.write(music / "test-query-db-500-30s" / "db" / f"{i}.wav", tune, RATE_HZ)
            tunes.write(music / "test-query-db-500-30s" / "query" / f"{i}.wav", tune, RATE_HZ)
        else:
            tunes.write(music / "test-dummy-db-100k-full" / f"{i}.wav", tune, RATE_HZ)
    asked = protocols.load("original-mini")
    small = {"ids": "20", "index": "l2"}
    _, extract = run(tmp_path / "set", tmp_path / "out", asked, settings=small)
    assert extract.made == {"asked": 1, "db": 1, "dummy_db": 1}
    found = cells(tmp_path / "out")
    assert {metric for _, metric, _ in found} == {"exact", "near", "top3", "top10"}
    assert {cell["rate"] for cell in found.values() if int(cell["asked"])} == {"1.0"}


def test_missing_test_ids_are_named_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    asked, extract = protocols.load("original-mini"), Extract()
    with pytest.raises(FileNotFoundError, match=r"test_ids_icassp2021\.npy is not in .*set, .*set/eval, \., eval"):
        run(tmp_path / "set", tmp_path / "out", asked, extract=extract)
    with pytest.raises(FileNotFoundError, match=r"mine\.npy: no such file"):
        run(tmp_path / "set", tmp_path / "out", asked, extract=extract, settings={"ids": "mine.npy"})
    assert not extract.made
    assert not (tmp_path / "out").exists()


def test_the_test_ids_of_the_original_are_asked_for(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eval").mkdir()
    np.save(tmp_path / "eval" / "test_ids_icassp2021.npy", [3, 1, 20])
    text = 'kind = "aligned"\n[evaluation]\nids = "icassp"\nindex = "l2"\nlengths_s = [1.0]\nmetrics = ["exact"]\n'
    run(place, tmp_path / "out", protocol(tmp_path / "aligned.toml", text))
    assert {int(cell["asked"]) for cell in cells(tmp_path / "out").values()} == {3}


def test_a_protocol_names_its_matcher(place, tmp_path):
    asked = protocol(tmp_path / "clips.toml", CLIPS + 'matcher = "vote"\nk = 4\n')
    run(place, tmp_path / "out", asked)
    settings = json.loads((tmp_path / "out" / "results" / "results.json").read_text())["run"]["settings"]
    assert (settings["matcher"], settings["k"]) == ("vote", 4)


def test_flags_that_the_protocol_decides_are_refused(place, tmp_path):
    asked = protocol(tmp_path / "clips.toml", CLIPS)
    with pytest.raises(ValueError, match="--lengths is decided by protocol clips"):
        run(place, tmp_path / "out", asked, settings={"lengths": ["1"]})


def test_all_tracks_of_a_folder_without_splits_are_asked_for(tmp_path):
    for i in range(4):
        tune = tunes.tune(8, sample_rate_hz=RATE_HZ, seed=i)
        tunes.write(tmp_path / "songs" / f"{i}.wav", tune, RATE_HZ)
    text = CLIPS.replace(', "n5.room"', "")
    _, extract = run(tmp_path / "songs", tmp_path / "out", protocol(tmp_path / "c.toml", text))
    assert extract.made == {"asked": 1, "db": 1}


@pytest.mark.parametrize("said", ["fast", "0", "-1", "nan", "inf", "0.97,x"])
def test_a_speed_is_a_number_above_0(said):
    with pytest.raises(errors.Invalid, match=r"evaluation\.speeds = .*numbers above 0 such as 0\.97"):
        evaluated.at_speeds("asked", said)
    assert evaluated.at_speeds("asked", "0.97,1,1.03") == [("asked@0.97", 0.97), ("asked@1.03", 1.03)]


def test_clips_are_also_heard_at_other_speeds(place, tmp_path):
    text = CLIPS.replace('"clean", "n5.room"', '"clean", "speed+6"') + 'speeds = "1.06,1"\n'
    both, out = protocol(tmp_path / "clips.toml", text), tmp_path / "out"
    _, extract = run(place, out, both)
    assert extract.made == {"asked": 1, "asked@1.06": 1, "db": 1, "dummy_db": 1}
    assert float(cells(out)["speed+6", "song", 3.0]["rate"]) > 0.9
    said = json.loads((out / "results" / "results.json").read_text())["speeds"]["queries"]
    assert [name[-5:] for name in said][1:] == ["@1.06"]
    run(place, out, both, extract=extract)
    assert extract.made.total() == 4


def test_a_copy_among_the_distractors_is_right_where_repeats_count(tmp_path):
    given = protocol_runs.place(tmp_path / "place")
    copied = tmp_path / "place" / "copy.wav"
    shutil.copy(tmp_path / "place" / "track0.wav", copied)
    copy = manifest.Track(str(copied), kind="music", split="train")
    manifest.write(given, [*manifest.read(given), copy])
    rates = []
    for more in ("", "repeats = true\n"):
        text, out = CLIPS.replace(', "n5.room"', "") + more, tmp_path / f"out{len(more)}"
        run(given, out, protocol(tmp_path / "clips.toml", text))
        rates.append(float(cells(out)["clean", "song", 3.0]["rate"]))
    assert rates == [10 / 12, 1.0]  # Two of the twelve clips are of the track that the database has twice.
    said = json.loads((out / "results" / "results.json").read_text())["repeats"]
    assert said["sound"] == [str(given)]


def test_unknown_queries_are_judged(place, tmp_path):
    text = """
[queries]
count = 30
seconds = 3
[unknown]
split = "train"
count = 30
[evaluation]
lengths_s = [3]
"""
    table, extract = run(place, tmp_path / "out", protocol(tmp_path / "open.toml", text))
    assert extract.made == {"asked": 1, "unknown": 1, "db": 1}
    assert "false accepts" in table
    assert "false accepts" in (tmp_path / "out" / "table.md").read_text()


def test_the_protocol_robustness_has_the_conditions_that_queries_render_by_default():
    assert protocols.load("robustness").queries.conditions == conditions.ROBUSTNESS


def test_every_shipped_protocol_can_be_read_and_its_conditions_rendered():
    assert {"original-mini", "original-full", "contiguous", "snr", "robustness", "hard"} <= {*protocols.shipped()}
    for name in protocols.shipped():
        shipped = protocols.load(name)
        assert shipped.about
        rendering.parse(shipped.queries.conditions, unshifted=shipped.kind == "aligned")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[queries]\ncuont = 4", "queries.no setting 'cuont'; there are conditions, count, .* Did you mean 'count'"),
        ('queries = "clean"', "queries is a section"),
        ('[queries]\ncount = "4"', "queries.count = '4': should be like 400"),
        ('[queries]\nconditions = "clean"', "a list is needed"),
        ('[queries]\nconditions = ["claen"]', "Did you mean 'clean'"),
        ('kind = "clip"', "allowed are clips, aligned, given, recording"),
        ('[evaluation]\nmetrics = ["songs"]', "evaluation.metrics: no songs; there are exact"),
        ("[evaluation]\nlengths_s = [30]", "asks for 30 s of clips of 10 s"),
        ('kind = "given"', "needs queries.folder"),
        ('[evaluation]\nmatcher = "best"', "evaluation.matcher = 'best': allowed are diagonal, vote, window"),
        ('[evaluation]\nmatcher = "vote"\nspeeds = "auto"', "are for matcher = 'diagonal'"),
        ("queries = ", "not TOML"),
        ("[queries]\ncount = -1", r"queries.count = -1: a number from 0 to 1e\+09 is needed, such as 400"),
        ("[queries]\nseconds = nan", "queries.seconds = nan: a number from 0"),
        ("[queries]\nseconds = inf", "queries.seconds = inf: a number from 0"),
        ("[evaluation]\nlengths_s = [1, -inf]", "evaluation.lengths_s = -inf: a number from 0"),
        ("[queries]\ncount = 4000000000000", "queries.count = 4000000000000: a number from 0"),
        ('kind = "aligned"\n[evaluation]\nspeeds = "auto"', "evaluation.speeds is for .* rows stay in place"),
        ('kind = "aligned"\n[evaluation]\nrepeats = true', "evaluation.repeats is for .* row answers row"),
    ],
)
def test_a_protocol_that_cannot_be_says_why(tmp_path, text, match):
    with pytest.raises(ValueError, match=match):
        protocol(tmp_path / "wrong.toml", text)


def test_a_name_that_is_not_there_says_what_is(place, tmp_path):
    with pytest.raises(FileNotFoundError, match="Did you mean 'robustness'"):
        protocols.load("robustnes")
    asked = protocol(tmp_path / "clips.toml", CLIPS)
    with pytest.raises(ValueError, match="give --references"):
        run("", tmp_path / "out", asked)


def command(place, out, *more: str) -> list[str]:
    return ["evaluate", "--protocol=robustness", f"--references={place}", f"--out={out}", *more]


def test_the_command_says_what_is_missing(place, tmp_path):
    for more, said in [
        (["--protocol=robustnes"], "Did you mean 'robustness'"),
        (["--lengths=1,3"], "--lengths is decided by protocol robustness"),
        (["--noise=nowhere"], "nowhere"),
    ]:
        done = commands.nafp(*command(place, tmp_path / "out", *more))
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_command_runs_a_protocol_with_the_shipped_network(tmp_path):
    """The fast test is test_clips_go_from_recordings_to_a_table_of_conditions_by_lengths."""
    (tmp_path / "few.toml").write_text("""
[queries]
conditions = ["clean", "n5"]
count = 3
seconds = 3
[distractors]
split = "val"
[evaluation]
lengths_s = [3]
""")
    recordings = ROOT / "tests" / "recordings" / "RECORDINGS.csv"
    asked = command(recordings, tmp_path / "out", "--checkpoint=small")
    asked += [f"--protocol={tmp_path / 'few.toml'}"]
    for _ in range(2):
        done = commands.nafp(*asked)
        assert done.returncode == 0, done.stderr
        assert "song, clean" in done.stdout
    assert "evaluated before, unchanged" in done.stdout
    assert float(cells(tmp_path / "out")["clean", "song", 3.0]["rate"]) == 1.0
    without = [word for word in asked if not word.startswith("--checkpoint")]
    elsewhere = [*without, f"--out={tmp_path / 'out2'}"]
    done = commands.nafp(*elsewhere)
    assert "give --checkpoint" in done.stderr
