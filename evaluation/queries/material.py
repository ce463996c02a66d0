"""Audio to render from: recordings, noise and responses, in a corpus, a manifest or a folder."""

import functools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import building, corpus, lists, manifest

from . import degrade

_QUIETEST = 1e-4  # RMS, -80 dB. A quieter stretch of noise counts as silence.
_DRAWS = 20  # Pieces that are tried before a kind is given up.


class Piece(NamedTuple):
    """A recording, a noise or a response."""

    name: str  # Its name in a store, and so in the answers.
    kind: str
    split: str
    n_samples: int
    sample_rate_hz: int


class Material:
    """The audio of one place: a corpus, a manifest or another list, or a folder.

    Each piece has its own sample rate. In a corpus all have the corpus' rate. kind: the kind of all files of a folder,
    or of a list without kinds. failures: files whose length cannot be read. They are logged and left out.
    """

    def __init__(self, path: str | os.PathLike, *, kind: str = "music"):
        self.path = os.fspath(path)
        self._corpus = corpus.Corpus.open(path) if building.is_corpus(path) else None
        self.failures: list[manifest.Failure] = []
        if self._corpus:
            self.pieces = [
                Piece(t.path, t.kind, t.split, t.n_samples, self._corpus.sample_rate_hz) for t in self._corpus.tracks
            ]
            self._tracks = {track.path: track for track in self._corpus.tracks}
        else:
            tracks, self.failures = _listed(self.path, kind)
            self.pieces, unmeasured = _pieces(tracks)
            self.failures = [*self.failures, *unmeasured]
            for failure in self.failures:
                logging.getLogger(__name__).warning("%s: %s", failure.path, failure.reason)

    def select(self, *, kind: str, split: str) -> list[Piece]:
        """Returns the pieces of a kind and split. A piece without a split belongs to every split."""
        return [p for p in self.pieces if p.kind == kind and p.split in (split, "")]

    def read(self, piece: Piece, *, first: int = 0, n_samples: int | None = None) -> np.ndarray:
        """Returns samples [first, first + n_samples) as float32. Raises errors.Undecodable."""
        last = piece.n_samples if n_samples is None else first + n_samples
        if self._corpus:
            return decode.to_float(self._corpus.audio(self._tracks[piece.name])[first:last])
        rate = piece.sample_rate_hz
        start_s, seconds = first / rate, (last - first) / rate
        return decode.load(piece.name, sample_rate_hz=rate, start_s=start_s, seconds=seconds)


class Drawn(NamedTuple):
    """A noise, or a response, that was drawn."""

    samples: np.ndarray  # float32 [S]
    name: str  # Without folder and suffix.
    direct: int = 0  # In a response, the sample of the direct sound.


class Surroundings:
    """Draws noise, speech and responses of one split, at any sample rate.

    A noise that is too short is repeated. A silent stretch is drawn again. A file that cannot be decoded and a response
    of zeros are logged once, and another is drawn in their place.
    """

    def __init__(self, material: Material, *, split: str):
        self._material, self._split = material, split
        self._bad: dict[str, Exception] = {}
        self._listed: dict[str, list[Piece]] = {}

    def pieces(self, kind: str) -> list[Piece]:
        """Returns the pieces of a kind. Raises errors.Invalid, naming the kinds that there are, if there is none."""
        if kind not in self._listed:
            self._listed[kind] = self._material.select(kind=kind, split=self._split)
        if not self._listed[kind]:
            kinds = sorted({f"{p.kind}/{p.split or '-'}" for p in self._material.pieces})
            raise errors.Invalid(
                f"{self._material.path}: no {kind} of split {self._split}; it has"
                f" {' '.join(kinds)}; name another place, or leave out conditions with {kind}"
            )
        return self._listed[kind]

    def noise(
        self, rng: np.random.Generator, *, kind: str, n_samples: int, sample_rate_hz: int, but: str = ""
    ) -> Drawn:
        """Draws background, float32 [n_samples], of the kind noise, speech or music.

        but: name of a piece that is not drawn, such as the recording that the background is for. Raises errors.Invalid
        if there is no other.
        """

        def stretch(piece: Piece) -> Drawn | None:
            n_read = min(n_samples * piece.sample_rate_hz // sample_rate_hz + 1, piece.n_samples)
            first = int(rng.integers(max(1, piece.n_samples - n_read)))
            samples = self._material.read(piece, first=first, n_samples=n_read)
            samples = decode.resample(samples, from_hz=piece.sample_rate_hz, to_hz=sample_rate_hz)
            samples = np.resize(samples, n_samples)
            is_audible = np.sqrt(np.square(samples, dtype=np.float64).mean()) > _QUIETEST
            return Drawn(samples, stem(piece.name)) if is_audible else None

        return self._draw(rng, kind, stretch, but)

    def response(self, rng: np.random.Generator, *, kind: str, sample_rate_hz: int) -> Drawn:
        """Draws a response of the kind room or microphone."""
        return self._draw(rng, kind, lambda piece: self._response(piece, sample_rate_hz))

    def _draw(self, rng: np.random.Generator, kind: str, read: Callable[[Piece], Drawn | None], but: str = "") -> Drawn:
        pieces = [piece for piece in self.pieces(kind) if piece.name != but]
        if not pieces:
            raise errors.Invalid(f"{self._material.path}: no {kind} of split {self._split} but {but}; it needs another")
        for _ in range(_DRAWS):
            piece = pieces[rng.integers(len(pieces))]
            try:
                if (drawn := read(piece)) is not None:
                    return drawn
            except (errors.Undecodable, errors.Silent) as error:
                if self._bad.setdefault(piece.name, error) is error:  # Only the first thread logs it.
                    logging.getLogger(__name__).warning("left out: %s: %s", piece.name, error)
        raise errors.Invalid(f"{self._material.path}: {_DRAWS} draws of {kind} were all silent or undecodable")

    @functools.lru_cache(maxsize=256)  # noqa: B019 - the cache lives as long as the rendering
    def _response(self, piece: Piece, sample_rate_hz: int) -> Drawn:
        samples = self._material.read(piece)
        samples = decode.resample(samples, from_hz=piece.sample_rate_hz, to_hz=sample_rate_hz)
        samples, direct = degrade.direct_sound(samples, sample_rate_hz=sample_rate_hz)
        return Drawn(samples, stem(piece.name), direct)


def stem(path: str) -> str:
    """Returns the name of a file without folder and suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def require_unique(source: Material, pieces: Iterable[Piece]) -> None:
    """Raises errors.Invalid if two pieces of a source have one name without folder and suffix."""
    counts = Counter(stem(piece.name) for piece in pieces)
    if repeated := sorted(name for name, n in counts.items() if n > 1):
        raise errors.Invalid(f"{source.path}: {len(repeated)} names are not unique, such as {repeated[0]}")


def _listed(path: str, kind: str) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    if lists.is_list(path):
        is_bare = not path.lower().endswith(".csv")
        tracks = [track._replace(kind=kind) if is_bare else track for track in lists.read(path)]
        # `fill` reads the headers of files without seconds. Here the rate must be known, too.
        return manifest.fill([t if t.sample_rate_hz else t._replace(seconds=0) for t in tracks])
    return manifest.scan(path, kind=kind, by_folder=False)


def _pieces(tracks: Sequence[manifest.Track]) -> tuple[list[Piece], list[manifest.Failure]]:
    """Returns the tracks as pieces, and those that state no length and give no audio."""
    pieces, failures = [], []
    for track in tracks:
        try:
            pieces.append(_piece(track))
        except errors.Undecodable as error:
            failures.append(manifest.Failure(track.path, error.reason))
    return pieces, failures


def _piece(track: manifest.Track) -> Piece:
    seconds = track.seconds or decode.measured_s(track.path)  # A stream without a container states no length.
    n_samples = segments.to_samples(seconds, track.sample_rate_hz)
    return Piece(track.path, track.kind, track.split, n_samples, track.sample_rate_hz)
