"""Removes tracks from a database. nafp compact gives their space back.

nafp remove DB song.flac 17 "*/live/*"

TRACK: a number or name as nafp list writes it, the name of a file with or without folder and suffix, or a pattern.

Exit code: 0 if tracks were removed, 1 if a TRACK names none (then nothing is removed), 2 for an error.
"""

from . import exits


def main(argv: list[str]) -> int:
    if len(argv) < 3:
        raise exits.wrong("name a database and its tracks: nafp remove DB TRACK...")
    from nafp.verbs import remove

    return remove.run(argv[1], argv[2:])


if __name__ == "__main__":
    exits.run(main)
