"""Sets evaluations side by side and says which differences are larger than chance.

nafp compare A/results.json B/results.json ...   or   nafp compare base=R0,R1,R2 new=S0,S1,S2
"""

from absl import flags

from . import exits, rooms

_OUT = flags.DEFINE_string("out", None, "Folder for compare.md and compare.json. Default: they are not written.")


def main(argv: list[str]) -> None:
    if len(argv) < 3:
        raise exits.wrong("give two results or more; the others are compared with the first")
    rooms.load("evaluation.scores.compare").run(argv[1:], out=_OUT.value)


if __name__ == "__main__":
    exits.run(main)
