"""Reads every file of a database, compares it with what was written, and names what is damaged.

nafp verify DB
nafp verify DB --repair

What is whole still answers. Exit code: 0 if everything is whole, 2 if something is damaged.
"""

from absl import flags

from . import exits

_REPAIR = flags.DEFINE_bool(
    "repair", False, "Remove damaged tracks, whose files can then be added again, and write the index files anew."
)


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise exits.wrong("name a database: nafp verify DB")
    from nafp.verbs import verify

    return verify.run(argv[1], repair=_REPAIR.value)


if __name__ == "__main__":
    exits.run(main)
