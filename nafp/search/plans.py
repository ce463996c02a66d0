"""Chooses an index for a collection: kinds by name, faiss factory strings, and a choice by size.

Kinds by name are those of the original (mimbres/neural-audio-fp, eval/utils/get_index_faiss.py), with its parameters.
Any other kind is a faiss factory string ("IVF1024,PQ64x4fs", "HNSW32"), and `auto` chooses by the number of rows.
"""

from typing import NamedTuple

import numpy as np

from nafp import errors

K = 100  # Neighbours of a query row, for every kind that is not the original's.
SHARE_PROBED = 0.16  # Of the lists. Noisy queries lose 25 % of their neighbours at 6 %, 9 % here.
FLAT_BELOW = 1_000_000  # Rows: an exact search of fewer costs less than training an index.
SEED = 1234  # faiss' own seed for k-means: the original never sets another.
ROWS_PER_LIST = 256  # faiss never trains a centroid on more.
ORIGINAL_PROBES, ORIGINAL_K = 40, 20
ORIGINAL_MAX_TRAIN = 10_000_000
_LEAST_TRAIN = 65_536
_ORIGINAL = {
    "l2": "Flat",
    "ivf": "IVF400,Flat",
    "ivfpq": "IVF256,PQ64",
    "ivfpq-rr": "IVF256,PQ64+4x4",
    "hnsw": "HNSW16",
}
KINDS = ("auto", *_ORIGINAL)


class Plan(NamedTuple):
    """How to build an index and how to search it.

    kind: as it was asked for. factory: of faiss. n_probe: lists searched for each query row, 0 where there are none.
    k: neighbours of a query row. train_rows: rows to train on, 0 where nothing is learned. reason: why, in words.
    add_rows: rows of each call that adds to the index, in order; () where the calls make no difference.
    """

    kind: str
    factory: str
    n_probe: int
    k: int
    train_rows: int
    reason: str
    add_rows: tuple[int, ...] = ()


def plan(kind: str, *, n_rows: int, dim: int, n_probe: int = 0, k: int = 0, train_rows: int = 0) -> Plan:
    """Chooses the parameters of an index over `n_rows` rows of `dim` dimensions.

    kind: one of KINDS in any case, or a faiss factory string. n_probe, k, train_rows: used instead of the chosen
    ones when above 0. Raises ValueError for a kind that learns more centres than there are rows.
    """
    kind = named(kind)
    factory, probes, neighbours, reason = _chosen(kind, n_rows=n_rows, dim=dim)
    lists = _n_lists(factory)
    rows = max(_LEAST_TRAIN, ROWS_PER_LIST * lists) if _learns(factory) else 0
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


def named(kind: str) -> str:
    """Returns the name of a kind as KINDS has it, or a factory string as it is."""
    return kind.lower() if kind.lower() in KINDS else kind


def is_graph(factory: str) -> bool:
    """Returns whether an index depends on how its rows are divided among the calls that add them."""
    return any(part.startswith("HNSW") for part in factory.split(","))


def as_original(chosen: Plan, *, n_dummy: int, n_rows: int) -> Plan:
    """Returns the plan with the training rows of the original, and with its calls where they matter.

    n_dummy, n_rows: rows of the dummy database, and of it together with the database.

    faiss draws its own sample from the rows it is given. The head of its permutation is all that one codebook ever
    sees; a second one (the refinement of ivfpq-rr) is drawn from all rows. A graph (hnsw) depends on how the rows are
    divided among calls: the original adds the dummy database in one call, then the database in one.
    """
    if is_graph(chosen.factory):
        chosen = chosen._replace(add_rows=(n_dummy, n_rows - n_dummy))
    if not chosen.train_rows:
        return chosen
    if chosen.kind == "ivfpq-rr":
        chosen = chosen._replace(train_rows=min(n_dummy, ORIGINAL_MAX_TRAIN))
    return chosen._replace(reason="as the original, trained on the dummy")


def _chosen(kind: str, *, n_rows: int, dim: int) -> tuple[str, int, int, str]:
    """Returns factory string, probes, neighbours and the reason for a kind."""
    if kind in _ORIGINAL:
        if "PQ64" in _ORIGINAL[kind] and dim % 64:
            raise errors.Invalid(
                f"--index={kind} cuts a vector into 64 parts and {dim} dimensions are no multiple "
                f"of 64; use a factory string such as IVF256,PQ{dim // 2}"
            )
        return _ORIGINAL[kind], ORIGINAL_PROBES, ORIGINAL_K, "as the original"
    if kind != "auto":
        return kind, probed(_n_lists(kind)), K, "as given"
    if n_rows < FLAT_BELOW:
        return "Flat", 0, K, f"{n_rows} rows, below {FLAT_BELOW}: exact search is cheap"
    lists = 2 ** round(np.log2(np.sqrt(n_rows) / 2.5))
    return (
        f"IVF{lists},PQ{dim // 2}x4fs",
        probed(lists),
        K,
        f"{n_rows} rows: 4-bit codes in {lists} lists, {SHARE_PROBED:.0%} of them probed, "
        "candidates scored with the exact vectors",
    )


def probed(n_lists: int) -> int:
    """Returns how many of `n_lists` lists to search for each query row: SHARE_PROBED of them, rounded up."""
    return int(np.ceil(SHARE_PROBED * n_lists))


def _n_lists(factory: str) -> int:
    """Reads the number of inverted lists out of a factory string. 0 when it has none."""
    for part in factory.split(","):
        digits = part.removeprefix("IVF").split("_")[0]
        if part.startswith("IVF") and digits.isdigit():
            return int(digits)
    return 0


def _learns(factory: str) -> bool:
    return any(mark in factory for mark in ("IVF", "PQ", "SQ", "RaBitQ", "OPQ", "PCA", "RQ", "LSQ"))
