"""Many audio files in one: decoded once into int16, memory-mapped, with a table of the tracks.

    CORPUS/samples.i16   little-endian int16, one channel, at one rate; 32768 is full scale
    CORPUS/tracks.csv    path, kind, split, group, first_sample, n_samples
    CORPUS/loudness.npy  dB of every half second (see `loudness`)
    CORPUS/corpus.json   format, rate, what could not be decoded; written last: finished
    CORPUS/journal.jsonl what has been decoded, for the next build (see `journal`)

Room and microphone responses are normalised to peak at full scale. Music is not: up to 3 dB above full
scale is clipped, and a track louder than that turned down as a whole (see `packing`).
"""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import build as building
from nafp.corpora import journal, lists, manifest, tracks_table
from nafp.jobs import worker_processes

CorpusTrack = tracks_table.CorpusTrack


class Corpus:
    """A finished corpus, opened for reading.

    samples: int16 [S], mapped from the disk. loudness: dB as float16 [S / cell], one for each `cell`
    samples. failures, damaged: the files that gave nothing, or less than promised, with the reasons.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = os.path.abspath(folder)
        about = _finished(self.folder)
        self.sample_rate_hz: int = about["sample_rate_hz"]
        self.cell = tracks_table.cell_of(self.sample_rate_hz)
        self.failures = [manifest.Failure(*row) for row in about["failures"]]
        self.damaged = [manifest.Failure(*row) for row in about["damaged"]]
        self.tracks = tracks_table.read(self.folder)
        self.loudness = np.load(os.path.join(self.folder, building.LOUDNESS))
        n_samples = len(self.loudness) * self.cell
        samples = os.path.join(self.folder, journal.SAMPLES)
        if os.path.getsize(samples) < 2 * n_samples:
            raise errors.Invalid(f"{samples}: shorter than its tables say; was it copied whole?")
        # As a plain array, which slices several times faster than np.memmap does.
        self.samples = np.memmap(samples, "<i2", "r", shape=(n_samples,)).view(np.ndarray)

    @classmethod
    def open(cls, folder: str | os.PathLike) -> "Corpus":
        """Opens a corpus; raises ValueError when the folder holds none, or an unfinished one."""
        return cls(folder)

    def __reduce__(self):
        return type(self), (self.folder,)  # Pickled by name: never the samples.

    def select(
        self, *, kind: str | None = None, split: str | None = None, group: str | None = None
    ) -> list[CorpusTrack]:
        """Lists the tracks of a kind, split and group; None for any, "val,test" for either."""
        return [track for track in self.tracks if _fits(track, split, kind, group)]

    def audio(self, track: CorpusTrack) -> np.ndarray:
        """Gives the int16 samples of a track; a view, nothing is copied."""
        return self.samples[track.first_sample : track.first_sample + track.n_samples]

    def seconds(self, track: CorpusTrack) -> float:
        return segments.to_seconds(track.n_samples, self.sample_rate_hz)

    def summary(self) -> str:
        """Counts tracks and hours by kind and split, in one line."""
        return manifest.summary((track.kind, track.split, self.seconds(track)) for track in self.tracks)


class Source(NamedTuple):
    """A track from anywhere: its audio as float32 blocks [S] of one channel at the asked rate.

    blocks: starts decoding anew at each call; raises errors.Undecodable for a file with nothing
    to decode. seconds: as the header says, 0.0 when it does not.
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
    """Decodes the tracks into a corpus, or brings the one in this folder up to date.

    What an earlier build, killed or finished, has decoded is kept: new and changed files are
    appended, tracks that are no longer listed leave the table, and where nothing is new nothing is
    written. Files that cannot be decoded are skipped, and listed in the corpus. jobs: processes,
    None for one per processor, 0 for none but this. progress: whether to show it.
    Raises ValueError when no track can be decoded.
    """
    folder = os.path.abspath(folder)
    jobs = worker_processes.processors() if jobs is None else jobs
    done = building.build(list(tracks), folder, sample_rate_hz=sample_rate_hz, jobs=jobs, show=progress)
    if progress and not done:
        print(f"{folder}: unchanged, nothing to decode", file=sys.stderr)
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
    """Lists the tracks of a corpus, a folder of audio, a manifest, a list of paths, or one file.

    For lists see `lists`; paths in them are relative to themselves. split, kind, group: None for
    any, "val,test" for either; files of a list are music without a split.
    Files whose header cannot be read are in it too: their blocks() says why. Raises ValueError
    when nothing fits, and says what is there.
    """
    path = os.path.abspath(path)
    if os.path.isdir(path) and building.is_corpus(path):
        return _from_corpus(Corpus(path), sample_rate_hz, split, kind, group, block_s)
    tracks, failures = _listed(path)
    wanted = [track for track in tracks if _fits(track, split, kind, group)]
    if not wanted and not failures:
        raise errors.Invalid(f"{path}: {_nothing(tracks, split, kind, group)}")
    known, unreadable = manifest.fill(wanted)
    audio = {"sample_rate_hz": sample_rate_hz, "block_s": block_s}
    found = [
        Source(track.path, track.seconds, functools.partial(decode.stream, track.path, **audio)) for track in known
    ]
    bad = [Source(failure.path, 0.0, functools.partial(_refuse, failure)) for failure in [*failures, *unreadable]]
    return found + bad


def _listed(path: str) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    if os.path.isdir(path):
        return manifest.scan(path, by_folder=False)
    if not os.path.isfile(path):
        raise errors.Invalid(f"{path}: no such corpus, folder, list or audio file")
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
    asked = {"kind": kind, "split": split, "group": group}
    asked = ", ".join(f"{name} {value!r}" for name, value in asked.items() if value is not None)
    there = manifest.summary((track.kind, track.split, 0.0) for track in tracks)
    return f"no track with {asked}; there is {there or 'none'}"


def _finished(folder: str) -> dict:
    try:
        with open(os.path.join(folder, building.FINISHED), encoding="utf-8") as file:
            about = json.load(file)
    except FileNotFoundError:
        unfinished = building.is_corpus(folder)
        what = "a corpus not built to its end" if unfinished else "no corpus"
        how = "give the same command again" if unfinished else "nafp corpus build makes one"
        raise errors.Invalid(f"{folder}: {what}; {how}") from None
    if about.get("format") != journal.FORMAT:
        raise errors.Invalid(f"{folder}: format {about.get('format')!r}, not {journal.FORMAT}")
    return about
