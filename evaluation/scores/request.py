"""What to evaluate, and how: the settings of `nafp evaluate` with their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nafp.search import match

LENGTHS = (1, 3, 5, 9, 11, 19)  # Segments, as in the original: 1, 2, 3, 5, 6 and 10 s.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What to evaluate, and how. `nafp evaluate --help` explains each setting."""

    store: Sequence[str]
    out: str
    query: str = "query"
    db: str = "db"
    dummy: str | None = None
    unknown: str | None = None
    index: str = "auto"
    lengths: Sequence[int | str] = LENGTHS
    ids: str = "all"
    compat: bool = False
    truth: str | None = None
    group: Sequence[str] | None = None
    seed: int = 0
    k: int = 0
    n_probe: int = 0
    train_rows: int = 0
    index_folder: str | None = None
    matcher: str = "diagonal"
    shifts: int = 1
    between: bool = True
    sharpness: float = 0.0
    twin_cosine: float = match.TWIN_COSINE
    rows_per_track: int = 0
    false_accepts: float = 0.01
    confidence: str | None = None
    repeats: Sequence[str] = ()
    recall: bool = False
    gpu: bool = True
    report: str | None = None
    show: bool = True
