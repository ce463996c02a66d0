"""Puts the tracks of other databases into one, without their audio files.

nafp merge DB OTHER...

All must be of one network and hop. Tracks whose audio the database holds are left out. The others stay as they are.
"""

from . import exits


def main(argv: list[str]) -> int:
    if len(argv) < 3:
        raise exits.wrong("name a database and others to put into it: nafp merge DB OTHER...")
    from nafp.verbs import merge

    return merge.run(argv[1], argv[2:])


if __name__ == "__main__":
    exits.run(main)
