"""Frees the space of removed tracks, stores fingerprints in fewer bytes, or moves them to another disk.

nafp compact DB
nafp compact DB --storage=int8
nafp compact DB --log_folder=/mnt/large/db

A smaller storage loses a little accuracy (docs/databases.md), and what it loses does not come back. The database keeps
answering meanwhile. Until it is done, it takes as much space again.
"""

from absl import flags

from . import exits

_STORAGE = flags.DEFINE_string(
    "storage", None, "How to store fingerprints: float32, float16, int8, int4, pq2 or pq1. Left out: as they are."
)

_LOG_FOLDER = flags.DEFINE_string(
    "log_folder",
    None,
    "Where the log of fingerprints is to lie: a folder of its own on another disk, or DB to bring it back. Left out: "
    "where it is.",
)


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise exits.wrong("name a database: nafp compact DB")
    from nafp.verbs import compact

    return compact.run(argv[1], storage=_STORAGE.value, log_folder=_LOG_FOLDER.value)


if __name__ == "__main__":
    exits.run(main)
