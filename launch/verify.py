"""Reads every file of a database and compares it with what was written; names what is damaged.

nafp verify DB

Exit code 2 when something is. What is whole answers all the same. --repair takes the damaged tracks out, whose files
can then be added again, and writes the index files anew.
"""

from absl import flags

from . import exits

_REPAIR = flags.DEFINE_bool("repair", False, "Take damaged tracks out, write index files anew.")


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise exits.wrong("name a database: nafp verify DB")
    from nafp.database import check, database

    with database.Database.open(argv[1]) as opened:
        found = opened.verify(show=True)
        print(check.describe(found, opened.folder))
        if _REPAIR.value and found.damages:
            opened.repair(found)
            found = opened.verify()
            print(f"repaired: {len(opened)} tracks; {check.describe(found, opened.folder)}")
    return 2 if found.damages else 0


if __name__ == "__main__":
    exits.run(main)
