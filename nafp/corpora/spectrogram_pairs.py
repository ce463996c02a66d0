"""song_mine's static training sets: single seconds as pairs of spectrograms, clean and degraded.

DATASET/train_set/SONG_SEC.npy   float32 [2, F, T]: second SEC of SONG, and its degraded copy
DATASET/val_set/SONG_SEC.npy     likewise, to validate on
DATASET/train_data.json          {SONG.wav: [SONG_SEC.wav, ...]}; also val_data.json
DATASET/train_settings.json  how the set was made, for a run that continues it; also val_settings.json
DATASET/Samples/                 some of the seconds as sound, to listen to
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from nafp import errors
from nafp.jobs import plain_files, whole_files

SETS = {"train": "train_set", "val": "val_set"}  # By split.
TABLES = {"train": "train_data.json", "val": "val_data.json"}
SETTINGS = {"train": "train_settings.json", "val": "val_settings.json"}
SAMPLES = "Samples"


def is_set(folder: str | os.PathLike) -> bool:
    """Returns whether a folder is such a set."""
    return os.path.isdir(os.path.join(folder, SETS["train"]))


class SpectrogramPairs:
    """The pairs of a split, in the order of songs and seconds.

    paths: the files. track: int32 [n], the number of the song of each. Raises errors.Invalid for a set without pairs of
    this split, and for a file whose name has no second.
    """

    def __init__(self, folder: str | os.PathLike, *, split: str):
        if split not in SETS:
            raise errors.Invalid(f"{folder}: sets of spectrograms have the splits {', '.join(SETS)}, not {split!r}")
        self._folder = pathlib.Path(folder, SETS[split])
        placed = sorted((*_place(path), path) for path in self._folder.glob("*.npy"))
        if not placed:
            raise errors.Invalid(f"{self._folder}: holds no pairs; nafp queries pairs --form=song_mine writes them")
        self.paths = [path for *_, path in placed]
        self.track = np.unique([song for song, *_ in placed], return_inverse=True)[1].astype(np.int32)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, number: int, *, shape: tuple[int, int]) -> np.ndarray:
        """Reads a pair: float32 [2, F, T]. Raises errors.Invalid for a file of another shape than `shape`, [F, T]."""
        path = self.paths[number]
        try:
            pair = plain_files.array(path)
        except (OSError, errors.Invalid) as error:
            raise errors.Invalid(f"{path}: not a pair of spectrograms ({error})") from None
        if pair.shape != (2, *shape) or pair.dtype.kind != "f":
            raise errors.Invalid(
                f"{path}: holds {pair.dtype} {list(pair.shape)}, but the network sees {[2, *shape]}: set "
                "config.spectrogram as the set was made"
            )
        return pair.astype(np.float32)


def note_settings(folder: str | os.PathLike, split: str, settings: Mapping[str, Any]) -> None:
    """Notes how the pairs of a split are made, before the first of them is.

    Raises errors.AlreadyExists if pairs are there that were made otherwise, or of which nobody noted how.
    """
    path, wanted = pathlib.Path(folder, SETTINGS[split]), json.loads(json.dumps(settings))
    pairs = pathlib.Path(folder, SETS[split])
    is_begun = any(pairs.glob("*.npy"))
    if is_begun and path.exists():
        before = plain_files.json_object(path)
        changed = [key for key in wanted if before.get(key) != wanted[key]]
        if changed:
            changes = "; ".join(f"{key}: {before.get(key)}, now {wanted[key]}" for key in changed[:3])
            raise errors.AlreadyExists(f"{path}: other settings made these pairs ({changes}); give another --out")
        return
    if is_begun:
        raise errors.AlreadyExists(f"{pairs}: no {path.name} says how these pairs were made; give another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_files.opened(path, encoding="utf-8") as file:
        file.write(json.dumps(wanted, indent=1) + "\n")


def _place(path: pathlib.Path) -> tuple[str, int]:
    """Returns the song and the second that a file's name tells."""
    song, _, second = path.stem.rpartition("_")
    if not song or not second.isdecimal():  # int() reads no other digits, such as a superscript 2.
        raise errors.Invalid(f"{path}: the name of a pair is SONG_SECOND.npy")
    return song, int(second)
