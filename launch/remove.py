"""Takes tracks out of a database. Their space comes back with nafp compact.

nafp remove DB song.flac 17 "*/live/*"

TRACK: a number or name as nafp list gives it, a file's name with or without folder and suffix, or a pattern.
"""

import sys

from . import exits


def main(argv: list[str]) -> int:
    if len(argv) < 3:
        raise exits.wrong("name a database and its tracks: nafp remove DB TRACK...")
    from nafp.database import database

    with database.Database.open(argv[1]) as opened:
        try:
            names = opened.remove(argv[2:])
        except KeyError as error:
            print(f"nafp remove: {error.args[0]}; nothing was removed", file=sys.stderr)
            return 1
        print("\n".join(f"removed {name}" for name in names))
        print(f"{argv[1]}: {len(opened)} tracks")
    return 0


if __name__ == "__main__":
    exits.run(main)
