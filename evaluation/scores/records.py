"""The record of an evaluation: what results.json holds, whichever command wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nafp.jobs import memory
from nafp.search import collection, confidence, index

from . import answers, metrics, open_set, questions, results, stores
from .request import Request


def record(
    request: Request,
    given: stores.Inputs,
    scored: results.Scored,
    *,
    searched: index.Index,
    about: dict[str, Any],
    timings: answers.Timings,
    left_out: metrics.Answers | None = None,
    fitted: confidence.Confidence | None = None,
    repeats: dict[str, Any] | None = None,
    recall: dict[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Puts together what was found.

    searched, about: the index and its description. left_out, fitted: as of `open_set.judged`. repeats, recall: what
    was found out about exact repeats, and about the index.
    """
    return {
        "format": results.FORMAT,
        "hit_rates": results.hit_rates(scored),
        "clustered": results.clustered(scored, seed=request.seed),
        "groups": results.grouped(scored, columns(request, scored.questions)),
        "open_set": open_set.judged(scored, left_out, false_accepts=request.false_accepts, fitted=fitted),
        "index": about,
        "repeats": repeats,
        "recall": recall,
        "timings": _timed(timings, about),
        "cost": _cost(timings, searched, given.database),
        "questions": counted(scored.questions),
        "audio": {"hop_s": given.database.hop_s, "segment_s": segment_s(given.database)},
        "stores": results.sides(given),
        "run": results.repeatable(request),
        "notes": list(notes),
    }


def columns(request: Request, asked: questions.Questions) -> list[str]:
    """Returns the columns to group by: those of the request, else `condition` where there is one."""
    if request.group is None:
        return [name for name in ("condition",) if name in asked.groups]
    return list(request.group)


def counted(asked: questions.Questions) -> dict[str, int]:
    """Counts the questions, those about recordings in the database and about others, and the songs they are of."""
    known = int(asked.is_known.sum())
    return {
        "all": len(asked),
        "known": known,
        "unknown": len(asked) - known,
        "songs": len(set(asked.songs)),
    }


def segment_s(rows: collection.Collection) -> float:
    """Returns the length of a segment in seconds. A bare store does not say it: twice the hop, as the original's."""
    lengths = [source.meta["segment_s"] for source in rows.sources if "segment_s" in source.meta]
    return float(lengths[0]) if lengths else 2 * rows.hop_s


def built_s(about: dict[str, Any]) -> float:
    """Returns the seconds that an index took to build."""
    return about["train_s"] + about["add_s"]


def _timed(timings: answers.Timings, about: dict[str, Any]) -> dict[str, Any]:
    """Returns what took how long, and the peak memory of this process."""
    n_questions = max(1, timings.n_questions)
    return {
        **timings._asdict(),
        "index_s": built_s(about),
        "ms_per_query": 1e3 * (timings.search_s + timings.match_s) / n_questions,
        "cpu_ms_per_query": 1e3 * (timings.search_cpu_s + timings.match_cpu_s) / n_questions,
        "peak_memory_mb": memory.peak_mb(),
    }


def _cost(timings: answers.Timings, searched: index.Index, database: collection.Collection) -> dict[str, float]:
    """Returns what a user pays: bytes per second of audio, and CPU per query."""
    audio_s = max(1e-9, len(database) * database.hop_s)
    spent_s = timings.search_cpu_s + timings.match_cpu_s
    return {
        "index_bytes_per_audio_s": searched.n_bytes / audio_s,
        "vector_bytes_per_audio_s": 4 * database.dim * len(database) / audio_s,
        "cpu_ms_per_query": 1e3 * spent_s / max(1, timings.n_questions),
    }
