"""Banks of what degrades sound: windows of background noise, responses of rooms and microphones."""

from collections.abc import Iterable

import numpy as np

from nafp import errors
from nafp.audio import decode, loudness, segments
from nafp.corpora import tracks_table
from nafp.corpora.corpus import Corpus

BEFORE_PEAK_S = 0.001  # Of a response that is kept before its peak: the rise of a band-limited direct sound.
QUIETEST_DB = -60.0  # A quieter window counts as silence: the end of a fade, a gap, room tone.


def windows(
    corpus: Corpus,
    tracks: Iterable[tracks_table.CorpusTrack],
    *,
    n_samples: int,
    hop: int,
    quietest_db: float = QUIETEST_DB,
) -> np.ndarray:
    """Returns where the windows of these tracks that are not silent start in corpus.samples, int64 [N].

    A track has a window at every `hop` samples from its start, whole windows only. quietest_db: quieter windows are
    silent. The loudness table is read, and no audio.
    """
    starts = [
        track.first_sample + hop * np.arange(segments.count(track.n_samples, segment=n_samples, hop=hop))
        for track in tracks
    ]
    first = np.concatenate([*starts, np.empty(0, np.int64)]).astype(np.int64)
    return first[loudness_db(corpus, first, n_samples=n_samples) >= quietest_db]


def loudness_db(corpus: Corpus, first: np.ndarray, *, n_samples: int) -> np.ndarray:
    """Returns the loudness of windows of the corpus in dB, float64 [N].

    first: where they start in corpus.samples, [N]. The loudness table is read, and no audio: see
    `loudness.WindowLoudness`. 0 dB is a full-scale square wave, -120 silence.
    """
    return loudness.WindowLoudness(corpus.loudness, cell=corpus.cell).db(first, n_samples=n_samples)


def response_bank(corpus: Corpus, *, kind: str, split: str | None, n_samples: int) -> np.ndarray:
    """Returns the room or microphone responses of a split, float32 [R, n_samples], each of unit energy.

    A response starts BEFORE_PEAK_S before its peak, the direct sound, so that convolution adds no delay. It is cut or
    zero-padded to n_samples. Raises errors.Invalid if the split has none.
    """
    before = segments.to_samples(BEFORE_PEAK_S, corpus.sample_rate_hz)
    if n_samples <= before:
        raise errors.Invalid(f"n_samples {n_samples} given; a response needs more than {before}")
    tracks = _tracks(corpus, kind, split)
    return np.stack([align(corpus.audio(track), before=before, n_samples=n_samples) for track in tracks])


def align(response: np.ndarray, *, before: int, n_samples: int) -> np.ndarray:
    """Returns a response [S] shifted so that its peak is sample `before`, float32 [n_samples], of unit energy."""
    response = np.pad(decode.to_float(response), (before, n_samples))
    peak = int(np.abs(response).argmax())
    response = response[peak - before : peak - before + n_samples]
    return response / np.linalg.norm(response)


def _tracks(corpus: Corpus, kind: str, split: str | None) -> list[tracks_table.CorpusTrack]:
    tracks = corpus.select(kind=kind, split=split)
    if not tracks:
        splits = sorted({track.split for track in corpus.select(kind=kind)})
        others = f"; there is some of the splits {splits}" if splits else ""
        raise errors.Invalid(f"{corpus.folder}: no {kind} of split {split!r}{others}")
    return tracks
