"""Sets evaluations side by side and says which differences are larger than chance.

nafp compare A/results.json B/results.json ...   or   nafp compare base=R0,R1,R2 new=S0,S1,S2

With --train, a support vector machine learns which of two systems to believe. Query sets are NAME=FIRST,SECOND,TRUTH:

nafp compare --train=nn.tsv,lm.tsv,expected.csv --songs=songs.txt --out=OUT snr-6=nn6.tsv,lm6.tsv,expected6.csv ...

FIRST and SECOND: RESULT.tsv with RESULT.tsv.bin beside it, RESULT_detail.csv, or .npy files of (score, right).
"""

from absl import flags

from . import exits, rooms, words

_OUT = flags.DEFINE_string("out", None, "Folder for compare.md and compare.json, or the tables of --train.")
_TRAIN = flags.DEFINE_string("train", None, "Query set to learn from: FIRST,SECOND,TRUTH. Needs the extra `ensemble`.")
_SONGS = flags.DEFINE_string("songs", None, "The songs of RESULT.tsv.bin, one a line, in order.")
_SECOND = flags.DEFINE_enum(
    "second", "landmark", ["landmark", "network"], "What wrote the .bin of SECOND: landmark: int32, network: float32."
)


def main(argv: list[str]) -> None:
    if _TRAIN.value:
        if len(argv) < 2 or not _OUT.value:
            raise exits.wrong("--train needs query sets to score, and --out")
        ensemble = rooms.load("evaluation.scores.ensemble")
        ensemble.run(_TRAIN.value, argv[1:], out=_OUT.value, songs=_SONGS.value, second=_SECOND.value)
        return
    words.only_with(["songs", "second"], False, "belongs to --train")
    if len(argv) < 3:
        raise exits.wrong("give two results or more; the others are compared with the first")
    rooms.load("evaluation.scores.compare").run(argv[1:], out=_OUT.value)


if __name__ == "__main__":
    exits.run(main)
