"""Matchers and indexes in one table, on the same fingerprints.

python -m benchmarks.matchers --store=STORE --truth=queries/expected.csv --out=FILE
    [--fine=STORE2,STORE4]

Every line answers the same clips out of the same store (its names db and query); one search serves
all lines of an index. Recall is how often the exact nearest row is among the neighbours. Differences
to the first line of a block are tested clip by clip (McNemar). --fine: stores whose rows `query`
are of the same clips at half, a quarter, ... of the database's hop (nafp extract --shifts=2); these
and a line without shifts make a block of their own, over the clips that all of them have.
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

from evaluation.scores import answers as answering
from evaluation.scores import metrics, results, statistics, stores, tables
from evaluation.scores import questions as protocol
from nafp.search import collection, index, store

_STORE = flags.DEFINE_string("store", None, "Folder with the stores db and query.")
_TRUTH = flags.DEFINE_string("truth", None, "CSV query,answer,time.")
_FINE = flags.DEFINE_list("fine", [], "Folders with a finer `query`, comma between.")
_LENGTHS = flags.DEFINE_list("lengths", ["1", "3", "5", "9", "19"], "Lengths, segments.")
_RECALL_ROWS = flags.DEFINE_integer("recall_rows", 2000, "Rows that recall is measured on.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")
flags.mark_flags_as_required(["store", "truth", "out"])

# Kind, lists probed. With all of the lists probed the loss left is that of the codes.
INDEXES = (("IVF256,PQ64x4fs", 41), ("IVF256,PQ64x4fs", 128), ("ivfpq", 40), ("ivf", 40))
# Name, neighbours kept, matcher.
MATCHERS = (
    ("diagonal", 100, answering.Matcher()),
    ("diagonal", 20, answering.Matcher()),
    ("diagonal, also between rows", 100, answering.Matcher(between=True)),
    ("diagonal, also between rows", 20, answering.Matcher(between=True)),
    ("diagonal, sharpness 2", 100, answering.Matcher(sharpness=2)),
    ("diagonal, sharpness 8", 100, answering.Matcher(sharpness=8)),
    ("diagonal, borders ignored", 100, answering.Matcher(as_original=True)),
    ("vote", 1, answering.Matcher("vote")),
    ("vote", 5, answering.Matcher("vote")),
    ("vote", 20, answering.Matcher("vote")),
    ("vote", 100, answering.Matcher("vote")),
    ("window", 5, answering.Matcher("window")),
    ("window", 20, answering.Matcher("window")),
    ("window", 100, answering.Matcher("window")),
)


class Asked(NamedTuple):
    """The clips of one query store, and the database."""

    questions: protocol.Questions
    query: collection.Collection
    database: collection.Collection


def main(argv: list[str]) -> None:
    del argv
    lengths = tuple(map(int, _LENGTHS.value))
    asked = opened([_STORE.value], shifts=1)
    blocks = {"matchers": compared(asked, lengths)}
    if _FINE.value:
        blocks["query rows per row of the database"] = shifted(asked, lengths)
    found = {"machine": results.machine(), "rows": len(asked.database), "blocks": {}}
    for title, lines in blocks.items():
        kept = found["blocks"].setdefault(title, [])
        for line in lines:  # Kept as they come: an interrupted run has its first lines.
            kept.append(line)
            print(line["name"], line["index"], line["k"], flush=True)
            Path(_OUT.value).write_text(json.dumps(found, indent=1) + "\n")
    for title, lines in found["blocks"].items():
        print(table(title, lines, asked.database), end="\n\n")


def opened(folders: Sequence[str], *, shifts: int) -> Asked:
    """Opens a query store and the database, which is in the last folder."""
    query = collection.Collection.of([store.Store.open(folders[0], "query")])
    database = collection.Collection.of([store.Store.open(folders[-1], "db")])
    stores.require_hops(query, database, shifts)
    return Asked(protocol.truth_file(_TRUTH.value, query, database)[0], query, database)


def compared(asked: Asked, lengths: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yields a line per matcher on an exact index, then one per index."""
    exact, base = made(asked, "l2", 0, 100), None
    found, search_s = searched(asked, exact, max(lengths), shifts=1)
    drawn = np.random.default_rng(0).permutation(len(found.numbers))[: _RECALL_ROWS.value]
    for name, k, matcher in MATCHERS:
        fewer = found._replace(neighbours=found.neighbours[:, :k], cosines=found.cosines[:, :k])
        line, right = answered(asked, fewer, lengths, matcher)
        base = right if base is None else base
        yield {"name": name, "index": "exact", "k": k, "recall": 1.0, "search_cpu_s": search_s} | (
            line | against(base, right, lengths)
        )
    for kind, probes in INDEXES:
        built = made(asked, kind, probes, 100)
        near, search_s = searched(asked, built, max(lengths), shifts=1)
        recall = (near.neighbours[drawn] == found.neighbours[drawn, :1]).any(axis=1).mean()
        line, right = answered(asked, near, lengths, answering.Matcher())
        about = {"index": built.plan.factory, "n_probe": built.plan.n_probe, "k": 100}
        cost = {"recall": float(recall), "search_cpu_s": search_s, "bytes": built.n_bytes}
        yield {"name": "diagonal"} | about | cost | line | against(base, right, lengths)


def shifted(asked: Asked, lengths: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yields a line per fineness of the query's rows, the usual one first."""
    exact, base = made(asked, "l2", 0, 100), None
    fine = [opened([folder, _STORE.value], shifts=1 << n) for n, folder in enumerate(_FINE.value, 1)]
    have = set.intersection(*({Path(name).name for name in one.questions.names} for one in fine))
    for n, one in enumerate([asked, *fine]):
        keep = np.array([Path(name).name in have for name in one.questions.names])
        some = one._replace(questions=one.questions.some(keep))
        found, search_s = searched(some, exact, max(lengths), shifts=1 << n)
        line, right = answered(some, found, lengths, answering.Matcher(shifts=1 << n))
        base = right if base is None else base
        about = {"name": f"{1 << n}", "index": "exact", "k": 100, "search_cpu_s": search_s}
        yield about | line | against(base, right, lengths)


def made(asked: Asked, kind: str, n_probe: int, k: int) -> index.Index:
    """Builds an index of the database."""
    rows = asked.database
    plan = index.plan(kind, n_rows=len(rows), dim=rows.dim, n_probe=n_probe, k=k)
    return index.build(rows, plan, check=False)


def searched(asked: Asked, built: index.Index, longest: int, *, shifts: int) -> tuple[answering.Neighbours, float]:
    """Searches all rows once; gives CPU seconds, too."""
    began, n_rows = time.process_time(), answering.rows_needed(longest, shifts)
    found = answering.search(asked.questions, asked.query, built, n_rows=n_rows)
    return found, time.process_time() - began


def answered(
    asked: Asked, found: answering.Neighbours, lengths: Sequence[int], matcher: answering.Matcher
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Gives hit rates and cost of a matcher, and what it had right, bool [Q, M] per metric."""
    began = time.process_time()
    answers = answering.match_all(asked.questions, asked.query, asked.database, found, lengths=lengths, matcher=matcher)
    spent_s = time.process_time() - began
    scored = results.score(asked.questions, answers, lengths, by_row=False, has_tracks=True)
    counts = metrics.count(scored.right, scored.asked)
    rates = {
        name: {str(n): results.cell(hits) for n, hits in zip(lengths, counts[name])}
        for name in ("song", "exact", "near")
    }
    n = len(asked.questions)
    return {"queries": n, "match_cpu_ms_per_query": 1e3 * spent_s / n, **rates}, scored.right


def against(base: dict[str, np.ndarray], right: dict[str, np.ndarray], lengths: Sequence[int]) -> dict[str, Any]:
    """Gives p of the difference to the block's first line, per metric and length."""
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
    """Writes a block as Markdown: right track, and right place, first."""
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
    app.run(main)
