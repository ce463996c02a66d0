"""Scores queries against stores of fingerprints: hit rates with intervals. A protocol makes the stores, too.

nafp evaluate --store=STORE [--query=query --db=db --dummy=dummy_db] --index=ivfpq --out=RESULTS
nafp evaluate --protocol=robustness --references=CORPUS --checkpoint=RUN@best --out=RESULTS
nafp evaluate --answers=result_detail.csv --truth=expected.csv --out=RESULTS
"""

from absl import flags

from . import exits, protocols, result_files, rooms, words

_SETTINGS: dict[str, tuple] = {  # The defaults are those of `evaluation.scores.evaluate.Request`: a test compares.
    "store": (flags.DEFINE_list, "STORE folders to score, with commas between them."),
    "query": (flags.DEFINE_string, "Name of the store of queries. Default: query."),
    "db": (flags.DEFINE_string, "Name of the store of the recordings asked for. Default: db."),
    "dummy": (flags.DEFINE_string, "Name of a store of more recordings. Default: dummy_db, if there is one."),
    "unknown": (flags.DEFINE_string, "Name of a store of queries not in the database, or left-out. Default: none."),
    "truth": (flags.DEFINE_string, "CSV file query,answer,time[,...]. Default: row i of db answers row i."),
    "group": (flags.DEFINE_list, "Columns of --truth to tabulate by. Default: condition, if there is one."),
    "ids": (flags.DEFINE_string, "Rows to ask for: all, a number to draw, icassp, or a .npy file. Default: all."),
    "lengths": (flags.DEFINE_list, "Lengths of a query, in segments. Default: 1,3,5,9,11,19."),
    "index": (flags.DEFINE_string, "auto, l2, ivf, ivfpq, ivfpq-rr, hnsw, or a faiss factory. Default: auto."),
    "k": (flags.DEFINE_integer, "Neighbours to fetch for each query row. Default: the index's own.", 1),
    "n_probe": (flags.DEFINE_integer, "Inverted lists to search for each query row. Default: the index's own.", 1),
    "train_rows": (flags.DEFINE_integer, "Rows to train the index on. Default: the index's own number.", 1),
    "index_folder": (flags.DEFINE_string, "Folder that keeps built indexes; empty for none. Default: STORE."),
    "compat": (flags.DEFINE_bool, "Count as the original, and write its raw_score.npy, too. Default: no."),
    "matcher": (flags.DEFINE_string, "diagonal, vote (majority) or window. Default: diagonal."),
    "shifts": (flags.DEFINE_integer, "Query rows for each row of the database (frame_shift_mul). Default: 1.", 1),
    "between": (flags.DEFINE_bool, "Match half a row on, too, with the diagonal matcher. Default: yes."),
    "sharpness": (flags.DEFINE_float, "Cosine c counts as exp(-sharpness (1-c)^2); 0: as c. Default: 0.", 0.0),
    "twin_cosine": (flags.DEFINE_float, "Cosine from which places are one recording; 1: never. Default: 0.6.", 0, 1),
    "rows_per_track": (flags.DEFINE_integer, "Rows per track of bare stores (original: 59). Default: no tracks.", 0),
    "false_accepts": (flags.DEFINE_float, "Share of unknown queries that may be accepted. Default: 0.01.", 0.0, 1.0),
    "confidence": (flags.DEFINE_string, "File confidence.json to judge with. Default: one is fitted to these queries."),
    "repeats": (flags.DEFINE_list, "Audio of the database: exact repeats of the answer are right. Default: none."),
    "recall": (flags.DEFINE_bool, "Compare the index with an exact search. Default: no."),
    "gpu": (flags.DEFINE_bool, "Search on GPUs if faiss sees one. Default: yes."),
    "seed": (flags.DEFINE_integer, "Seed of drawn rows and of the bootstrap. Default: 0.", 0),
    "report": (flags.DEFINE_string, "Folder for a page with pictures; PNG files need matplotlib. Default: no page."),
    "out": (flags.DEFINE_string, "RESULTS folder to write. Required."),
}
for _name, (_define, *_rest) in _SETTINGS.items():
    _define(_name, None, *_rest)
flags.mark_flag_as_required("out")


def main(argv: list[str]) -> None:
    words.require_none(argv, "every setting is a --flag=value")
    given = result_files.given(_SETTINGS, protocols)
    for part in (protocols, result_files):
        if part.is_given():
            part.run(given)
            return
    evaluate = rooms.load("evaluation.scores.evaluate")
    evaluate.run(evaluate.Request(**{"store": (), **given}))


if __name__ == "__main__":
    exits.run(main, protocols, result_files)
