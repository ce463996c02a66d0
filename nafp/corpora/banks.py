"""Banks of what happens to sound on its way: background noise, speech, rooms, microphones."""

from collections.abc import Iterable

import numpy as np

from nafp import errors
from nafp.audio import decode, loudness, segments
from nafp.corpora import corpus as corpora
from nafp.corpora import tracks_table

# Of a response, this much before its peak is kept: the rise of a band-limited direct sound.
BEFORE_PEAK_S = 0.001
QUIETEST_DB = -60.0  # Below, a window counts as silence: a fade's end, a gap, room tone.


def windows(
    corpus: corpora.Corpus,
    tracks: Iterable[tracks_table.CorpusTrack],
    *,
    n_samples: int,
    hop: int,
    quietest_db: float = QUIETEST_DB,
) -> np.ndarray:
    """Lists the windows of these tracks that are not silent: first samples, int64 [N].

    Every `hop` samples from the start of each track, whole windows only. Reads the loudness table,
    no audio. A window starts at corpus.samples[first].
    """
    starts = [
        track.first_sample + hop * np.arange(segments.count(track.n_samples, segment=n_samples, hop=hop))
        for track in tracks
    ]
    first = np.concatenate([*starts, np.empty(0, np.int64)]).astype(np.int64)
    return first[loudness_db(corpus, first, n_samples=n_samples) >= quietest_db]


def loudness_db(corpus: corpora.Corpus, first: np.ndarray, *, n_samples: int) -> np.ndarray:
    """Measures windows of the corpus that start at samples first [N]: dB as float64 [N].

    From the loudness table, no audio is read: exact on whole half seconds, in between by their
    shares. 0 dB is a full-scale square wave, -120 silence.
    """
    return loudness.WindowLoudness(corpus.loudness, cell=corpus.cell).db(first, n_samples=n_samples)


def noise_bank(
    corpus: corpora.Corpus,
    *,
    split: str | None,
    n_samples: int,
    kind: str = "noise",
    hop: int | None = None,
    quietest_db: float = QUIETEST_DB,
    most: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Cuts the noise (or speech) of a split into windows: int16 [R, n_samples].

    hop: n_samples when None. A sound shorter than a window is repeated to its length. most: at
    most so many, drawn at random from `seed`, in the order of the corpus.
    Raises ValueError when there is none.
    """
    tracks = _tracks(corpus, kind, split)
    first = windows(corpus, tracks, n_samples=n_samples, hop=hop or n_samples, quietest_db=quietest_db)
    short = [track for track in tracks if _is_short(corpus, track, n_samples, quietest_db)]
    if not len(first) and not short:
        raise errors.Invalid(f"{corpus.folder}: all {kind} of split {split!r} is silent")
    chosen = np.arange(len(first) + len(short))
    if most is not None and most < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    bank = np.empty((len(chosen), n_samples), np.int16)
    for row, i in zip(bank, chosen):
        if i < len(first):
            row[:] = corpus.samples[first[i] : first[i] + n_samples]
        else:
            row[:] = np.resize(corpus.audio(short[i - len(first)]), n_samples)
    return bank


def response_bank(corpus: corpora.Corpus, *, kind: str, split: str | None, n_samples: int) -> np.ndarray:
    """Collects the room or microphone responses of a split: float32 [R, n_samples], unit energy.

    Each starts BEFORE_PEAK_S before its peak, the direct sound, so that convolving adds no delay;
    it is cut or zero-padded to n_samples. Raises ValueError when there is none.
    """
    before = segments.to_samples(BEFORE_PEAK_S, corpus.sample_rate_hz)
    if n_samples <= before:
        raise errors.Invalid(f"n_samples {n_samples} given; a response needs more than {before}")
    tracks = _tracks(corpus, kind, split)
    return np.stack([align(corpus.audio(track), before=before, n_samples=n_samples) for track in tracks])


def align(response: np.ndarray, *, before: int, n_samples: int) -> np.ndarray:
    """Shifts a response [S] so that its peak is sample `before`: float32 [n_samples], unit energy."""
    response = np.pad(decode.to_float(response), (before, n_samples))
    peak = int(np.abs(response).argmax())
    response = response[peak - before : peak - before + n_samples]
    return response / np.linalg.norm(response)


def _is_short(corpus: corpora.Corpus, track: tracks_table.CorpusTrack, n_samples: int, quietest_db: float) -> bool:
    if track.n_samples >= n_samples:
        return False
    power = np.square(decode.to_float(corpus.audio(track))).mean()
    return bool(loudness.to_db(power) >= quietest_db)


def _tracks(corpus: corpora.Corpus, kind: str, split: str | None) -> list[tracks_table.CorpusTrack]:
    tracks = corpus.select(kind=kind, split=split)
    if not tracks:
        splits = sorted({track.split for track in corpus.select(kind=kind)})
        there = f"; there is some of the splits {splits}" if splits else ""
        raise errors.Invalid(f"{corpus.folder}: no {kind} of split {split!r}{there}")
    return tracks
