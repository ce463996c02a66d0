"""Which index for which collection: kinds by name, factory strings, and a choice by size.

Kinds by name are those of the original (mimbres/neural-audio-fp, eval/utils/get_index_faiss.py),
with its parameters; any other kind is a faiss factory string ("IVF1024,PQ64x4fs", "HNSW32"), and
`auto` chooses by the number of rows.
"""

from typing import NamedTuple

import numpy as np

from nafp import errors

KINDS = ("auto", "l2", "ivf", "ivfpq", "ivfpq-rr", "hnsw")
SEED = 1234  # faiss' own seed for k-means: the original never sets another.
ROWS_PER_LIST = 256  # faiss never trains a centroid on more.
ORIGINAL_PROBES, ORIGINAL_K = 40, 20
ORIGINAL_MAX_TRAIN = 10_000_000
FLAT_BELOW = 1_000_000  # Rows: an exact search of fewer costs less than training an index.
SHARE_PROBED = 0.16  # Of the lists. Noisy queries lose 25 % of their neighbours at 6 %, 9 % here.


class Plan(NamedTuple):
    """What to build and how to search it; n_probe 0 where there are no lists."""

    kind: str
    factory: str
    n_probe: int
    k: int
    train_rows: int
    reason: str


def plan(kind: str, *, n_rows: int, dim: int, n_probe: int = 0, k: int = 0, train_rows: int = 0) -> Plan:
    """Chooses the parameters of an index; n_probe, k and train_rows overrule when above 0."""
    factory, probes, neighbours, reason = _chosen(kind, n_rows=n_rows, dim=dim)
    lists = _n_lists(factory)
    rows = max(65_536, ROWS_PER_LIST * lists) if _learns(factory) else 0
    centres = max(lists, 0 if factory.endswith("Flat") else 256)  # Codes of 8 bits have 256.
    if _learns(factory) and n_rows < centres:
        raise errors.Invalid(
            f"--index={kind} learns {centres} centres, and there are only {n_rows} rows; "
            "use --index=l2 (or auto) for so few"
        )
    return Plan(
        kind,
        factory,
        min(lists, n_probe or probes) if lists else 0,
        max(1, min(k or neighbours, n_rows)),
        train_rows or rows,
        reason,
    )


def as_original(chosen: Plan, *, n_dummy: int) -> Plan:
    """Trains a plan on what the original would: a sample, or all of the dummy where that differs.

    faiss draws its own sample from what it is given. For one codebook the head of its permutation
    is all it ever sees; a second one (the refinement of ivfpq-rr) is drawn from all rows.
    """
    if chosen.kind == "ivfpq-rr":
        chosen = chosen._replace(train_rows=min(n_dummy, ORIGINAL_MAX_TRAIN))
    return chosen._replace(reason="as the original, trained on the dummy")


def _chosen(kind: str, *, n_rows: int, dim: int) -> tuple[str, int, int, str]:
    """Gives factory string, probes, neighbours and the reason for a kind."""
    original = {
        "l2": "Flat",
        "ivf": "IVF400,Flat",
        "ivfpq": "IVF256,PQ64",
        "ivfpq-rr": "IVF256,PQ64+4x4",
        "hnsw": "HNSW16",
    }
    if kind in original:
        if "PQ64" in original[kind] and dim % 64:
            raise errors.Invalid(
                f"--index={kind} cuts a vector into 64 parts and {dim} dimensions are no multiple "
                f"of 64; use a factory string such as IVF256,PQ{dim // 2}"
            )
        return original[kind], ORIGINAL_PROBES, ORIGINAL_K, "as the original"
    if kind != "auto":
        lists = _n_lists(kind)
        return kind, -(-lists * 16 // 100), 100, "as given"
    if n_rows < FLAT_BELOW:
        return "Flat", 0, 100, f"{n_rows} rows, below {FLAT_BELOW}: exact search is cheap"
    lists = 2 ** round(np.log2(np.sqrt(n_rows) / 2.5))
    probes = int(np.ceil(SHARE_PROBED * lists))
    return (
        f"IVF{lists},PQ{dim // 2}x4fs",
        probes,
        100,
        f"{n_rows} rows: 4-bit codes in {lists} lists, {SHARE_PROBED:.0%} of them probed, "
        "candidates scored with the exact vectors",
    )


def _n_lists(factory: str) -> int:
    """Reads the number of inverted lists out of a factory string; 0 when it has none."""
    for part in factory.split(","):
        digits = part.removeprefix("IVF").split("_")[0]
        if part.startswith("IVF") and digits.isdigit():
            return int(digits)
    return 0


def _learns(factory: str) -> bool:
    return any(mark in factory for mark in ("IVF", "PQ", "SQ", "RaBitQ", "OPQ", "PCA", "RQ", "LSQ"))
