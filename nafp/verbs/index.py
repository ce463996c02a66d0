"""`nafp index`: a faiss index of fingerprints as a file of its own, for programs that search by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from nafp import errors
from nafp.jobs import choices
from nafp.search import index, plans, song_index

N_PARTS, N_LISTS = 32, 256  # song_mine's defaults of -m and -nlist.


def run(
    folder: str,
    *,
    out: str,
    names: Sequence[str] = (),
    kind: str = "auto",
    metric: str = "ip",
    n_parts: int = 0,
    n_lists: int = 0,
    dim: int = 0,
) -> int:
    """Writes OUT.index and OUT.json, prints what they hold, and returns the exit code.

    folder, names: as of `song_index.rows_of`. kind: as of `plans.plan`. metric: one of `index.METRICS`. n_parts,
    n_lists: for song_mine's index, which has this many parts of codes and lists; 0 for its default, and both 0 for
    `kind`. dim: D that the fingerprints must have, 0 for any. Raises nafp.errors.Invalid for what cannot be right.
    """
    choices.require("--metric", metric, index.METRICS)
    if n_parts or n_lists:
        kind, metric = f"IVF{n_lists or N_LISTS}_IP,PQ{n_parts or N_PARTS}", "l2"
    song_index.require_out(out)
    rows = song_index.rows_of(folder, names)
    if dim and dim != rows.dim:
        raise errors.Invalid(f"-d={dim}: these fingerprints have {rows.dim} dimensions")
    if kind.startswith("IVF") and n_parts and rows.dim % n_parts:
        raise errors.Invalid(f"-m={n_parts}: {rows.dim} dimensions cannot be cut into this many equal parts")
    chosen = plans.plan(kind, n_rows=len(rows), dim=rows.dim)
    if plans.is_graph(chosen.factory):  # As the other programs: everything in one call.
        chosen = chosen._replace(add_rows=(len(rows),))
    built = index.build(rows, chosen, metric=metric)
    paths = song_index.write(built, rows, out)
    trained = built.about["trained_rows"]
    print(
        f"{paths[0]}: {chosen.factory} by {metric}, {len(built)} rows of {len(song_index.songs(rows))} songs, "
        f"{built.n_bytes / 2**20:.1f} MiB, "
        + (f"trained on {trained} rows" if trained else "nothing to train")
        + (f", {chosen.n_probe} lists searched" if chosen.n_probe else "")
    )
    print(f"{paths[1]}: the first row of each song, and its name")
    return 0
