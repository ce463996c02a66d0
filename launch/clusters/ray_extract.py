"""Fingerprints recordings on a Ray cluster, one finished file for each. The same command again goes on.

python launch/clusters/ray_extract.py --source=/shared/music --out=/shared/fingerprints --workers=8

All nodes see the source and the folder of the files, and have nafp[ray]. A share that a worker was doing when it died
is done again by another one, which leaves the files that are there.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import ray

from nafp.fingerprints import per_track, shares
from nafp.weights import sources


class Fingerprints:
    """A worker: holds the network, and writes share after share."""

    def __init__(self, checkpoint: str, source: str, out: str, n_shares: int):
        self._files, self._n = per_track.Files(sources.open_extractor(checkpoint), source, out), n_shares

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        report, n_before = self._files.write(shares.Share(int(row["id"]), self._n))
        return {"written": report.n_tracks, "before": n_before, "failed": [": ".join(x) for x in report.failures]}


def main(words: list[str]) -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--checkpoint", default="small", help="RUN, RUN@best or an exported file")
    flags.add_argument("--source", required=True, help="a folder, a list or a corpus that all nodes see")
    flags.add_argument("--out", required=True, help="the folder of the files, which all nodes see")
    flags.add_argument("--workers", type=int, default=1, help="networks at once")
    flags.add_argument("--shares", type=int, default=0, help="shares of the tracks; default: 16 for each worker")
    flags.add_argument("--cpus", type=float, default=1, help="of each worker")
    flags.add_argument("--gpus", type=float, default=0, help="of each worker")
    given, began_s = flags.parse_args(words), time.monotonic()
    n_shares = given.shares or 16 * given.workers
    done = ray.data.range(n_shares, override_num_blocks=n_shares).map(
        Fingerprints,
        fn_constructor_args=(given.checkpoint, given.source, given.out, n_shares),
        concurrency=given.workers,
        num_cpus=given.cpus,
        num_gpus=given.gpus,
    )
    rows = list(done.iter_rows())
    failed = [line for row in rows for line in row["failed"]]
    written, before = (sum(row[name] for row in rows) for name in ("written", "before"))
    print(f"{given.out}: {written} files, {before} were there; {time.monotonic() - began_s:.0f} s")
    print("\n".join(["", *failed]) if failed else "", end="")
    return 0 if written or before else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
