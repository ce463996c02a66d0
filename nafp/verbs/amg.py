"""`nafp amg`: the second stage of AMG-Embedding, from clips to a table of scores.

Each verb is a function of its name. It prints its report and returns the exit code.
"""

from __future__ import annotations

import inspect
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tabulate

from nafp import errors
from nafp.jobs import choices, outputs, shown, whole_files
from nafp.verbs import subverbs

DONE = 0  # Exit code.
_OURS = ("render", "prepare")  # Keywords that the launcher adds.
_MOST_LINES = 20  # Clips that were left out and are named.
METHOD_NAMES = {"first": "first stage", "single": "single stage", "two": "two stages"}
Render = Callable[..., tuple[int, Iterator[Any]]]


def run(
    verb: str, sources: Sequence[str], settings: Mapping[str, Any], *, render: Render, prepare: Callable[[], None]
) -> int:
    """Runs a verb and returns its exit code.

    render: makes the clips, `evaluation.queries.pairs.clips_from`. prepare: called before JAX is used. Raises
    errors.Invalid for a verb or a setting that does not exist.
    """
    subverbs.require("amg", verb, VERBS)
    subverbs.check(f"amg {verb}", VERBS[verb], settings, ours=_OURS)
    if sources and verb != "split":
        raise errors.Invalid(f"amg {verb}: unexpected {' '.join(sources)}; every setting is a --flag=value")
    added = {"render": render, "prepare": prepare}
    taken = inspect.signature(VERBS[verb]).parameters
    return VERBS[verb](list(sources), **settings, **{name: added[name] for name in _OURS if name in taken})


def clips(
    sources: list[str],
    *,
    source: str,
    out: str,
    split: str = "train",
    noise: str = "",
    noise_split: str = "",
    conditions: Sequence[str] = (),
    count: int = 0,
    per_track: int = 0,
    versions: int = 10,
    seconds: float = 30.0,
    checkpoint: str = "small",
    seed: int = 0,
    jobs: int = 0,
    render: Render,
    prepare: Callable[[], None],
) -> int:
    """Renders clips of a corpus, clean and degraded, and writes their fingerprints. Run again, it resumes."""
    if versions < 1:
        raise errors.Invalid(f"--versions={versions}: the clean one counts, so at least 1 is needed")
    prepare()
    from nafp.sequences import clips as folders
    from nafp.sequences import from_audio
    from nafp.weights import sources as networks

    network = networks.load(checkpoint)
    drawn = {
        "split": split,
        "noise_split": noise_split,
        "count": count,
        "per_track": per_track,
        "seconds": seconds,
        "seed": seed,
    }
    chain = {"names": list(conditions)} if conditions else {}
    about = {"model": dict(network.identity), "source": source, "noise": noise, "versions": versions, **drawn, **chain}
    writer = folders.Writer(out, about)
    total, rendered = render(
        source,
        noise,
        **drawn,
        **chain,
        variants=versions - 1,
        sample_rate_hz=network.sample_rate_hz,
        jobs=jobs,
        done={tuple(place) for place in writer.places},
    )
    report = from_audio.fill(writer, rendered, network, total=total, show=True)
    print(f"{out}: {report.n_clips} clips of {seconds:g} s, each in {versions} versions")
    if report.failures:
        print(f"{len(report.failures)} left out:")
        print(shown.lines(f"  {name}: {reason}" for name, reason in report.failures[:_MOST_LINES]))
    return DONE


def split(sources: list[str], *, out: str, seconds: float = 5.0) -> int:
    """Cuts the recordings of a folder or a store into chunks."""
    from nafp.sequences import chunks, splitting

    if len(sources) != 1:
        raise errors.Invalid("amg split needs one folder or store: nafp amg split CLIPS --seconds=5 --out=CHUNKS")
    n_whole, n_chunks = splitting.split(sources[0], out, seconds=seconds)
    print(f"{out}: {n_chunks} chunks of {chunks.rows_of(seconds)} rows ({seconds:g} s), from {n_whole} recordings")
    return DONE


def train(
    sources: list[str],
    *,
    config: Any,
    workdir: str,
    resume_from: int | None = None,
    prepare: Callable[[], None],
) -> int:
    """Trains the second stage. Run again, it resumes."""
    from nafp.sequences import settings

    settings.validated(config)
    prepare()
    from nafp.sequences import training

    training.train(config, workdir, resume_from=resume_from)
    return DONE


def evaluate(
    sources: list[str],
    *,
    checkpoint: str,
    db: str,
    query: str,
    dummy: str = "",
    lengths: Sequence[str] = ("5", "10", "15", "30"),
    starts: str = "5",
    methods: Sequence[str] = (),
    seconds: float = 0.0,
    out: str = "",
    prepare: Callable[[], None],
) -> int:
    """Scores the second stage beside the first one alone, with what each costs."""
    from nafp.sequences import evaluation, recordings

    asked_s, chosen = _seconds(lengths), list(methods or evaluation.METHODS)
    for method in chosen:
        choices.require("--methods", method, evaluation.METHODS)
    if out:
        formers = {"results.json": outputs.json_of("lines", "checkpoint"), "table.txt": outputs.never}
        outputs.require_set(
            {str(pathlib.Path(out) / name): formers[name] for name in formers}, verb="nafp amg evaluate"
        )
    prepare()
    from nafp.sequences import embedder

    network = embedder.load(checkpoint, seconds=int(seconds))
    places = recordings.starts(starts, chunk_seconds=network.seconds)
    opened = [
        recordings.opened(path, dim=network.dim, chunk_rows=network.chunk_rows) if path else None
        for path in (dummy, db, query)
    ]
    recordings.require_one_network(opened, network.config.data.first_stage, (dummy, db, query))
    confusers, database, asked = opened
    assert database is not None  # Its path is needed, as that of the queries.
    assert asked is not None
    answers = recordings.answers(asked, database)
    index = evaluation.Index(network, confusers, database)
    lines = list(evaluation.evaluate(network, index, asked, answers, places, seconds=asked_s, methods=chosen))
    if not lines:
        raise errors.Invalid(f"{query}: no recording is as long as {min(asked_s):g} s")
    text = f"{described(lines)}\n\n{costs(network, index)}"
    print(text)
    if out:
        _write(pathlib.Path(out), lines, text, about={"checkpoint": network.name, "db": db, "query": query})
    return DONE


def _seconds(lengths: Sequence[str]) -> list[float]:
    try:
        seconds = [float(length) for length in lengths]
    except ValueError:
        seconds = []
    if not seconds or min(seconds) < 2:
        raise errors.Invalid(f"--lengths={','.join(lengths)}: numbers of seconds, each at least 2, such as 5,10,15,30")
    return seconds


def described(lines: Sequence[Any]) -> str:
    """Writes the scores as a table, one line for each length and method."""
    rows = [
        [
            f"{line.seconds:g}",
            METHOD_NAMES[line.method],
            line.asked,
            *(_percent(count, line.asked) for count in line[3:7]),
            f"{line.ms:.2f}",
        ]
        for line in lines
    ]
    headers = ["s", "method", "queries", "chunk top-1", "top-10", "place top-1", "top-10", "ms a query"]
    return tabulate.tabulate(rows, headers, disable_numparse=True, colalign=("right", "left", *["right"] * 6))


def _percent(count: int, asked: int) -> str:
    return "-" if count < 0 else f"{100 * count / asked:.1f}"


def costs(network: Any, index: Any) -> str:
    """Writes what the second stage is and keeps, beside the first."""
    n_bytes, all_bytes = index.vectors.nbytes, index.rows.nbytes
    return (
        f"second stage: {network.config.model.name}, {network.n_parameters:,} parameters, "
        f"{network.n_operations() / 1e6:.0f} million operations a vector; {len(index.vectors)} vectors embedded in "
        f"{index.build_s:.1f} s\n"
        f"memory to search: {n_bytes / 1e6:.2f} MB of vectors for chunks of {network.seconds} s, "
        f"{all_bytes / 1e6:.2f} MB of fingerprints ({all_bytes / n_bytes:.1f} times as much); two stages read the "
        "fingerprints of ten chunks a query"
    )


def _write(folder: pathlib.Path, lines: Sequence[Any], text: str, *, about: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with whole_files.opened(folder / "results.json") as file:
        file.write(json.dumps({**about, "lines": [line._asdict() for line in lines]}, indent=1) + "\n")
    with whole_files.opened(folder / "table.txt") as file:
        file.write(text + "\n")


VERBS: dict[str, Callable[..., int]] = {"clips": clips, "split": split, "train": train, "evaluate": evaluate}
