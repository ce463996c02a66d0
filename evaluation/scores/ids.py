"""Test ids of `--ids`: the rows of the query store at which queries begin."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nafp import errors
from nafp.jobs import plain_files

ICASSP = "icassp"  # The 2,000 ids of the paper, among 29,500 rows: 500 clips of 59.
ICASSP_FILE = "test_ids_icassp2021.npy"  # In the folder `eval` of the original.


def checked(asked: str, folders: Sequence[str | os.PathLike]) -> str:
    """Returns what --ids says, with `icassp` replaced by the path of its file, and `ALL` by `all`.

    folders: where the file of `icassp` is looked for, before the current folder and its `eval`. Raises errors.Invalid
    or errors.NotFound for anything but all, icassp, a number, or a .npy file that exists.
    """
    if asked.isdigit() or asked.lower() == "all":
        return asked.lower()
    if asked.lower() == ICASSP:
        return _icassp([*folders, ".", "eval"])
    if not asked.endswith(".npy"):
        raise errors.Invalid(f"--ids={asked}: give all, icassp, a number, or a .npy file of test ids")
    if not os.path.exists(asked):
        raise errors.NotFound(f"--ids={asked}: no such file")
    return asked


def _icassp(folders: Sequence[str | os.PathLike]) -> str:
    places = list(dict.fromkeys(Path(folder) for folder in folders))
    found = [place / ICASSP_FILE for place in places if (place / ICASSP_FILE).is_file()]
    if not found:
        raise errors.NotFound(
            f"--ids={ICASSP}: {ICASSP_FILE} is not in {', '.join(map(str, places))}; copy it there from the folder "
            "eval of mimbres/neural-audio-fp, name it (--ids=FILE.npy), or draw rows at random (--ids=2000)"
        )
    return str(found[0])


def read(
    asked: str, *, n_rows: int, fits: np.ndarray, seed: int = 0, longest: int = 0, as_original: bool = False
) -> np.ndarray:
    """Returns the test ids: int64 [n].

    asked: as `checked` returns it. fits: bool [n_rows], whether an id can be drawn. longest: rows of the longest query.
    as_original: `all` and a number mean the rows 0 .. n_rows - longest - 1, one fewer than have room, and a number
    above that means all of them. Otherwise `all` means every row, and such a number is refused.
    """
    if as_original and not asked.endswith(".npy"):
        fits = np.arange(n_rows) < n_rows - longest
        if not fits.any():
            raise errors.Invalid(f"--ids={asked}: a query of {longest} rows needs more than {n_rows} rows")
    if asked == "all":
        return np.flatnonzero(fits) if as_original else np.arange(n_rows)
    if asked.isdigit():
        return _drawn(int(asked), np.flatnonzero(fits), seed=seed, clip=as_original)
    ids = plain_files.array(asked).ravel()
    if ids.dtype.kind not in "iu" or not len(ids):
        raise errors.Invalid(f"--ids={asked} holds {ids.dtype} [{len(ids)}]; it should be row numbers")
    wrong = ids[(ids < 0) | (ids >= n_rows)]
    if len(wrong):
        raise errors.Invalid(
            f"--ids={asked}: {len(wrong)} of {len(ids)} ids are outside 0 .. {n_rows - 1}, "
            f"the first is {wrong[0]}; this file belongs to another query store"
        )
    return ids.astype(np.int64)


def _drawn(n: int, choice: np.ndarray, *, seed: int, clip: bool) -> np.ndarray:
    """Draws n of the rows in `choice`, each once, ascending. clip: whether a larger n means all of them."""
    n = min(n, len(choice)) if clip else n
    if not 0 < n <= len(choice):
        raise errors.Invalid(f"--ids={n}: there are {len(choice)} ids to draw from")
    return np.sort(np.random.default_rng(seed).choice(choice, n, replace=False))
