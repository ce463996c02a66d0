"""How fast an evaluation is, against the loop that searches and scores query by query.

python -m benchmarks.evaluation --rows=1000000 --folder=FOLDER --out=FILE [--loop_ids=2000]
    [--real=STORE --truth=queries/expected.csv]

Both run in one process on one thread, on the same faiss index (IVF-PQ 256/64/8, 40 probes, 20
neighbours, trained on the dummy as the original does), and must give the same numbers. The loop
does what eval_faiss.py of the original does. CPU seconds (time.process_time). Then whole
evaluations in processes of their own: peak memory, wall time, `--index=auto`.
The fingerprints are made up, see fingerprints.py, or look like those of a real store (--real, with
its stores db and query), see lookalikes.py; the real queries are then asked, too, with the dummy
beside the real database.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import threadpoolctl
from absl import app, flags

from benchmarks import fingerprints, lookalikes
from evaluation.scores import answers as answering
from evaluation.scores import evaluate, results
from evaluation.scores import questions as protocol
from evaluation.scores import stores as inputs
from nafp.search import index, index_files, plans

_ROWS = flags.DEFINE_integer("rows", 1_000_000, "Rows of the dummy store.")
_FOLDER = flags.DEFINE_string("folder", None, "Where the stores are made; 600 bytes a row.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")
_REAL = flags.DEFINE_string("real", None, "Store that the rows shall look like; with db, query.")
_TRUTH = flags.DEFINE_string("truth", None, "The CSV of where its queries are from.")
_IDS = flags.DEFINE_list("ids", ["60", "2000"], "Numbers of test ids.")
_LOOP_IDS = flags.DEFINE_integer("loop_ids", 2000, "Ids the loop is run on; the rest is linear.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of ours, and of loops of up to 100 ids.")
_WHOLE = flags.DEFINE_bool("whole", True, "Also run whole evaluations in their own processes.")
flags.mark_flags_as_required(["folder", "out"])

METRICS = ("exact", "near", "top3", "top10")
LENGTHS = evaluate.LENGTHS


def main(argv: list[str]) -> None:
    del argv
    os.environ["NAFP_THREADS"] = "1"
    folder = Path(_FOLDER.value)
    places = stores(folder)
    given = inputs.read(places)
    built, about = opened(given, folder)
    found = {
        "machine": machine(),
        "rows": len(given.database),
        "fingerprints": "lookalikes.py" if _REAL.value else "fingerprints.py",
        "index": about,
        "ids": {},
    }
    for n in map(int, _IDS.value):
        found["ids"][str(n)] = compared(given, built, n, n_loop=min(n, _LOOP_IDS.value))
        print(json.dumps(found["ids"][str(n)], indent=1), flush=True)
    if _WHOLE.value:
        del built
        found["whole"] = {name: whole(folder, places, *more) for name, more in WHOLE.items()}
        if _REAL.value:
            real = [_REAL.value, places[-1]], "--index=auto", f"--truth={_TRUTH.value}"
            found["whole"]["auto, real queries"] = whole(folder, *real)
        print(json.dumps(found["whole"], indent=1))
    Path(_OUT.value).write_text(json.dumps(found, indent=1) + "\n")


def stores(folder: Path) -> list[str]:
    """Makes the stores unless they are there; gives their folders, the dummy's last."""
    if not _REAL.value:
        if not (folder / "query_shape.npy").exists():
            fingerprints.make(str(folder), n_dummy=_ROWS.value)
        return [str(folder)]
    if not (folder / "dummy" / "dummy_db.json").exists():
        lookalikes.make(str(folder), _REAL.value, _TRUTH.value, n_dummy=_ROWS.value)
    return [str(folder / "aligned"), str(folder / "dummy")]


def opened(given: inputs.Inputs, folder: Path) -> tuple[index.Index, dict]:
    """Builds or loads the original's IVF-PQ index."""
    plan = index.plan("ivfpq", n_rows=len(given.database), dim=given.database.dim)
    plan = index.as_original(plan, n_dummy=given.n_dummy)
    built = index_files.opened(given.database, plan, folder, train_on=given.dummy)
    return built, {**plan._asdict(), **built.about, "bytes": built.n_bytes, "file": ""}


def compared(given: inputs.Inputs, built: index.Index, n: int, *, n_loop: int) -> dict:
    """Runs ours on n ids, the loop on n_loop of them, and compares the answers to those."""
    query = given.query
    choice = np.random.default_rng(0).permutation(len(query) - max(LENGTHS))[:n]
    questions = protocol.row_aligned(query, given.database, n_dummy=given.n_dummy, ids=choice, as_original=True)
    runs, loops = [], []
    for _ in range(_REPEATS.value):  # In turns: a busy neighbour slows both.
        runs.append(ours(given, built, questions))
        if not loops or n_loop <= 100:
            loops.append(looped(given, built, choice[:n_loop]))
    scored, answers, timings = runs[0][1:]
    ours_s, search_s = (
        statistics.median(values) for values in ([run[0] for run in runs], [run[3].search_cpu_s for run in runs])
    )
    loop = loops[0]
    ratios = [(each["search_s"] + each["score_s"]) * n / n_loop / run[0] for each, run in zip(loops, runs)]
    right = np.stack([scored.right[name][:n_loop] for name in METRICS], axis=2)  # [Q, M, 4]
    loop_s = (loop["search_s"] + loop["score_s"]) * n / n_loop
    if len(loops) < len(runs):
        ratios = [loop_s / ours_s]
    return {
        "n": n,
        "distinct_rows": timings.n_rows,
        "ours_cpu_s": ours_s,
        "ours_search_cpu_s": search_s,
        "ours_share_in_search": search_s / ours_s,
        "loop_ids": n_loop,
        "loop_cpu_s": loop_s,
        "loop_search_cpu_s": loop["search_s"] * n / n_loop,
        "times_less_cpu": statistics.median(ratios),
        "times_less_cpu_each": ratios,
        "flags_that_differ": int((right != loop["right"]).sum()),
        "top10_lists_that_differ_beyond_ties": differing(answers, loop, n_loop),
        "lists_compared": n_loop * len(LENGTHS),
        "top1_exact": dict(zip(map(str, LENGTHS), scored.right["exact"].mean(axis=0).tolist())),
    }


def ours(
    given: inputs.Inputs, built: index.Index, questions: protocol.Questions
) -> tuple[float, results.Scored, answering.Answers, answering.Timings]:
    """Answers all questions at all lengths; gives CPU seconds and what was found."""
    began = time.process_time()
    answers, timings, _ = answering.answer(
        questions,
        given.query,
        given.database,
        built,
        lengths=LENGTHS,
        matcher=answering.Matcher(as_original=True),
    )
    scored = results.score(questions, answers, LENGTHS, by_row=True, has_tracks=False)
    return time.process_time() - began, scored, answers, timings


def looped(given: inputs.Inputs, built: index.Index, ids: np.ndarray) -> dict:
    """Searches and scores one sequence after the other, one candidate after the other.

    The index and vectors are ours, opened the same way; faiss runs on one thread.
    """
    searched, query = built._cpu, np.asarray(given.query.parts[0])
    dummy, db = given.database.parts
    everything = Grown(dummy, db)
    right = np.zeros((len(ids), len(LENGTHS), len(METRICS)), bool)
    best = np.full((len(ids), len(LENGTHS), 10), -1, np.int64)
    scored = np.full((len(ids), len(LENGTHS), 10), -np.inf)
    search_s = score_s = 0.0
    for row, test_id in enumerate(ids):
        for column, length in enumerate(LENGTHS):
            asked = query[test_id : test_id + length]
            began = time.process_time()
            _, near = searched.search(asked, plans.ORIGINAL_K)
            middle = time.process_time()
            starts = near - np.arange(len(near))[:, None]
            candidates = np.unique(starts[starts >= 0])
            scores = np.array([np.mean(np.diag(asked @ everything[c : c + len(asked)].T)) for c in candidates])
            order = np.argsort(-scores, kind="stable")[:10]
            score_s += time.process_time() - middle
            search_s += middle - began
            named, truth = candidates[order], test_id + given.n_dummy
            right[row, column] = (
                named[0] == truth,
                abs(named[0] - truth) <= 1,
                truth in named[:3],
                truth in named,
            )
            best[row, column, : len(order)] = named
            scored[row, column, : len(order)] = scores[order]
    return {
        "right": right,
        "best": best,
        "scores": scored,
        "search_s": search_s,
        "score_s": score_s,
    }


class Grown:
    """Dummy and database rows as one array, read by slices (the original grows a file for it)."""

    def __init__(self, dummy: np.ndarray, db: np.ndarray):
        self._parts, self._n = (dummy, db), len(dummy)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, (dummy, db) = rows.start, rows.stop, self._parts
        if stop <= self._n:
            return dummy[start:stop]
        if start >= self._n:
            return db[start - self._n : stop - self._n]
        return np.concatenate([dummy[start:], db[: stop - self._n]])


def differing(answers: answering.Answers, loop: dict, n: int) -> int:
    """Counts top-10 lists whose starts or scores differ, equal scores in any order."""
    ours, theirs = answers.starts[:n], loop["best"]
    ours = np.where(np.isfinite(ours), ours, -1)
    both = np.isfinite(loop["scores"]) & np.isfinite(answers.scores[:n])
    apart = np.where(both, np.abs(answers.scores[:n] - loop["scores"]), 0)
    return int(((ours != theirs) & (apart > 1e-6)).any(axis=2).sum())


# Whole evaluations: name -> flags beside the store.
WHOLE = {
    "ivfpq, compat, 2000 ids": ["--index=ivfpq", "--compat", "--ids=2000"],
    "auto, 2000 ids": ["--index=auto", "--ids=2000", "--rows_per_track=59"],
}


def whole(folder: Path, places: list[str], *more: str) -> dict:
    """Runs `nafp evaluate` from nothing, index built, on as many threads as there are cores."""
    out = folder / "results"
    line = [sys.executable, "-m", "nafp", "evaluate", f"--store={','.join(places)}", f"--out={out}"]
    environment = {k: v for k, v in os.environ.items() if k != "NAFP_THREADS"}
    began = time.perf_counter()
    subprocess.run([*line, "--index_folder=", *more], check=True, env=environment, stdout=subprocess.DEVNULL)
    wall_s = time.perf_counter() - began
    found = json.loads((out / "results.json").read_text())
    memory = found["timings"]["peak_memory_mb"] * 2**20
    return {
        "factory": found["index"]["factory"],
        "n_probe": found["index"]["n_probe"],
        "k": found["index"]["k"],
        "wall_s": wall_s,
        "index_s": found["timings"]["index_s"],
        "search_cpu_s": found["timings"]["search_cpu_s"],
        "match_cpu_s": found["timings"]["match_cpu_s"],
        "peak_memory_bytes": memory,
        "index_bytes": found["index"]["bytes"],
        "peak_memory_to_index": memory / found["index"]["bytes"],
        "rows": found["index"]["rows"],
        "queries": found["questions"]["all"],
        "ms_per_query": found["timings"]["ms_per_query"],
        "top1_exact": {k: v["exact"]["rate"] for k, v in found["hit_rates"].items()},
        "song": {k: v["song"]["rate"] for k, v in found["hit_rates"].items()},
    }


def machine() -> dict:
    """Says on what this ran."""
    blas = [each for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]
    kernels = {Path(each["filepath"]).parent.name: each["architecture"] for each in blas}
    return {**results.machine(), "blas_kernels": kernels, "load": os.getloadavg()[0]}


if __name__ == "__main__":
    app.run(main)
