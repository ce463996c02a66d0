"""Lists the tracks of a database.

nafp list DB --format=json | jq .title
nafp list DB "*/live/*"

PATTERN: list only the tracks that it names; several may be given.

Exit code: 0 if there is a track, 1 if there is none, 2 for an error.
"""

from absl import flags

from . import exits

_FORMATS = ["text", "json", "csv", "tsv", "names"]
_FORMAT = flags.DEFINE_enum(
    "format", "text", _FORMATS, "How to write the tracks. json: one object a line. names: one name a line."
)


def main(argv: list[str]) -> int:
    if len(argv) < 2:
        raise exits.wrong("name a database: nafp list DB [PATTERN...]")
    from nafp.verbs import list as listing

    return listing.run(argv[1], argv[2:], format=_FORMAT.value)


if __name__ == "__main__":
    exits.run(main)
