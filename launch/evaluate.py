"""Scores queries against stores of fingerprints: hit rates with intervals. Needs no JAX.

nafp evaluate --store=STORE [--query=query --db=db --dummy=dummy_db] --index=ivfpq --out=RESULTS
nafp evaluate --protocol=robustness --references=CORPUS --checkpoint=RUN@best --out=RESULTS
(--helpfull lists what goes with --protocol: --references, --distractors, --noise, --recording...)
"""

from absl import flags

from . import exits, protocols, rooms

_SETTINGS = (
    (flags.DEFINE_list, "store", None, "Folders of stores, comma between."),
    (flags.DEFINE_string, "query", "query", "Name of the query store."),
    (flags.DEFINE_string, "db", "db", "Name of the database's store."),
    (flags.DEFINE_string, "dummy", None, "Store that fills the database; dummy_db if there."),
    (flags.DEFINE_string, "unknown", None, "Store of queries not in the database, or left-out."),
    (flags.DEFINE_string, "truth", None, "CSV query,answer,time[,...]; else row i answers row i."),
    (flags.DEFINE_list, "group", None, "Columns of --truth to tabulate by; condition if there."),
    (flags.DEFINE_string, "ids", "all", "Test ids: all, a number to draw, or a .npy file."),
    (flags.DEFINE_list, "lengths", "1,3,5,9,11,19", "Lengths of a query, segments."),
    (flags.DEFINE_string, "index", "auto", "auto l2 ivf ivfpq ivfpq-rr hnsw, or a faiss factory."),
    (flags.DEFINE_integer, "k", 0, "Neighbours per row; 0: the index's default."),
    (flags.DEFINE_integer, "n_probe", 0, "Inverted lists looked at; 0: the index's default."),
    (flags.DEFINE_integer, "train_rows", 0, "Rows to train on; 0: the index's default."),
    (flags.DEFINE_string, "index_folder", None, "Keeps built indexes; STORE. Empty: nowhere."),
    (flags.DEFINE_bool, "compat", False, "The original's numbers: no borders, dummy-trained."),
    (flags.DEFINE_string, "matcher", "diagonal", "diagonal, vote (majority) or window."),
    (flags.DEFINE_integer, "shifts", 1, "Query rows per database hop (frame_shift_mul)."),
    (flags.DEFINE_bool, "between", True, "Diagonals half a row on, too; not --compat, not votes."),
    (flags.DEFINE_float, "sharpness", 0.0, "Cosine c counts exp(-sharpness (1-c)^2); 0: c."),
    (flags.DEFINE_float, "twin_cosine", 0.6, "Places this alike are one recording; 1: never."),
    (flags.DEFINE_integer, "rows_per_track", 0, "Cuts bare stores into tracks (original: 59)."),
    (flags.DEFINE_float, "false_accepts", 0.01, "Share of unknown queries that may be accepted."),
    (flags.DEFINE_string, "confidence", None, "Calibration to judge; else fitted here."),
    (flags.DEFINE_list, "repeats", [], "The database's audio: its exact repeats are right, too."),
    (flags.DEFINE_bool, "recall", False, "Compare the index with an exact search."),
    (flags.DEFINE_bool, "gpu", True, "Search on GPUs when faiss sees one."),
    (flags.DEFINE_integer, "seed", 0, "Of ids drawn at random, and of the bootstrap."),
    (flags.DEFINE_string, "report", None, "Folder for a page and pictures (needs matplotlib)."),
    (flags.DEFINE_string, "out", None, "RESULTS folder."),
)
_NAMES = [name for _, name, *_ in _SETTINGS]
for _define, _name, _default, _text in _SETTINGS:
    _define(_name, _default, _text)
flags.mark_flag_as_required("out")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise exits.wrong(f"unexpected arguments {argv[1:]}; every setting is a --flag=value")
    if protocols.is_given():
        protocols.run({name: f.value for name in _NAMES if (f := flags.FLAGS[name]).present})
    else:
        evaluate = rooms.load("evaluation.scores.evaluate")
        evaluate.run(evaluate.Request(**{name: flags.FLAGS[name].value for name in _NAMES}))


if __name__ == "__main__":
    exits.run(main, protocols)
