"""Compares matchers and indexes in one table, on the same fingerprints.

python -m benchmarks.matchers --store=STORE --truth=queries/expected.csv --out=FILE
    [--fine=STORE2,STORE4]

Every line answers the same clips (the store `query`) from the same rows (the store `db`). All lines of an index share
one search. Recall is the share of query rows whose exact nearest row is among the neighbours. Each line is tested
against the first line of its block, clip by clip (McNemar). --fine names stores whose `query` has the same clips at a
half, a quarter, ... of the database's hop (nafp extract --shifts=2). They make a block of their own, together with a
line without shifts, over the clips that all of them have.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from benchmarks import _ends, _result
from evaluation.scores import answers, metrics, questions, results, statistics, stores, tables
from evaluation.scores.questions import Questions
from nafp.search import collection, index, store

_STORE = flags.DEFINE_string("store", None, "The folder with the stores db and query. Required.", required=True)
_TRUTH = flags.DEFINE_string("truth", None, "The CSV query,answer,time of the right answers. Required.", required=True)
_FINE = flags.DEFINE_list("fine", [], "Folders with a finer `query`, separated by commas. Default: none.")
_LENGTHS = flags.DEFINE_list("lengths", ["1", "3", "5", "9", "19"], "The lengths of queries, in segments.")
_RECALL_ROWS = flags.DEFINE_integer("recall_rows", 2000, "Query rows that recall is measured on. Default: 2000.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Required.", required=True)

# Kind of index and lists probed. If all lists are probed, the remaining loss is that of the codes.
INDEXES = (("IVF256,PQ64x4fs", 41), ("IVF256,PQ64x4fs", 128), ("ivfpq", 40), ("ivf", 40))
# Name, neighbours of each row, matcher.
MATCHERS = (
    ("diagonal", 100, answers.Matcher()),
    ("diagonal", 20, answers.Matcher()),
    ("diagonal, also between rows", 100, answers.Matcher(between=True)),
    ("diagonal, also between rows", 20, answers.Matcher(between=True)),
    ("diagonal, sharpness 2", 100, answers.Matcher(sharpness=2)),
    ("diagonal, sharpness 8", 100, answers.Matcher(sharpness=8)),
    ("diagonal, borders ignored", 100, answers.Matcher(as_original=True)),
    ("vote", 1, answers.Matcher("vote")),
    ("vote", 5, answers.Matcher("vote")),
    ("vote", 20, answers.Matcher("vote")),
    ("vote", 100, answers.Matcher("vote")),
    ("window", 5, answers.Matcher("window")),
    ("window", 20, answers.Matcher("window")),
    ("window", 100, answers.Matcher("window")),
)


class Clips(NamedTuple):
    """The clips of one query store, their right answers, and the database."""

    questions: Questions
    query: collection.Collection
    database: collection.Collection


Right = dict[str, np.ndarray]  # Metric -> bool [Q, M], whether each of Q clips is answered rightly at M lengths.


def main() -> None:
    lengths = tuple(map(int, _LENGTHS.value))
    clips = opened([_STORE.value], shifts=1)
    blocks = {"matchers": compared(clips, lengths)}
    if _FINE.value:
        blocks["query rows per row of the database"] = shifted(clips, lengths)
    finished: dict[str, list[dict[str, Any]]] = {}
    numbers = {"machine": results.machine(), "rows": len(clips.database), "blocks": finished}
    for title, lines in blocks.items():
        finished[title] = []
        for line in lines:  # Written one by one, so that an interrupted run leaves its first lines.
            finished[title].append(line)
            print(line["name"], line["index"], line["k"], flush=True)
            _result.write(numbers, _OUT.value)
    for title, rows in finished.items():
        print(table(title, rows, clips.database), end="\n\n")


def opened(folders: Sequence[str], *, shifts: int) -> Clips:
    """Opens the query store of the first folder and the database of the last one."""
    query = collection.Collection.of([store.Store.open(folders[0], "query")])
    database = collection.Collection.of([store.Store.open(folders[-1], "db")])
    stores.require_hops(query, database, shifts)
    return Clips(questions.truth_file(_TRUTH.value, query, database)[0], query, database)


def compared(clips: Clips, lengths: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yields a line for each matcher on an exact index, then one for each index."""
    exact = made(clips, "l2", 0, 100)
    base: Right | None = None
    nearest, search_s = neighbours_of(clips, exact, max(lengths), shifts=1)
    sample = np.random.default_rng(0).permutation(len(nearest.numbers))[: _RECALL_ROWS.value]
    for name, k, matcher in MATCHERS:
        fewer = nearest._replace(neighbours=nearest.neighbours[:, :k], cosines=nearest.cosines[:, :k])
        line, right = answered(clips, fewer, lengths, matcher)
        base = right if base is None else base
        yield {"name": name, "index": "exact", "k": k, "recall": 1.0, "search_cpu_s": search_s} | (
            line | against(base, right, lengths)
        )
    for kind, probes in INDEXES:
        built = made(clips, kind, probes, 100)
        near, search_s = neighbours_of(clips, built, max(lengths), shifts=1)
        recall = (near.neighbours[sample] == nearest.neighbours[sample, :1]).any(axis=1).mean()
        line, right = answered(clips, near, lengths, answers.Matcher())
        base = right if base is None else base
        about = {"index": built.plan.factory, "n_probe": built.plan.n_probe, "k": 100}
        cost = {"recall": float(recall), "search_cpu_s": search_s, "bytes": built.n_bytes}
        yield {"name": "diagonal"} | about | cost | line | against(base, right, lengths)


def shifted(clips: Clips, lengths: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yields a line for each number of query rows per row of the database, 1 first."""
    exact = made(clips, "l2", 0, 100)
    base: Right | None = None
    fine = [opened([folder, _STORE.value], shifts=1 << n) for n, folder in enumerate(_FINE.value, 1)]
    common = set.intersection(*({Path(name).name for name in other.questions.names} for other in fine))
    for n, shifted_clips in enumerate([clips, *fine]):
        keep = np.array([Path(name).name in common for name in shifted_clips.questions.names])
        chosen = shifted_clips._replace(questions=shifted_clips.questions.some(keep))
        neighbours, search_s = neighbours_of(chosen, exact, max(lengths), shifts=1 << n)
        line, right = answered(chosen, neighbours, lengths, answers.Matcher(shifts=1 << n))
        base = right if base is None else base
        about = {"name": f"{1 << n}", "index": "exact", "k": 100, "search_cpu_s": search_s}
        yield about | line | against(base, right, lengths)


def made(clips: Clips, kind: str, n_probe: int, k: int) -> index.Index:
    """Builds an index of the database. n_probe 0: the default of the kind. k: neighbours of a row."""
    rows = clips.database
    plan = index.plan(kind, n_rows=len(rows), dim=rows.dim, n_probe=n_probe, k=k)
    return index.build(rows, plan, check=False)


def neighbours_of(clips: Clips, built: index.Index, longest: int, *, shifts: int) -> tuple[answers.Neighbours, float]:
    """Searches all query rows once. Returns their neighbours and the CPU seconds."""
    began, n_rows = time.process_time(), answers.rows_needed(longest, shifts)
    neighbours = answers.search(clips.questions, clips.query, built, n_rows=n_rows)
    return neighbours, time.process_time() - began


def answered(
    clips: Clips, neighbours: answers.Neighbours, lengths: Sequence[int], matcher: answers.Matcher
) -> tuple[dict[str, Any], Right]:
    """Returns hit rates and cost of a matcher, and its right answers, bool [Q, M] for each metric."""
    began = time.process_time()
    ranked = answers.match_all(
        clips.questions, clips.query, clips.database, neighbours, lengths=lengths, matcher=matcher
    )
    spent_s = time.process_time() - began
    scored = results.score(clips.questions, ranked, lengths, by_row=False, has_tracks=True)
    counts = metrics.count(scored.right, scored.asked)
    rates = {
        name: {str(n): results.cell(hits) for n, hits in zip(lengths, counts[name])}
        for name in ("song", "exact", "near")
    }
    n = len(clips.questions)
    return {"queries": n, "match_cpu_ms_per_query": 1e3 * spent_s / n, **rates}, scored.right


def against(base: Right, right: Right, lengths: Sequence[int]) -> dict[str, Any]:
    """Returns p of the difference to the first line of the block, for each metric and length."""
    return {
        "p": {
            name: {
                str(n): statistics.mcnemar(base[name][:, column], right[name][:, column]).p
                for column, n in enumerate(lengths)
            }
            for name in ("song", "near")
        }
    }


def table(title: str, lines: list[dict[str, Any]], rows: collection.Collection) -> str:
    """Writes a block as Markdown, with the rates of the right track and of the right place ranked first."""
    sizes = list(lines[0]["song"])
    audio_s = [tables.seconds(int(n), hop_s=rows.hop_s, segment_s=2 * rows.hop_s) for n in sizes]
    header = [title, "index", "k", "recall", *(f"{s:g} s" for s in audio_s), "CPU ms"]
    body = []
    for line in lines:
        probes = f", {line['n_probe']} probed" if line.get("n_probe") else ""
        rates = []
        for n in sizes:
            star = "*" if line["p"]["song"][n] < 0.05 else ""
            song, near = (100 * line[name][n]["rate"] for name in ("song", "near"))
            rates.append(f"{song:.1f}{star} / {near:.1f}")
        recall = f"{100 * line['recall']:.1f}" if "recall" in line else ""
        cost = 1e3 * line["search_cpu_s"] / line["queries"] + line["match_cpu_ms_per_query"]
        about = [line["name"], line["index"] + probes, str(line["k"]), recall]
        body.append([*about, *rates, f"{cost:.1f}"])
    return tables.markdown_table(header, body)


if __name__ == "__main__":
    _ends.run(main)
