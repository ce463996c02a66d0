"""Chooses what searches a database: index files of its own, or Milvus. Without a word it says what is chosen.

nafp engine DB
nafp engine DB milvus --uri=http://localhost:19530 --token_file=token.txt
nafp engine DB local
nafp engine DB rebuild      sends all fingerprints anew, or writes the index files anew
nafp engine DB trust        agrees to the address and the token of a database that was made by somebody else

The fingerprints and the catalogue stay in DB. Milvus is sent copies, and is asked for the nearest ones.

Exit code: 0 if the engine is as it was asked for, 2 for an error, such as a server out of reach.
"""

from absl import flags

from . import exits

_URI = flags.DEFINE_string("uri", "", "http://HOST:PORT of Milvus, or a path that ends in .db for milvus-lite.")
_FILE = flags.DEFINE_string("token_file", None, "File with the token, or user:password. It is read at each opening.")
_ENV = flags.DEFINE_string("token_env", None, "Variable of the environment with the token, instead of a file.")
_INDEX = flags.DEFINE_enum(
    "index", "auto", ["auto", "FLAT", "IVF_FLAT", "IVF_SQ8"], "auto: FLAT below a million fingerprints, else IVF_SQ8."
)
_LISTS = flags.DEFINE_integer("lists", 1024, "Lists of each segment of an IVF index; 16 % of them are searched.")
_TIMEOUT = flags.DEFINE_float("timeout_s", 30.0, "Seconds to wait for an answer of the server.")
_OF_MILVUS = ("uri", "token_file", "token_env", "index", "lists", "timeout_s")


def main(argv: list[str]) -> int:
    if not 2 <= len(argv) <= 3:
        raise exits.wrong("name a database, and what to do: nafp engine DB [milvus|local|rebuild|trust]")
    kind = argv[2] if len(argv) == 3 else ""
    given = [name for name in _OF_MILVUS if flags.FLAGS[name].present]
    if given and kind != "milvus":
        raise exits.wrong(f"--{given[0]} belongs to nafp engine DB milvus")
    from nafp.verbs import engine

    return engine.run(
        argv[1],
        kind,
        uri=_URI.value,
        token_file=_FILE.value,
        token_env=_ENV.value,
        index=_INDEX.value,
        lists=_LISTS.value,
        timeout_s=_TIMEOUT.value,
    )


if __name__ == "__main__":
    exits.run(main)
