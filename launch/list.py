"""Lists the tracks of a database.

nafp list DB --format=json | jq .title

PATTERN: only tracks that it means, e.g. "*/live/*"; several may be given. json: one object for each track and line.
"""

import sys

from absl import app, flags

from nafp import database, listing

_FORMAT = flags.DEFINE_enum(
    "format", "text", listing.FORMATS, "names: one a line, for nafp remove."
)


def main(argv: list[str]) -> None:
    if len(argv) < 2:
        raise app.UsageError("name a database: nafp list DB [PATTERN...]")
    with database.Database.open(argv[1]) as opened:
        try:
            n_tracks = listing.write(opened, argv[2:], sys.stdout, format=_FORMAT.value)
        except KeyError as error:
            print(f"nafp list: {error.args[0]}", file=sys.stderr)
            n_tracks = 0
    sys.exit(0 if n_tracks else 1)


if __name__ == "__main__":
    app.run(main)
