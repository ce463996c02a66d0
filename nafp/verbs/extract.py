"""`nafp extract`: fingerprints a source into a store, or each track into a file of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from nafp import errors
from nafp.audio import decode

DONE, NOTHING = 0, 1  # Exit codes.


def run(
    checkpoint: str,
    source: str,
    out: str,
    *,
    name: str = "db",
    split: str | None = None,
    overwrite: bool = False,
    speeds: Sequence[str] = ("1",),
    shifts: int = 1,
    hop_s: float | None = None,
    short: str = "auto",
    per_track: bool = False,
    batch_size: int = 0,
    dtype: str = "float32",
    share: tuple[int, int] | None = None,
    join: bool = False,
) -> int:
    """Fingerprints `source`, prints what became of it, and returns the exit code.

    checkpoint, batch_size, dtype: as of `nafp.weights.sources.open_extractor`. per_track: whether to write OUT/SONG.npy
    of each track instead of a store. share: (number, of how many), to do one share alone. join: to make one store of
    all shares. Other parameters: as of `nafp.fingerprints.extract.extract`.
    """
    import jax

    from nafp.fingerprints import extract
    from nafp.fingerprints import per_track as each
    from nafp.weights import sources

    if per_track and (list(speeds) != ["1"] or shifts != 1):
        raise errors.Invalid("--per_track writes one file for each track: --speeds and --shifts are of stores")
    extract.require(name=name, speeds=speeds)
    if join and (per_track or share or jax.process_count() > 1):
        raise errors.Invalid("--join makes a store of shares, alone: leave --processes, --process and --per_track out")
    network = sources.open_extractor(checkpoint, batch_size=batch_size, dtype=dtype)
    common: dict[str, Any] = dict(split=split, overwrite=overwrite, hop_s=hop_s, short=short)
    began_s = time.monotonic()
    # Decoders print past Python. So does jax.distributed when another process dies, and that must be seen.
    with decode.hushed() if jax.process_count() == 1 else contextlib.nullcontext():
        if per_track:
            written = each.write(network, source, out, share=share, **common)
            print(each.describe(*written, out, wall_s=time.monotonic() - began_s))
            return DONE if written.report.n_tracks or written.n_before else NOTHING
        common |= dict(speeds=speeds, shifts=shifts, share=share, join=join)
        for store, report in extract.at_speeds(network, source, out, name=name, **common):
            if share:
                print(extract.describe_share(report, share, f"{out}/{store}", wall_s=time.monotonic() - began_s))
            elif jax.process_index() == 0:
                print(extract.describe(report, out, store, wall_s=time.monotonic() - began_s))
            began_s = time.monotonic()
    return DONE
