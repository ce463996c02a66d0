"""Measures how fast an evaluation is, beside a loop that searches and scores query by query.

python -m benchmarks.evaluation --rows=1000000 --folder=FOLDER --out=FILE [--loop_ids=2000]
    [--real=STORE --truth=queries/expected.csv]

Both run in one process on one thread, on the same faiss index (IVF-PQ 256/64/8, 40 probes, 20 neighbours, trained on
the dummy as in the original), and must agree. The loop does what eval_faiss.py of the original does. Their times are
CPU seconds. Then whole evaluations run in processes of their own, to measure peak memory, wall time and `--index=auto`.
The fingerprints are made up (fingerprints.py), or resemble those of a real store given by --real (lookalikes.py). In
the second case the real queries are asked too, with the dummy beside the real database.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
from absl import flags

from benchmarks import _ends, _result, fingerprints, lookalikes
from evaluation.scores import answers, metrics, questions, request, results, stores
from launch import exits
from nafp.search import index, index_files, plans

_ROWS = flags.DEFINE_integer("rows", 1_000_000, "Rows of the dummy store. Default: 1,000,000.")
_FOLDER = flags.DEFINE_string("folder", None, "The folder for the stores, 600 bytes a row. Required.", required=True)
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Required.", required=True)
_REAL = flags.DEFINE_string("real", None, "A store with db and query that rows resemble. Default: rows are made up.")
_TRUTH = flags.DEFINE_string("truth", None, "The CSV that says where the queries of --real were cut from.")
_IDS = flags.DEFINE_list("ids", ["60", "2000"], "The numbers of test ids to measure.")
_LOOP_IDS = flags.DEFINE_integer(
    "loop_ids", 2000, "Most ids the loop runs on; longer times are extrapolated. Default: 2000."
)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of ours, and of the loop up to 100 ids. Default: 3.")
_WHOLE = flags.DEFINE_bool("whole", True, "Also run whole evaluations in their own processes. Default: yes.")

METRICS = ("exact", "near", "top3", "top10")
LENGTHS = request.LENGTHS


def main() -> None:
    os.environ["NAFP_THREADS"] = "1"
    folder = Path(_FOLDER.value)
    folders = made_stores(folder)
    given = stores.read(folders)
    searched, about = opened(given, folder)
    numbers: dict[str, Any] = {
        "machine": machine(),
        "rows": len(given.database),
        "fingerprints": "lookalikes.py" if _REAL.value else "fingerprints.py",
        "index": about,
        "ids": {},
    }
    for n in map(int, _IDS.value):
        numbers["ids"][str(n)] = compared(given, searched, n, n_loop=min(n, _LOOP_IDS.value))
        print(json.dumps(numbers["ids"][str(n)], indent=1), flush=True)
    if _WHOLE.value:
        del searched
        numbers["whole"] = {name: whole(folder, folders, *options) for name, options in WHOLE.items()}
        if _REAL.value:
            numbers["whole"]["auto, real queries"] = whole(
                folder, [_REAL.value, folders[-1]], "--index=auto", f"--truth={_TRUTH.value}"
            )
        print(json.dumps(numbers["whole"], indent=1))
    _result.write(numbers, _OUT.value)


def made_stores(folder: Path) -> list[str]:
    """Makes the stores unless they exist. Returns their folders, that of the dummy last."""
    if not _REAL.value:
        if not (folder / "query_shape.npy").exists():
            fingerprints.make(str(folder), n_dummy=_ROWS.value)
        return [str(folder)]
    if not (folder / "dummy" / "dummy_db.json").exists():
        if not _TRUTH.value:
            raise exits.wrong("--real needs --truth, the CSV that says where its queries were cut from")
        lookalikes.make(str(folder), _REAL.value, _TRUTH.value, n_dummy=_ROWS.value)
    return [str(folder / "aligned"), str(folder / "dummy")]


def opened(given: stores.Inputs, folder: Path) -> tuple[index.Index, dict[str, Any]]:
    """Builds or loads the IVF-PQ index of the original. Returns the index and its description."""
    plan = index.plan("ivfpq", n_rows=len(given.database), dim=given.database.dim)
    plan = index.as_original(plan, n_dummy=given.n_dummy, n_rows=len(given.database))
    searched = index_files.opened(given.database, plan, folder, train_on=given.dummy)
    return searched, {**plan._asdict(), **searched.about, "bytes": searched.n_bytes, "file": ""}


def compared(given: stores.Inputs, searched: index.Index, n: int, *, n_loop: int) -> dict[str, Any]:
    """Runs our evaluation on n ids and the loop on n_loop of them, and compares their answers to the latter."""
    query = given.query
    choice = np.random.default_rng(0).permutation(len(query) - max(LENGTHS))[:n]
    asked = questions.row_aligned(query, given.database, n_dummy=given.n_dummy, ids=choice, as_original=True)
    runs = []
    loops: list[dict[str, Any]] = []
    for _ in range(_REPEATS.value):  # In turn, so that other work slows down both.
        runs.append(ours(given, searched, asked))
        if not loops or n_loop <= 100:
            loops.append(looped(given, searched, choice[:n_loop]))
    scored, answered, timings = runs[0][1:]
    ours_s, search_s = (
        statistics.median(values) for values in ([run[0] for run in runs], [run[3].search_cpu_s for run in runs])
    )
    loop = loops[0]
    ratios = [(once["search_s"] + once["score_s"]) * n / n_loop / run[0] for once, run in zip(loops, runs)]
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
        "top10_lists_that_differ_beyond_ties": differing(answered, loop, n_loop),
        "lists_compared": n_loop * len(LENGTHS),
        "top1_exact": dict(zip(map(str, LENGTHS), scored.right["exact"].mean(axis=0).tolist())),
    }


def ours(
    given: stores.Inputs, searched: index.Index, asked: questions.Questions
) -> tuple[float, results.Scored, metrics.Answers, answers.Timings]:
    """Answers all questions at all lengths. Returns (CPU seconds, the scored answers, the answers, their timings)."""
    began = time.process_time()
    answered, timings, _ = answers.answer(
        asked,
        given.query,
        given.database,
        searched,
        lengths=LENGTHS,
        matcher=answers.Matcher(as_original=True),
    )
    scored = results.score(asked, answered, LENGTHS, by_row=True, has_tracks=False)
    return time.process_time() - began, scored, answered, timings


def looped(given: stores.Inputs, searched: index.Index, ids: np.ndarray) -> dict[str, Any]:
    """Searches and scores sequence by sequence, and candidate by candidate.

    The index and the vectors are those of `ours`. faiss runs on one thread.
    """
    faiss_index, query = searched._cpu, np.asarray(given.query.parts[0])
    dummy, db = given.database.parts
    everything = JoinedRows(dummy, db)
    right = np.zeros((len(ids), len(LENGTHS), len(METRICS)), bool)
    best = np.full((len(ids), len(LENGTHS), 10), -1, np.int64)
    scored = np.full((len(ids), len(LENGTHS), 10), -np.inf)
    search_s = score_s = 0.0
    for row, test_id in enumerate(ids):
        for column, length in enumerate(LENGTHS):
            sequence = query[test_id : test_id + length]
            began = time.process_time()
            _, near = faiss_index.search(sequence, plans.ORIGINAL_K)
            middle = time.process_time()
            starts = near - np.arange(len(near))[:, None]
            candidates = np.unique(starts[starts >= 0])
            scores = np.array([np.mean(np.diag(sequence @ everything[c : c + len(sequence)].T)) for c in candidates])
            order = np.argsort(-scores, kind="stable")[:10]
            score_s += time.process_time() - middle
            search_s += middle - began
            ranked, truth = candidates[order], test_id + given.n_dummy
            right[row, column] = (
                ranked[0] == truth,
                abs(ranked[0] - truth) <= 1,
                truth in ranked[:3],
                truth in ranked,
            )
            best[row, column, : len(order)] = ranked
            scored[row, column, : len(order)] = scores[order]
    return {
        "right": right,
        "best": best,
        "scores": scored,
        "search_s": search_s,
        "score_s": score_s,
    }


class JoinedRows:
    """The rows of dummy and database as one array, read by slices. The original appends to a file for it."""

    def __init__(self, dummy: np.ndarray, db: np.ndarray):
        self._parts, self._n = (dummy, db), len(dummy)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, (dummy, db) = rows.start, rows.stop, self._parts
        if stop <= self._n:
            return dummy[start:stop]
        if start >= self._n:
            return db[start - self._n : stop - self._n]
        return np.concatenate([dummy[start:], db[: stop - self._n]])


def differing(answered: metrics.Answers, loop: dict[str, Any], n: int) -> int:
    """Counts the top-10 lists that differ in more than the order of equal scores."""
    ours, theirs = answered.starts[:n], loop["best"]
    ours = np.where(np.isfinite(ours), ours, -1)
    both = np.isfinite(loop["scores"]) & np.isfinite(answered.scores[:n])
    apart = np.where(both, np.abs(answered.scores[:n] - loop["scores"]), 0)
    return int(((ours != theirs) & (apart > 1e-6)).any(axis=2).sum())


# Whole evaluations: name -> flags of nafp evaluate.
WHOLE = {
    "ivfpq, compat, 2000 ids": ["--index=ivfpq", "--compat", "--ids=2000"],
    "auto, 2000 ids": ["--index=auto", "--ids=2000", "--rows_per_track=59"],
}


def whole(folder: Path, folders: list[str], *options: str) -> dict[str, Any]:
    """Runs `nafp evaluate`, building the index too, on as many threads as there are cores."""
    out = folder / "results"
    line = [sys.executable, "-m", "nafp", "evaluate", f"--store={','.join(folders)}", f"--out={out}"]
    environment = {k: v for k, v in os.environ.items() if k != "NAFP_THREADS"}
    began = time.perf_counter()
    subprocess.run([*line, "--index_folder=", *options], check=True, env=environment, stdout=subprocess.DEVNULL)
    wall_s = time.perf_counter() - began
    record = json.loads((out / "results.json").read_text())
    memory = record["timings"]["peak_memory_mb"] * 2**20
    return {
        "factory": record["index"]["factory"],
        "n_probe": record["index"]["n_probe"],
        "k": record["index"]["k"],
        "wall_s": wall_s,
        "index_s": record["timings"]["index_s"],
        "search_cpu_s": record["timings"]["search_cpu_s"],
        "match_cpu_s": record["timings"]["match_cpu_s"],
        "peak_memory_bytes": memory,
        "index_bytes": record["index"]["bytes"],
        "peak_memory_to_index": memory / record["index"]["bytes"],
        "rows": record["index"]["rows"],
        "queries": record["questions"]["all"],
        "ms_per_query": record["timings"]["ms_per_query"],
        "top1_exact": {k: v["exact"]["rate"] for k, v in record["hit_rates"].items()},
        "song": {k: v["song"]["rate"] for k, v in record["hit_rates"].items()},
    }


def machine() -> dict[str, Any]:
    """Describes the machine, the kernels of BLAS and the load."""
    libraries = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    kernels = {Path(library["filepath"]).parent.name: library["architecture"] for library in libraries}
    return {**results.machine(), "blas_kernels": kernels, "load": os.getloadavg()[0]}


if __name__ == "__main__":
    _ends.run(main)
