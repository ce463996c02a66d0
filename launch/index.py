"""Writes a faiss index of fingerprints as a file of its own, NAME.index, and NAME.json: the song at each first row.

nafp index STORE --index=IVF200,PQ32 --metric=ip --out=NAME
nafp index FINGERPRINTS -m 32 -d 128 -nlist 256 --out=NAME     song_mine's index

STORE: a folder of stores, or of .npy files, one a song, such as nafp extract --per_track writes.

Exit code: 0 if the files were written, 2 for an error.
"""

from absl import flags

from . import exits, words

_INDEX = flags.DEFINE_string(
    "index", "auto", "auto, l2, ivf, ivfpq, ivfpq-rr, hnsw, or a faiss factory such as IVF200,PQ32."
)
_METRIC = flags.DEFINE_enum("metric", "ip", ["ip", "l2"], "ip: the inner product, as the benchmark's; l2: as pfann's.")
_NAME = flags.DEFINE_list("name", ["db"], "Names within the store, separated by commas.")
_PARTS = flags.DEFINE_integer("m", 0, "song_mine's index: parts of a fingerprint. 32 if -nlist is given.", 0)
_LISTS = flags.DEFINE_integer("nlist", 0, "song_mine's index: lists. 256 if -m is given.", 0)
_DIM = flags.DEFINE_integer("d", 0, "Dimensions that the fingerprints must have. 0: any.", 0)
_OUT = flags.DEFINE_string("out", None, "NAME of the two files, without suffix. Required.")
flags.mark_flag_as_required("out")


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise exits.wrong("name one folder of fingerprints: nafp index STORE --out=NAME")
    if flags.FLAGS["index"].present and (_PARTS.value or _LISTS.value):
        raise exits.wrong("-m and -nlist choose song_mine's index; leave out --index, or them")
    words.only_with(["metric"], not (_PARTS.value or _LISTS.value), "is l2 in song_mine's index: leave it out")
    words.require_names()
    from nafp.verbs import index

    return index.run(
        argv[1],
        out=_OUT.value or "",
        names=_NAME.value if _NAME.present else (),
        kind=_INDEX.value,
        metric=_METRIC.value,
        n_parts=_PARTS.value,
        n_lists=_LISTS.value,
        dim=_DIM.value,
    )


if __name__ == "__main__":
    exits.run(main)
