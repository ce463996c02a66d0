"""Puts the tracks of other databases into one, without their audio files.

nafp merge DB OTHER...

All must be of one network and hop. Tracks whose audio is there are left out. The others stay as they are.
"""

from absl import app

from nafp import database, merging


def main(argv: list[str]) -> None:
    if len(argv) < 3:
        raise app.UsageError("name a database and others to put into it: nafp merge DB OTHER...")
    with database.Database.open(argv[1]) as opened:
        report = opened.merge(argv[2:], show=True)
        print(merging.describe(report, argv[1], n_tracks=len(opened)))


if __name__ == "__main__":
    app.run(main)
