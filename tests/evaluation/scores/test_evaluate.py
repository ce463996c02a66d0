"""Evaluations of small stores, held to an obvious loop that scores one candidate after another."""

import csv
import json
import subprocess
import sys

import faiss
import numpy as np
import pytest

from evaluation.scores import evaluate
from nafp.search import confidence, index, store

DIM = 16
LENGTHS = (1, 3, 5, 9)
ROWS = 12  # Of a track.


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def tracks(n, *, seed, rows=ROWS):
    """Random walks on the sphere: neighbours in time are alike, as fingerprints are."""
    random = np.random.default_rng(seed)
    walk = random.normal(size=(n, rows, DIM))
    for row in range(1, rows):
        walk[:, row] = 0.6 * walk[:, row - 1] + 0.8 * walk[:, row]
    return unit(walk.reshape(-1, DIM))


def noisy(vectors, *, noise, seed):
    return unit(vectors + noise * np.random.default_rng(seed).normal(size=vectors.shape) / 4)


DUMMY, DB = tracks(60, seed=1), tracks(20, seed=2)
QUERY = noisy(DB, noise=1.2, seed=3)


def save_bare(folder, **stores):
    folder.mkdir(exist_ok=True)
    for name, vectors in stores.items():
        vectors.tofile(folder / f"{name}.mm")
        np.save(folder / f"{name}_shape.npy", vectors.shape)
    return str(folder)


def save(folder, name, vectors, *, rows=ROWS, names=None, model="m", **meta):
    meta = {"hop_s": 0.5, "segment_s": 1.0, "sample_rate_hz": 8000, "model": model, **meta}
    with store.Writer(folder, name, dim=DIM, meta=meta) as writer:
        for number, start in enumerate(range(0, len(vectors), rows)):
            track = names[number] if names else f"music/{name}{number:03}.wav"
            writer.append(track, rows / 2 + 0.5, vectors[start : start + rows])
        writer.finish()
    return str(folder)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return save_bare(tmp_path_factory.mktemp("bare"), dummy_db=DUMMY, db=DB, query=QUERY)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    for name, vectors in (("dummy_db", DUMMY), ("db", DB), ("query", QUERY)):
        save(
            folder,
            name,
            vectors,
            names=[f"{'n' if name != 'dummy_db' else 'd'}{i}" for i in range(60)],
        )
    return str(folder)


def run(folder, out, **settings):
    settings = {"lengths": LENGTHS, "index": "l2", "show": False, **settings}
    return evaluate.run(evaluate.Request(store=[folder], out=str(out), **settings))


def original_loop(searched, dummy, db, query, ids, lengths, *, k=20):
    """What eval_faiss.py of the original does, one sequence and one candidate at a time."""
    everything = np.concatenate([dummy, db])
    hits = {length: np.zeros(4, int) for length in lengths}
    for test_id in ids:
        for length in lengths:
            asked = query[test_id : test_id + length]  # Shorter at the end of the store.
            _, found = searched.search(asked, k)
            starts = {int(row) - j for j, near in enumerate(found) for row in near}
            scores = {
                start: np.mean(np.diag(asked @ everything[start : start + len(asked)].T))
                for start in sorted(start for start in starts if start >= 0)
            }
            best = sorted(scores, key=lambda start: -scores[start])[:10]
            right = test_id + len(dummy)
            hits[length] += [
                best[0] == right,
                abs(best[0] - right) <= 1,
                right in best[:3],
                right in best,
            ]
    return hits


@pytest.mark.parametrize("kind", ["l2", "IVF8,PQ8np"])
def test_compat_gives_the_numbers_of_the_original_loop(bare, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(index, "LIST_MAJOR_FROM", 1)
    ids = np.array([0, 3, 11, 30, 77, 120, 200, 233, 236, 239])  # Over borders, and past the end.
    np.save(tmp_path / "ids.npy", ids)
    found = run(
        bare,
        tmp_path / "out",
        compat=True,
        index=kind,
        k=20,
        n_probe=3,
        ids=str(tmp_path / "ids.npy"),
    )
    theirs = faiss.index_factory(DIM, kind.replace("l2", "Flat"))
    theirs.train(DUMMY)
    theirs.add(DUMMY)
    theirs.add(DB)
    if kind != "l2":
        theirs.nprobe = 3
    expected = original_loop(theirs, DUMMY, DB, QUERY, ids, LENGTHS)
    for length in LENGTHS:
        cells = found["hit_rates"][str(length)]
        ours = [cells[name]["hits"] for name in ("exact", "near", "top3", "top10")]
        assert ours == expected[length].tolist()
        assert cells["exact"]["asked"] == len(ids)
        assert cells["song"]["asked"] == 0


def test_without_borders_in_the_way_both_modes_agree(known, tmp_path):
    """All ids whose queries fit their tracks, exact search: the same starts are found."""
    plain = run(known, tmp_path / "a", ids="all", k=720)
    fits = np.flatnonzero(np.arange(240) % ROWS <= ROWS - max(LENGTHS))
    np.save(tmp_path / "ids.npy", fits)
    some = run(known, tmp_path / "b", ids=str(tmp_path / "ids.npy"), k=720)
    assert plain["hit_rates"]["9"] == some["hit_rates"]["9"]
    assert plain["hit_rates"]["1"]["exact"]["asked"] == 240
    assert plain["hit_rates"]["9"]["exact"]["asked"] == len(fits) == 80
    assert some["hit_rates"]["9"]["song"]["rate"] > 0.9


def test_results_hold_what_it_takes_to_repeat_them(known, tmp_path):
    found = run(known, tmp_path / "out", ids="20", seed=3)
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved == json.loads(json.dumps(found))
    cell = saved["hit_rates"]["3"]["exact"]
    assert set(cell) == {"hits", "asked", "rate", "low", "high"}
    assert cell["low"] <= cell["rate"] <= cell["high"]
    assert {"train_s", "add_s", "factory", "k"} <= set(saved["index"])
    assert {"search_s", "match_s", "ms_per_query"} <= set(saved["timings"])
    settings = {**saved["run"]["settings"], "out": str(tmp_path / "again"), "show": False}
    again = evaluate.run(evaluate.Request(**settings))
    assert again["hit_rates"] == saved["hit_rates"]
    assert again["stores"] == saved["stores"]
    assert (tmp_path / "out" / "table.md").read_text().startswith("| % | 1 (1 s) | 3 (2 s) |")
    text = (tmp_path / "out" / "table.csv").read_text()
    lines = list(csv.DictReader(text.splitlines()))
    assert len(lines) == len(LENGTHS) * 5
    assert lines[0]["hits"] == str(saved["hit_rates"]["1"]["exact"]["hits"])


def test_random_ids_follow_the_seed(known, tmp_path):
    rates = [run(known, tmp_path / str(s), ids="10", seed=s)["run"]["settings"]["seed"] for s in (1, 2)]
    assert rates == [1, 2]
    answers = [np.load(tmp_path / str(s) / "answers.npz")["first"] for s in (1, 2)]
    assert (answers[0] != answers[1]).any()


def test_several_folders_are_one_database(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for folder, half in ((a, slice(0, 120)), (b, slice(120, 240))):
        names = [f"{folder.name}{i}" for i in range(10)]
        save(folder, "db", DB[half], names=names)
        save(folder, "query", QUERY[half], names=names)
    save(a, "dummy_db", DUMMY)
    request = evaluate.Request(
        store=[str(a), str(b)], out=str(tmp_path / "out"), index="l2", lengths=LENGTHS, show=False
    )
    found = evaluate.run(request)
    assert found["hit_rates"]["1"]["exact"]["asked"] == 240
    assert found["hit_rates"]["9"]["song"]["rate"] > 0.9
    save(b, "dummy_db", DUMMY, model="other")
    with pytest.raises(ValueError, match="cannot be mixed: model"):
        evaluate.run(request)


@pytest.fixture
def clips(tmp_path):
    """Queries cut from database tracks at known times, some between rows, and two strangers."""
    save(tmp_path, "db", DB, names=[f"/music/song{i:02}.flac" for i in range(20)])
    lines = [["query", "answer", "time", "snr", "reverb", "condition"]]
    cut = []
    for number in range(40):
        track, row = number % 20, number % 3
        start = track * ROWS + row
        cut.append(noisy(DB[start : start + 9], noise=0.5, seed=number))
        time = (row + (0.4 if number % 2 else 0.0)) / 2
        condition = "quiet" if number < 20 else "loud"
        lines.append([f"q{number:04}.wav", f"song{track:02}.mp3", time, number / 4, "", condition])
    for number in (40, 41):
        cut.append(tracks(1, seed=1000 + number)[:9])
        lines.append([f"q{number:04}.wav", "stranger.mp3", 0, 3, "", "loud"])
    save(
        tmp_path,
        "query",
        np.concatenate(cut),
        rows=9,
        names=[f"/tmp/x/q{i:04}.wav" for i in range(42)],
    )
    with open(tmp_path / "expected.csv", "w", newline="") as out:
        csv.writer(out).writerows(lines)
    return tmp_path


def test_a_truth_file_says_what_is_right(clips):
    found = run(str(clips), clips / "out", truth=str(clips / "expected.csv"), group=["condition", "snr"])
    nine = found["hit_rates"]["9"]
    assert nine["song"] == {"hits": 40, "asked": 40, "rate": 1.0, **ends(nine["song"])}
    assert nine["exact"]["hits"] == nine["near"]["hits"] == 40  # 0.4 rows off is exact.
    assert found["questions"] == {"all": 42, "known": 40, "unknown": 2, "songs": 22}
    groups = found["groups"]["condition"]
    assert [groups[name]["9"]["exact"]["asked"] for name in ("quiet", "loud")] == [20, 20]
    assert sum(rates["9"]["exact"]["asked"] for rates in found["groups"]["snr"].values()) == 40
    assert len(found["groups"]["snr"]) <= 12


def ends(cell):
    return {key: cell[key] for key in ("low", "high")}


def test_more_than_half_a_row_is_near_and_more_than_one_is_wrong(clips):
    lines = (clips / "expected.csv").read_text().splitlines()
    shifted = [lines[0]]
    for number, line in enumerate(lines[1:41]):
        cells = line.split(",")
        cells[2] = str(float(cells[2]) + (0.3 if number % 2 else 0.6) + number % 2 * 0.0)
        shifted.append(",".join(cells))
    (clips / "shifted.csv").write_text("\n".join(shifted) + "\n")
    nine = run(str(clips), clips / "out", truth=str(clips / "shifted.csv"))["hit_rates"]["9"]
    # Even ones: 1.2 rows off. Odd ones: 0.4 + 0.6 = 1.0 rows off.
    assert (nine["exact"]["hits"], nine["near"]["hits"], nine["song"]["hits"]) == (0, 20, 40)


def test_several_lines_of_a_query_are_several_right_answers(clips):
    (clips / "two.csv").write_text("query,answer,time\nq0000,song05,0\nq0000,song00,0\nq0001,song05,0\nq0001,,\n")
    nine = run(str(clips), clips / "out", truth=str(clips / "two.csv"))["hit_rates"]["9"]
    assert (nine["exact"]["hits"], nine["exact"]["asked"]) == (1, 2)


@pytest.mark.parametrize(
    "text, said",
    [
        ("query,time\nq0000,0\n", "no column answer"),
        ("query,answer,time\n", "no queries"),
        ("query,answer,time\nother,song00,0\n", "none is in the query store"),
        ("query,answer,time\nq0000,elsewhere,0\n", "none of its answers"),
        ("query,answer,time\nq0000,song00,soon\n", "no number of seconds"),
    ],
)
def test_a_wrong_truth_file_is_explained(clips, text, said):
    (clips / "wrong.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        run(str(clips), clips / "out", truth=str(clips / "wrong.csv"))


@pytest.mark.parametrize("matcher", ["vote", "window"])
def test_other_matchers_answer_the_same_questions(clips, matcher):
    found = run(str(clips), clips / "out", truth=str(clips / "expected.csv"), matcher=matcher, k=4)
    assert found["hit_rates"]["9"]["song"]["rate"] > 0.8
    assert found["hit_rates"]["9"]["song"]["asked"] == 40


def test_denser_query_rows_are_asked_for_and_found(tmp_path):
    """Rows at half the hop; the queries lie half a row after the database's rows."""
    fine = tracks(20, seed=5, rows=2 * ROWS + 1)
    save(tmp_path, "db", unit_rows(fine, 1), names=[f"s{i}" for i in range(20)], rows=ROWS)
    dense = noisy(fine, noise=0.3, seed=6).reshape(20, -1, DIM)[:, :17]
    save(
        tmp_path,
        "query",
        dense.reshape(-1, DIM),
        rows=17,
        hop_s=0.25,
        names=[f"q{i}" for i in range(20)],
    )
    (tmp_path / "expected.csv").write_text("query,answer,time\n" + "".join(f"q{i},s{i},-0.25\n" for i in range(20)))
    truth = str(tmp_path / "expected.csv")
    with pytest.raises(ValueError, match="--shifts should be 2"):
        run(str(tmp_path), tmp_path / "out", truth=truth)
    found = run(str(tmp_path), tmp_path / "out", truth=truth, shifts=2)
    assert found["hit_rates"]["9"]["exact"]["rate"] == 1.0


def unit_rows(fine, start):
    """Takes every second row of each track, from `start` on."""
    return fine.reshape(20, 2 * ROWS + 1, DIM)[:, start::2][:, :ROWS].reshape(-1, DIM)


def test_unknown_recordings_are_judged(known, tmp_path):
    save(tmp_path / "s", "strangers", tracks(40, seed=9), names=[f"x{i}" for i in range(40)])
    request = {
        "store": [known, str(tmp_path / "s")],
        "index": "l2",
        "show": False,
        "lengths": (3, 9),
        "false_accepts": 0.1,
    }
    found = evaluate.run(evaluate.Request(out=str(tmp_path / "a"), unknown="strangers", **request))["open_set"]["9"]
    assert found["verdicts"]["margin"]["false"]["asked"] == 40
    assert found["verdicts"]["probability"]["accepted"]["rate"] > 0.8
    model = confidence.Confidence.load(tmp_path / "a" / "confidence.json")
    sure, unsure = model.probability(9, np.array([0.9, 0.3]), np.array([0.5, 0.01]))
    assert sure > 0.9 > 0.5 > unsure
    left = evaluate.run(evaluate.Request(out=str(tmp_path / "b"), unknown="left-out", **request))
    verdict = left["open_set"]["9"]["verdicts"]["margin"]
    assert verdict["false"]["asked"] == 80
    assert verdict["accepted"]["rate"] > 0.8
    assert verdict["false"]["rate"] < 0.3


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"ids": "9999"}, "there are 80 ids"),
        ({"ids": "some"}, "a .npy file"),
        ({"index": "IVF8,Foo"}, "neither one of"),
        ({"lengths": ["0"]}, "numbers of segments"),
        ({"lengths": ["x"]}, "numbers of segments"),
        ({"matcher": "best"}, "allowed are diagonal"),
        ({"compat": True, "index": "auto"}, "by its name"),
        ({"compat": True, "index": "l2", "dummy": ""}, "there is none"),
        ({"group": ["snr"]}, "no column"),
        ({"query": "dummy_db"}, "name the right answers in a file"),
        ({"matcher": "vote", "shifts": 2}, "no --shifts"),
    ],
)
def test_what_cannot_be_is_refused_before_work(known, tmp_path, settings, said):
    with pytest.raises(ValueError, match=said):
        run(known, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_missing_store_is_named(known, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no store 'tests'.*db, dummy_db, query"):
        run(known, tmp_path / "out", query="tests")


def test_ids_of_another_store_are_refused(known, tmp_path):
    np.save(tmp_path / "ids.npy", [3, 240])
    with pytest.raises(ValueError, match=r"outside 0 .. 239.*240"):
        run(known, tmp_path / "out", ids=str(tmp_path / "ids.npy"))


def test_vectors_that_are_no_fingerprints_are_refused(tmp_path):
    folder = save_bare(tmp_path / "s", db=2 * DB, query=QUERY)
    with pytest.raises(ValueError, match="length 2"):
        run(folder, tmp_path / "out")
    folder = save_bare(tmp_path / "s", db=DB[:0], query=QUERY)
    with pytest.raises(ValueError, match="'db' is empty"):
        run(folder, tmp_path / "out")


def test_an_evaluation_imports_no_jax(known, tmp_path):
    code = f"""
import sys
from evaluation.scores import evaluate
evaluate.run(evaluate.Request(store=[{known!r}], out={str(tmp_path / "o")!r}, index="l2", ids="5"))
print("jax" in sys.modules or "flax" in sys.modules or "matplotlib" in sys.modules)
"""
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.splitlines()[-1] == "False"
    assert "top-1 exact" in said


def test_a_report_is_one_page_and_its_pictures(clips):
    out, page = clips / "out", clips / "page"
    run(
        str(clips),
        out,
        truth=str(clips / "expected.csv"),
        group=["condition", "snr"],
        report=str(page),
        unknown="left-out",
    )
    names = sorted(path.name for path in page.iterdir())
    assert names == [
        "accept_or_reject.png",
        "hit_rate_by_condition.png",
        "hit_rate_by_length.png",
        "hit_rate_by_snr.png",
        "index.html",
        "overview.png",
        "similarity.png",
    ]
    text = (page / "index.html").read_text()
    assert text.count("data:image/png;base64,") == 6
    assert "http" not in text.replace("http-equiv", "")  # Self-contained.
    assert "condition = quiet" in text
    assert "bytes per second of audio" in text
