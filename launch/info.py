"""Says how large a database is, and what it was made with.

nafp info DB
"""

import json

from absl import flags

from . import exits

_FORMAT = flags.DEFINE_enum("format", "text", ["text", "json"], "How to say it.")


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise exits.wrong("name a database: nafp info DB")
    from nafp.database import database
    from nafp.verbs import list as listing

    with database.Database.open(argv[1]) as opened:
        said = opened.info()
    print(json.dumps(said) if _FORMAT.value == "json" else listing.told(said, argv[1]))
    return 0


if __name__ == "__main__":
    exits.run(main)
