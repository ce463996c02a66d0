"""Puts the tracks of other databases into one, without their audio files.

nafp merge DB OTHER...

All must be of one network and hop. Tracks whose audio is there are left out. The others stay as they are.
"""

from . import exits


def main(argv: list[str]) -> int:
    if len(argv) < 3:
        raise exits.wrong("name a database and others to put into it: nafp merge DB OTHER...")
    from nafp.database import database, from_databases

    with database.Database.open(argv[1]) as opened:
        report = opened.merge(argv[2:], show=True)
        print(from_databases.describe(report, argv[1], n_tracks=len(opened)))
    return 0


if __name__ == "__main__":
    exits.run(main)
