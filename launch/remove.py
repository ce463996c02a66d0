"""Removes tracks from a database. nafp compact gives their space back.

nafp remove DB song.flac "#17" --glob="*/live/*"

TRACK: a name as nafp list writes it, the name of a file with or without folder and suffix, or # and a number. A name is
never taken for a number or a pattern. If it could mean several tracks, nothing is removed.

Exit code: 0 if tracks were removed, 1 if a TRACK names none (then nothing is removed), 2 for an error.
"""

from absl import flags

from nafp import errors

from . import exits

_ID = flags.DEFINE_list("id", [], "Numbers of tracks as nafp list writes them, separated by commas.")
_GLOB = flags.DEFINE_multi_string("glob", [], "Pattern of names, such as '*/live/*'; it may be given several times.")


def main(argv: list[str]) -> int:
    if len(argv) < 2 or not (argv[2:] or _ID.value or _GLOB.value):
        raise exits.wrong("name a database and its tracks: nafp remove DB TRACK...")
    numbers = [word.strip().removeprefix("#") for word in _ID.value]
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        raise errors.Invalid(f"--id={','.join(_ID.value)}: numbers with commas between, as nafp list writes them")
    from nafp.verbs import remove

    return remove.run(argv[1], argv[2:], ids=[int(number) for number in numbers], glob=_GLOB.value)


if __name__ == "__main__":
    exits.run(main)
