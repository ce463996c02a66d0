"""Lists the tracks of a database.

nafp list DB --format=json | jq .title

PATTERN: only tracks that it means, e.g. "*/live/*"; several may be given. json: one object for each track and line.
"""

import sys

from absl import flags

from . import exits

_FORMAT = flags.DEFINE_enum(
    "format", "text", ["text", "json", "csv", "tsv", "names"], "names: one a line, for nafp remove."
)


def main(argv: list[str]) -> int:
    if len(argv) < 2:
        raise exits.wrong("name a database: nafp list DB [PATTERN...]")
    from nafp.database import database
    from nafp.verbs import list as listing

    with database.Database.open(argv[1]) as opened:
        try:
            n_tracks = listing.write(opened, argv[2:], sys.stdout, format=_FORMAT.value)
        except KeyError as error:
            print(f"nafp list: {error.args[0]}", file=sys.stderr)
            n_tracks = 0
    return 0 if n_tracks else 1


if __name__ == "__main__":
    exits.run(main)
