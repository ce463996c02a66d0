"""Clips in, replies out: what `nafp identify` does with a trained network and a collection."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

from nafp import errors
from nafp.identify import answers, clips, pfann_files
from nafp.identify import identifier as identify
from nafp.search import confidence
from nafp.weights import sources

FOUND, NOTHING, FAILED = 0, 1, 2  # Exit codes; as of grep, a failure outweighs what was found.
FORMATS = (*answers.FORMATS, "pfann")
_FEW = 8  # Clips, up to which a start of JAX is not worth its while.


class Request(NamedTuple):
    """What is asked; `nafp identify --help` explains each.

    names: of clips. database: folder; None with a store.
    """

    names: Sequence[str]
    database: str | None = None
    store: str | None = None
    name: Sequence[str] = ("db",)
    checkpoint: str = "small"
    confidence: str | None = None
    microphone: float | None = None
    raw_hz: int = 0
    runtime: str = "auto"
    shifts: int = 0
    speeds: str = "auto"
    top: int = 1
    probability: float = identify.LEAST_PROBABLE
    format: str = "text"
    out: str | None = None


def run(request: Request, *, prepare: Callable[[], None] = lambda: None) -> int:
    """Does what `nafp identify` does, and returns its exit code. prepare: called before JAX is used.

    Raises ValueError or FileNotFoundError for what cannot be right, before work starts.
    """
    if (request.format == "pfann") != bool(request.out):
        raise errors.Invalid("--format=pfann writes files and needs --out=RESULT.tsv; other formats are printed")
    there, identifier, rate_hz = opened(request, prepare=prepare)
    about = dict(sample_rate_hz=rate_hz, longest_s=identify.LONGEST_S)
    heard = list(clips.listed(request.names, raw_hz=request.raw_hz, **about))
    if request.microphone:
        heard.append(clips.recorded(request.microphone, sample_rate_hz=rate_hz))
    code = tell(
        heard,
        identifier,
        sample_rate_hz=rate_hz,
        format=request.format,
        out=request.out,
        top=request.top,
        least=request.probability,
    )
    for trouble in there.troubles if there else ():
        print(f"damaged: {trouble}", file=sys.stderr)
    return code


def opened(request: Request, *, prepare: Callable[[], None] = lambda: None) -> tuple[Any, identify.Identifier, int]:
    """Opens what is to be searched and its network: (database or None, identifier, rate to decode clips at)."""
    runtime = _runtime(request)
    if runtime == "jax":
        prepare()
    settings = dict(shifts=request.shifts, speeds=request.speeds)
    if request.database:
        from nafp.database import database

        there = database.Database.open(request.database)
        network = there.network(runtime=runtime, batch_size=identify.BATCH)
        settings["confidence"] = _confidence(request) if request.confidence else there.confidence
        found = identify.Identifier(network, there.rows, there.index, **settings)
    else:
        there, settings["confidence"] = None, _confidence(request)
        network = sources.load(request.checkpoint, runtime=runtime, batch_size=identify.BATCH)
        where = network, request.store
        found = identify.Identifier.open(*where, names=request.name, **settings)
    return there, found, identify.listening_rate_hz(network.sample_rate_hz)


def _confidence(request: Request) -> confidence.Confidence | None:
    """Opens what was measured for a network: named, or beside its weights."""
    beside = sources.weights_file(request.checkpoint).with_suffix(".confidence.json")
    path = pathlib.Path(request.confidence or beside)
    if not path.is_file() and request.confidence:
        raise errors.NotFound(f"{path}: no such file; nafp evaluate --unknown=left-out writes RESULTS/confidence.json")
    return confidence.Confidence.load(path) if path.is_file() else None


def _runtime(request: Request) -> str:
    """Chooses numpy where it answers sooner: JAX takes seconds to start, and is faster from then on."""
    if request.runtime != "auto":
        return request.runtime
    if not importlib.util.find_spec("jax"):
        return "numpy"
    if request.database:
        file = pathlib.Path(request.database) / "network.safetensors"
    else:
        file = sources.weights_file(request.checkpoint)
    if file.suffix not in (".npz", ".safetensors") or not file.is_file():
        return "jax"
    several = len(request.names) > _FEW or any(map(clips.is_several, request.names))
    return "jax" if several else "numpy"


def replies(
    heard: Iterable[clips.Clip],
    identifier: identify.Identifier,
    *,
    sample_rate_hz: int,
    top: int = 1,
    least: float = identify.LEAST_PROBABLE,
) -> Iterator[tuple[answers.Reply, identify.Found | None]]:
    """Yields a reply to each clip, and all that was found for it; a clip that cannot be read has an error instead.

    sample_rate_hz: of the clips. top, least: as of `Identifier.identify`.
    """
    for clip in heard:
        try:
            samples, seconds = clip.load()
        except (errors.Undecodable, ValueError) as error:
            yield answers.Reply(clip.name, 0.0, error=getattr(error, "reason", str(error))), None
            continue
        try:
            found = identifier.rank(samples, sample_rate_hz=sample_rate_hz, top=max(2, top))
        except ValueError as error:
            yield answers.Reply(clip.name, seconds, error=str(error)), None
            continue
        good = [each for each in found.answers if identify.is_answer(each, least)][:top]
        closest = found.answers[0] if found.answers and not good else None
        yield answers.Reply(clip.name, seconds, good, closest), found


def tell(
    heard: Sequence[clips.Clip],
    identifier: identify.Identifier,
    *,
    format: str = "text",
    out: str | None = None,
    sample_rate_hz: int,
    top: int = 1,
    least: float = identify.LEAST_PROBABLE,
    to: TextIO | None = None,
) -> int:
    """Prints the reply to each clip as it is found, names what cannot be read, and returns the exit code.

    out: with format pfann, the file that its matcher would write.
    """
    if (format == "pfann") != bool(out):
        raise errors.Invalid(
            "--format=pfann writes files: name the first with --out=RESULT.tsv; other formats are printed"
        )
    to, counts, long = to or sys.stdout, {"found": 0, "unknown": 0, "failed": 0}, 0
    settings = dict(sample_rate_hz=sample_rate_hz, top=top, least=least)
    if out:
        with pfann_files.Files(out, identifier.rows) as files:
            for reply, found in replies(heard, identifier, **settings):
                files.add(reply.query, found)
                _count(reply, counts)
        print(
            f"{out}: {len(heard)} clips, {counts['failed']} of them could not be read",
            file=sys.stderr,
        )
        return FAILED if counts["failed"] else FOUND if counts["found"] else NOTHING
    if answers.header(format):
        print(answers.header(format), file=to, flush=True)
    for reply, _ in replies(heard, identifier, **settings):
        if not reply.error or format != "text":
            print(answers.said(reply, format), file=to, flush=True)
        long += reply.seconds > identify.LONGEST_S + 1
        _count(reply, counts)
    _conclude(counts, long, identifier)
    return FAILED if counts["failed"] else FOUND if counts["found"] else NOTHING


def _count(reply: answers.Reply, counts: dict[str, int]) -> None:
    if reply.error:
        print(f"{reply.query}: {reply.error}", file=sys.stderr, flush=True)
    counts["failed" if reply.error else "found" if reply.answers else "unknown"] += 1


def _conclude(counts: dict[str, int], long: int, identifier: identify.Identifier) -> None:
    """Says on standard error what a person should know of the whole."""
    if sum(counts.values()) > 1:
        said = f"{counts['found']} found, {counts['unknown']} not in the collection"
        failed = f", {counts['failed']} could not be read" if counts["failed"] else ""
        print(f"{sum(counts.values())} clips: {said}{failed}", file=sys.stderr)
    if long:
        print(
            f"{long} of them are longer than {identify.LONGEST_S:g} s, of which the beginning was listened to; nafp "
            "monitor says what is played when in a long recording",
            file=sys.stderr,
        )
    if not identifier.is_calibrated and counts["failed"] < sum(counts.values()):
        print(
            "this network was never calibrated: no probabilities, and no clip is refused as not in the collection",
            file=sys.stderr,
        )
