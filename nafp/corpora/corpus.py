"""A corpus: many audio files decoded once into one file of int16, which is memory-mapped, with a table of the tracks.

    CORPUS/samples.i16   little-endian int16, one channel, at one rate; 32768 is full scale
    CORPUS/tracks.csv    path, kind, split, group, first_sample, n_samples
    CORPUS/loudness.npy  dB of every half second (see `loudness`)
    CORPUS/corpus.json   format, rate, files that cannot be decoded; written last, so that it means finished
    CORPUS/journal.jsonl what has been decoded, for the next build (see `journal`)

Room and microphone responses are normalised to peak at full scale. Music is not: peaks of up to 3 dB above full scale
are clipped, and a louder track is turned down as a whole (see `parts`).
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import building, journal, lists, manifest, tracks_table
from nafp.jobs import plain_files, processors, shown

CorpusTrack = tracks_table.CorpusTrack


class Corpus:
    """A finished corpus, opened for reading.

    samples: int16 [S], mapped from the disk. loudness: float16 [S / cell] in dB, one for each `cell` samples. failures:
    the files that could not be decoded, with the reasons. damaged: the files that gave less than their header says.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = os.path.abspath(folder)
        about = _finished(self.folder)
        self.sample_rate_hz: int = about["sample_rate_hz"]
        self.cell = tracks_table.cell_of(self.sample_rate_hz)
        self.failures = [manifest.Failure(*row) for row in about["failures"]]
        self.damaged = [manifest.Failure(*row) for row in about["damaged"]]
        self.tracks = tracks_table.read(self.folder)
        self.loudness = plain_files.array(os.path.join(self.folder, building.LOUDNESS))
        if self.loudness.ndim != 1 or self.loudness.dtype.kind != "f":
            raise errors.Invalid(f"{self.folder}/{building.LOUDNESS}: holds no levels of sound; was it copied whole?")
        n_samples = len(self.loudness) * self.cell
        samples = os.path.join(self.folder, journal.SAMPLES)
        plain_files.require_files([samples])
        if os.path.getsize(samples) < 2 * n_samples:
            raise errors.Invalid(f"{samples}: shorter than its tables say; was it copied whole?")
        for track in self.tracks:
            if not 0 <= track.first_sample <= track.first_sample + track.n_samples <= n_samples:
                raise errors.Invalid(f"{self.folder}/{tracks_table.NAME}: {track.path} lies outside of {samples}")
        # As a plain array, which slices several times faster than np.memmap does.
        self.samples = np.memmap(samples, "<i2", "r", shape=(n_samples,)).view(np.ndarray)

    @classmethod
    def open(cls, folder: str | os.PathLike) -> "Corpus":
        """Opens a corpus. Raises errors.Invalid if the folder holds none, or an unfinished one."""
        return cls(folder)

    def __reduce__(self) -> tuple[type["Corpus"], tuple[str]]:
        return type(self), (self.folder,)  # A pickle holds the folder's name, never the samples.

    def select(
        self, *, kind: str | None = None, split: str | None = None, group: str | None = None
    ) -> list[CorpusTrack]:
        """Returns the tracks of this kind, split and group. None means any, "val,test" means val or test."""
        return [track for track in self.tracks if _fits(track, split, kind, group)]

    def audio(self, track: CorpusTrack) -> np.ndarray:
        """Returns the samples of a track, int16 [S], as a view."""
        return self.samples[track.first_sample : track.first_sample + track.n_samples]

    def seconds(self, track: CorpusTrack) -> float:
        """Returns the length of a track."""
        return segments.to_seconds(track.n_samples, self.sample_rate_hz)

    def summary(self) -> str:
        """Returns the numbers of tracks and hours by kind and split, in one line."""
        return manifest.summary((track.kind, track.split, self.seconds(track)) for track in self.tracks)


class Source(NamedTuple):
    """A track of a corpus, folder, list or file.

    seconds: its length as the header says, 0.0 if unknown. blocks: decodes the track anew at each call and yields its
    audio as mono float32 [S] at the requested rate. It raises errors.Undecodable for a file without audio.
    """

    name: str
    seconds: float
    blocks: Callable[[], Iterator[np.ndarray]]


def build(
    tracks: Sequence[manifest.Track],
    folder: str | os.PathLike,
    *,
    sample_rate_hz: int = 8000,
    jobs: int | None = None,
    progress: bool = False,
) -> Corpus:
    """Decodes the tracks into a corpus, or brings the corpus in this folder up to date.

    What an earlier build decoded is kept, even if that build was killed. New and changed files are appended. Tracks
    that are no longer listed leave the table. If nothing is new, nothing is written. Files that cannot be decoded are
    skipped and listed in the corpus. jobs: the number of processes, None for one per processor, 0 to decode in this
    process. progress: whether to show it. Raises errors.Invalid if no track can be decoded.
    """
    folder = os.path.abspath(folder)
    jobs = processors.count() if jobs is None else jobs
    is_changed = building.build(list(tracks), folder, sample_rate_hz=sample_rate_hz, jobs=jobs, show=progress)
    if progress and not is_changed:
        print(shown.plain(f"{folder}: unchanged, nothing to decode"), file=sys.stderr)
    return Corpus(folder)


def sources(
    path: str | os.PathLike,
    *,
    sample_rate_hz: int,
    split: str | None = None,
    kind: str | None = "music",
    group: str | None = None,
    block_s: float = 30.0,
) -> list[Source]:
    """Returns the tracks of a corpus, a folder of audio, a manifest, a list of paths (see `lists`), or one file.

    split, kind, group: the tracks to take. None means any, "val,test" means val or test. The files of a list are music
    without a split. Relative paths start from the list's own folder. A file whose header cannot be read is a source
    too, whose blocks() raises the reason. Raises errors.Invalid if no track fits, and says which tracks there are.
    """
    path = os.path.abspath(path)
    if os.path.isdir(path) and building.is_corpus(path):
        return _from_corpus(Corpus(path), sample_rate_hz, split, kind, group, block_s)
    tracks, failures = _listed(path)
    wanted = [track for track in tracks if _fits(track, split, kind, group)]
    if not wanted and not failures:
        raise errors.Invalid(f"{path}: {_nothing(tracks, split, kind, group)}")
    readable, unreadable = manifest.fill(wanted)
    stream = functools.partial(decode.stream, sample_rate_hz=sample_rate_hz, block_s=block_s)
    good = [Source(track.path, track.seconds, functools.partial(stream, track.path)) for track in readable]
    bad = [refused(*failure) for failure in [*failures, *unreadable]]
    return good + bad


def refused(name: str, reason: str) -> Source:
    """Returns a source that gives no audio, for this reason."""
    failure = manifest.Failure(name, reason.removeprefix(name).lstrip(":, "))
    return Source(name, 0.0, functools.partial(_refuse, failure))


def _why_no_file(path: str) -> str:
    """Says what is wrong with a path at which there is no file and no folder."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return "no such corpus, folder, list or audio file"
    except (OSError, ValueError) as error:  # A link to itself; a NUL byte.
        return f"cannot be opened: {getattr(error, 'strerror', '') or error}"
    return "a pipe or a device, which has no end to wait for; give a file"


def _listed(path: str) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    if os.path.isdir(path):
        return manifest.scan(path, by_folder=False)
    if not os.path.isfile(path):
        raise errors.Invalid(f"{path}: {_why_no_file(path)}")
    if lists.is_list(path):
        return lists.read(path), []
    return [manifest.Track(path)], []


def _from_corpus(
    corpus: Corpus,
    sample_rate_hz: int,
    split: str | None,
    kind: str | None,
    group: str | None,
    block_s: float,
) -> list[Source]:
    if corpus.sample_rate_hz != sample_rate_hz:
        raise errors.Invalid(
            f"{corpus.folder}: holds {corpus.sample_rate_hz} Hz, {sample_rate_hz} Hz asked for;"
            f" build another with nafp corpus build --sample_rate_hz={sample_rate_hz}"
        )
    tracks = corpus.select(kind=kind, split=split, group=group)
    if not tracks:
        raise errors.Invalid(f"{corpus.folder}: {_nothing(corpus.tracks, split, kind, group)}")
    block = segments.to_samples(block_s, sample_rate_hz)
    return [
        Source(track.path, corpus.seconds(track), functools.partial(_blocks, corpus, track, block)) for track in tracks
    ]


def _blocks(corpus: Corpus, track: CorpusTrack, block: int) -> Iterator[np.ndarray]:
    audio = corpus.audio(track)
    for at in range(0, len(audio), block):
        yield decode.to_float(audio[at : at + block])


def _refuse(failure: manifest.Failure) -> Iterator[np.ndarray]:
    raise errors.Undecodable(*failure)


def _fits(track: manifest.Track | CorpusTrack, split: str | None, kind: str | None, group: str | None) -> bool:
    pairs = ((split, track.split), (kind, track.kind), (group, track.group))
    return all(wanted is None or value in wanted.split(",") for wanted, value in pairs)


def _nothing(
    tracks: Sequence[manifest.Track | CorpusTrack],
    split: str | None,
    kind: str | None,
    group: str | None,
) -> str:
    wanted = {"kind": kind, "split": split, "group": group}
    conditions = ", ".join(f"{name} {value!r}" for name, value in wanted.items() if value is not None)
    present = manifest.summary((track.kind, track.split, 0.0) for track in tracks)
    return f"no track with {conditions}; there is {present or 'none'}"


def _finished(folder: str) -> dict[str, Any]:
    """Reads corpus.json. Raises errors.Invalid if the folder is not a finished corpus."""
    try:
        about = plain_files.json_object(os.path.join(folder, building.FINISHED))
    except FileNotFoundError:
        is_begun = building.is_corpus(folder)
        what = "a corpus not built to its end" if is_begun else "no corpus"
        how = "give the same command again" if is_begun else "nafp corpus build makes one"
        raise errors.Invalid(f"{folder}: {what}; {how}") from None
    if about.get("format") != journal.FORMAT:
        raise errors.Invalid(f"{folder}: format {about.get('format')!r}, not {journal.FORMAT}")
    rate_hz, tables = about.get("sample_rate_hz"), [about.get("failures"), about.get("damaged")]
    are_pairs = all(isinstance(rows, list) and all(_is_pair(row) for row in rows) for rows in tables)
    if not are_pairs or not isinstance(rate_hz, int) or not 1000 <= rate_hz < 1e7:
        raise errors.Invalid(f"{folder}/{building.FINISHED}: is damaged; build the corpus anew")
    return about


def _is_pair(row: object) -> bool:
    """Returns whether a row says which file failed, and why."""
    return isinstance(row, list) and len(row) == 2 and all(isinstance(word, str) for word in row)
