"""Writes a web page that holds a small database and identifies in the browser, without a server of ours.

nafp page --out=FOLDER DB
python -m http.server -d FOLDER            then open http://localhost:8000

The folder can be put on any web host that has https, which browsers ask for before they open a microphone. Everybody
who opens the page can read the names and metadata of the tracks; folders of their files are left out.
"""

from absl import flags

from . import exits

_OUT = flags.DEFINE_string("out", None, "FOLDER to write; an earlier page in it is replaced.", required=True)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float16", ["float16", "int8"], "Type of the fingerprints: 512 or 256 bytes for a second of sound."
)


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise exits.wrong("name a database: nafp page --out=FOLDER DB")
    from nafp.verbs import page

    return page.run(argv[1], out=str(_OUT.value), dtype=_DTYPE.value)


if __name__ == "__main__":
    exits.run(main)
