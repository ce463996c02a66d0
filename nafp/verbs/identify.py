"""`nafp identify`: clips in, replies out, with a trained network and a collection."""

from __future__ import annotations

import math
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TextIO

from nafp import errors
from nafp.audio import live
from nafp.corpora import lists
from nafp.database import database, network_file, song_list
from nafp.identify import answers, asking, clips, identifier, pfann_files, replying
from nafp.jobs import shown
from nafp.search import store
from nafp.weights import calibrations, sources

FOUND, NOTHING, FAILED = 0, 1, 2  # Exit codes. As with grep, a failure outweighs what was found.
FORMATS = (*answers.FORMATS, "pfann")
_FEW_CLIPS = 8  # Up to this many, starting JAX takes longer than answering with numpy.


class IdentifyRequest(NamedTuple):
    """The settings of `nafp identify`, whose --help explains each.

    names: the clips. database: the folder of a database, or None when `store` is given. checkpoint: the network that
    wrote the store, "small" if None; of a database, its own network in another form, None for the one in its folder.
    """

    names: Sequence[str]
    database: str | None = None
    store: str | None = None
    name: Sequence[str] = ("db",)
    checkpoint: str | None = None
    confidence: str | None = None
    microphone: float | None = None
    raw_hz: int = 0
    runtime: str = "auto"
    shifts: int = 0
    speeds: str = "auto"
    top: int = 1
    probability: float = asking.LEAST_PROBABLE
    format: str = "text"
    out: str | None = None
    songs: str | None = None


class PreparedIdentifier(NamedTuple):
    """What clips are identified with.

    identifier: the network and the fingerprints. rate_hz: the rate to decode clips at. troubles: returns what is
    damaged in the database, as far as is known by then.
    """

    identifier: identifier.Identifier
    rate_hz: int
    troubles: Callable[[], Sequence[str]] = tuple


class Counts:
    """How many clips were found, unknown and unreadable, and how many were too long to be heard in full."""

    def __init__(self) -> None:
        self.found, self.unknown, self.failed, self.long = 0, 0, 0, 0

    def add(self, reply: answers.Reply) -> None:
        """Counts a reply, and names on standard error a clip that could not be read."""
        if reply.error:
            print(shown.plain(f"{reply.query}: {reply.error}"), file=sys.stderr, flush=True)
        self.failed += bool(reply.error)
        self.found += bool(reply.answers)
        self.unknown += not reply.error and not reply.answers
        self.long += reply.seconds > asking.LONGEST_S + 1

    @property
    def total(self) -> int:
        return self.found + self.unknown + self.failed

    @property
    def code(self) -> int:
        """The exit code of the whole command."""
        return FAILED if self.failed else FOUND if self.found else NOTHING


def run(request: IdentifyRequest, *, prepare: Callable[[], None] = lambda: None) -> int:
    """Identifies the clips, prints the replies, and returns the exit code.

    prepare: called before JAX is used. Raises nafp.Error, before work starts, for settings that cannot be right.
    """
    _require_out(request.format, request.out)
    live.require_raw(request.raw_hz)
    if request.out:
        pfann_files.require_out(request.out, request.names)
    if request.songs and request.format != "pfann":
        raise errors.Invalid("--songs orders the columns of the files of --format=pfann; other formats have none")
    songs = _songs(request)
    searched = opened(request, prepare=prepare)
    heard = list(
        clips.listed(request.names, sample_rate_hz=searched.rate_hz, longest_s=asking.LONGEST_S, raw_hz=request.raw_hz)
    )
    if request.microphone:
        heard.append(clips.recorded(request.microphone, sample_rate_hz=searched.rate_hz))
    code = tell(
        heard,
        searched.identifier,
        sample_rate_hz=searched.rate_hz,
        format=request.format,
        out=request.out,
        songs=songs,
        top=request.top,
        least=request.probability,
    )
    for trouble in searched.troubles():
        print(shown.plain(f"damaged: {trouble}"), file=sys.stderr)
    return code


def _songs(request: IdentifyRequest) -> list[str]:
    """Returns the songs that have a column in the files of pfann: those of --songs, else of the database's lists."""
    if request.songs:
        return [track.path for track in lists.read(request.songs)]
    return song_list.read(request.database) if request.database else []


def opened(request: IdentifyRequest, *, prepare: Callable[[], None] = lambda: None) -> PreparedIdentifier:
    """Opens the database, or the store and the network that wrote it. The network comes last: it takes longest."""
    runtime = _runtime(request)
    return (_in_database if request.database else _in_store)(request, runtime, prepare)


def _in_database(request: IdentifyRequest, runtime: str, prepare: Callable[[], None]) -> PreparedIdentifier:
    opened_database = database.Database.open(request.database or "")
    _require_asked(request, hop_s=opened_database.hop_s, sample_rate_hz=opened_database.about["sample_rate_hz"])
    calibrated = calibrations.chosen(request.confidence, lambda: opened_database.confidence)
    if runtime == "jax":
        prepare()
    network = opened_database.network(runtime=runtime, batch_size=identifier.BATCH, source=request.checkpoint)
    asked = identifier.Identifier(
        network,
        opened_database.rows,
        opened_database.index,
        shifts=request.shifts,
        speeds=request.speeds,
        confidence=calibrated,
    )
    rate_hz = identifier.listening_rate_hz(network.sample_rate_hz)
    return PreparedIdentifier(asked, rate_hz, lambda: opened_database.troubles)


def _in_store(request: IdentifyRequest, runtime: str, prepare: Callable[[], None]) -> PreparedIdentifier:
    folder = request.store or ""
    stores = [store.Store.open(folder, name) for name in request.name]
    _require_asked(request, hop_s=stores[0].hop_s, sample_rate_hz=stores[0].meta.get("sample_rate_hz", math.inf))
    calibrated = calibrations.chosen(request.confidence, lambda: calibrations.beside(request.checkpoint))
    if runtime == "jax":
        prepare()
    network = sources.load(request.checkpoint or sources.DEFAULT, runtime=runtime, batch_size=identifier.BATCH)
    asked = identifier.Identifier.open(
        network,
        folder,
        names=request.name,
        shifts=request.shifts,
        speeds=request.speeds,
        confidence=calibrated,
    )
    return PreparedIdentifier(asked, identifier.listening_rate_hz(network.sample_rate_hz))


def _require_asked(request: IdentifyRequest, *, hop_s: float, sample_rate_hz: float) -> None:
    """Raises nafp.errors.Invalid for speeds and shifts that clips cannot be asked with."""
    asking.policy(hop_s=hop_s, speeds=request.speeds, shifts=request.shifts, sample_rate_hz=sample_rate_hz)


def _runtime(request: IdentifyRequest) -> str:
    """Returns the runtime to use. numpy answers a few clips sooner. JAX takes seconds to start and is then faster."""
    if request.runtime != "auto":
        return sources.chosen(request.runtime)
    source = request.checkpoint or ("" if request.database else sources.DEFAULT)
    if sources.chosen("auto", source) != "jax":
        return sources.chosen("auto", source)
    if source:
        file = sources.weights_file(source)
    else:
        file = pathlib.Path(request.database or "") / network_file.NETWORK
    if file.suffix not in sources.EXPORTED or not file.is_file():
        return "jax"
    several = len(request.names) > _FEW_CLIPS or any(map(clips.is_several, request.names))
    return "jax" if several else "numpy"


def replies(
    heard: Iterable[clips.Clip],
    asked: identifier.Identifier,
    *,
    sample_rate_hz: int,
    top: int = 1,
    least: float = asking.LEAST_PROBABLE,
) -> Iterator[tuple[answers.Reply, identifier.RankedClip | None]]:
    """Yields the reply to each clip, and the ranking behind it (None for a clip that could not be read).

    sample_rate_hz: the rate that clips are decoded at. top, least: as for `Identifier.identify`.
    """
    for clip in heard:
        try:
            samples, seconds = clip.load()
        except errors.Undecodable as error:
            yield answers.Reply(clip.name, 0.0, error=error.reason), None
            continue
        except errors.Error as error:
            yield answers.Reply(clip.name, 0.0, error=str(error)), None
            continue
        try:
            ranking = asked.rank(samples, sample_rate_hz=sample_rate_hz, top=max(2, top), least=least)
        except errors.Error as error:
            yield answers.Reply(clip.name, seconds, error=str(error)), None
            continue
        yield replying.of(clip.name, seconds, ranking, top=top, least=least), ranking


def tell(
    heard: Sequence[clips.Clip],
    asked: identifier.Identifier,
    *,
    format: str = "text",
    out: str | None = None,
    songs: Sequence[str] = (),
    sample_rate_hz: int,
    top: int = 1,
    least: float = asking.LEAST_PROBABLE,
    to: TextIO | None = None,
) -> int:
    """Writes the reply to each clip as soon as it is there, names clips that cannot be read, returns the exit code.

    out: with format pfann, the file that pfann's matcher would write. songs: as of `pfann_files.Files`. to: where the
    other formats go, standard output unless given.
    """
    _require_out(format, out)
    answered = replies(heard, asked, sample_rate_hz=sample_rate_hz, top=top, least=least)
    if out:
        return _write_pfann(out, answered, asked, songs)
    to, counts = to or sys.stdout, Counts()
    if answers.header(format):
        print(answers.header(format), file=to, flush=True)
    for reply, _ in answered:
        if not reply.error or format != "text":
            print(answers.said(reply, format), file=to, flush=True)
        counts.add(reply)
    _conclude(counts, asked)
    return counts.code


def _require_out(format: str, out: str | None) -> None:
    if (format == "pfann") != bool(out):
        raise errors.Invalid("--format=pfann writes files and needs --out=RESULT.tsv; other formats are printed")


def _write_pfann(
    out: str,
    answered: Iterable[tuple[answers.Reply, identifier.RankedClip | None]],
    asked: identifier.Identifier,
    songs: Sequence[str],
) -> int:
    counts = Counts()
    with pfann_files.Files(out, asked.rows, songs) as files:
        for reply, ranking in answered:
            files.add(reply.query, ranking)
            counts.add(reply)
    print(shown.plain(f"{out}: {counts.total} clips, {counts.failed} of them could not be read"), file=sys.stderr)
    return counts.code


def _conclude(counts: Counts, asked: identifier.Identifier) -> None:
    """Writes on standard error what a person should know of the whole."""
    if counts.total > 1:
        failed = f", {counts.failed} could not be read" if counts.failed else ""
        print(
            f"{counts.total} clips: {counts.found} found, {counts.unknown} not in the collection{failed}",
            file=sys.stderr,
        )
    if counts.long:
        print(
            f"{counts.long} of them are longer than {asking.LONGEST_S:g} s; only their beginning was heard. "
            "nafp monitor says what is played when in a long recording",
            file=sys.stderr,
        )
    if not asked.is_calibrated and counts.failed < counts.total:
        print(
            "this network was never calibrated: answers have no probability, and no clip is refused as not in the "
            "collection",
            file=sys.stderr,
        )
