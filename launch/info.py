"""Says how large a database is, and what it was made with.

nafp info DB
"""

from absl import flags

from . import exits

_FORMAT = flags.DEFINE_enum("format", "text", ["text", "json"], "How to write it. json: one object.")


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise exits.wrong("name a database: nafp info DB")
    from nafp.verbs import info

    return info.run(argv[1], format=_FORMAT.value)


if __name__ == "__main__":
    exits.run(main)
