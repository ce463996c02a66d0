"""Scores queries that may play faster or slower than their recordings: `python -m evaluation.speeds`. Needs no JAX."""

from absl import app, flags

from .scores import evaluate, speeds

_SETTINGS = (
    (flags.DEFINE_list, "store", None, "Folders of stores, comma between."),
    (flags.DEFINE_list, "query", None, "Query stores of the same clips, their own speed first."),
    (flags.DEFINE_string, "db", "db", "Name of the database's store."),
    (flags.DEFINE_string, "truth", None, "CSV query,answer,time[,...]."),
    (flags.DEFINE_string, "unknown", None, "left-out: each clip again without its own recording."),
    (flags.DEFINE_list, "lengths", ["1", "3", "5", "9", "19"], "Segments, comma between."),
    (flags.DEFINE_integer, "shifts", 1, "Query rows per database hop."),
    (flags.DEFINE_bool, "between", True, "Diagonals half a row on, too."),
    (flags.DEFINE_string, "index", "auto", "As of nafp evaluate."),
    (flags.DEFINE_string, "confidence", None, "Spares clips found for sure at their own speed."),
    (flags.DEFINE_list, "repeats", [], "As of nafp evaluate."),
    (flags.DEFINE_string, "out", None, "RESULTS folder."),
)


def main(argv: list[str]) -> None:
    given = {name: flags.FLAGS[name].value for _, name, *_ in _SETTINGS}
    queries = given.pop("query")
    speeds.run(evaluate.Request(**given), queries=queries)


if __name__ == "__main__":
    for _define, _name, _default, _text in _SETTINGS:
        _define(_name, _default, _text)
    flags.mark_flags_as_required(["store", "query", "truth", "out"])
    app.run(main)
