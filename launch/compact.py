"""Gives the space of removed tracks back, or stores fingerprints smaller.

nafp compact DB
nafp compact DB --storage=int8

A smaller storage loses a little (docs/databases.md), and what it loses does not come back. While it works, the database
answers, and takes as much space again.
"""

from absl import flags

from . import exits

_STORAGE = flags.DEFINE_string(
    "storage", None, "float32, float16, int8, int4, pq2, pq1. [as it is]"
)


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise exits.wrong("name a database: nafp compact DB")
    from nafp import database

    with database.Database.open(argv[1]) as opened:
        saved = opened.compact(storage=_STORAGE.value)
        left = opened.info()["bytes"]
    print(f"{argv[1]}: {left / 1e6:.1f} MB, {saved / 1e6:.1f} MB less than before")
    return 0


if __name__ == "__main__":
    exits.run(main)
