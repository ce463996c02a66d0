"""Scores queries as `nafp identify` answers them, also at other speeds than their recordings'. Needs no JAX.

python -m evaluation.speeds --store=STORE --query=query,query@0.94,query@0.97,query@1.03,query@1.06 --shifts=0 \\
    --truth=QUERIES/expected.csv --confidence=CONFIDENCE.json --out=RESULTS

Exit code: 0 the results were written, 2 the command is wrong.
"""

import sys
from typing import Any, NoReturn

from absl import app, flags

from nafp import errors
from nafp.identify import asking

from .scores import evaluate, speeds

_SETTINGS: tuple[tuple[Any, ...], ...] = (
    (flags.DEFINE_list, "store", None, "Folders of stores, separated by commas."),
    (
        flags.DEFINE_list,
        "query",
        None,
        "Names of the query stores, separated by commas: the clips as they are first, then the same clips with other "
        "speeds undone, as nafp extract --speeds writes them.",
    ),
    (flags.DEFINE_string, "db", "db", "Name of the store of the database."),
    (flags.DEFINE_string, "truth", None, "CSV file with the right answers: query,answer,time and columns to group by."),
    (
        flags.DEFINE_enum,
        "unknown",
        None,
        ["left-out"],
        "left-out asks each clip once more as if its own recording were not in the database.",
    ),
    (flags.DEFINE_list, "lengths", ["1", "3", "5", "9", "19"], "Lengths to ask at, in segments, separated by commas."),
    (
        flags.DEFINE_integer,
        "shifts",
        1,
        "Query rows for each row of the database, as of nafp identify: in every look; 0 asks each clip with as many as "
        "nafp identify does by default, and takes queries of nafp extract --shifts=2.",
        0,
    ),
    (flags.DEFINE_bool, "between", True, "Also compare queries with what lies half-way between two rows."),
    (flags.DEFINE_string, "index", "auto", "Index to search with, as of nafp evaluate."),
    (
        flags.DEFINE_string,
        "confidence",
        None,
        "Calibration, RESULTS/confidence.json of an evaluation. A clip that is found with a probability of "
        f"{asking.SURE:g} at its own speed is not looked at again; without a calibration, one whose score is "
        f"{asking.SURE_MARGIN:g} above that of any other recording.",
    ),
    (flags.DEFINE_list, "repeats", [], "Corpora with the sound of the tracks, as of nafp evaluate."),
    (
        flags.DEFINE_bool,
        "at_once",
        False,
        "Look at every clip at all speeds, as nafp identify --speeds=0.97,1.03 does. Otherwise a clip that is sure at "
        "its own speed stays there, as with --speeds=auto.",
    ),
    (flags.DEFINE_string, "out", None, "Folder to write the results to."),
)


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise errors.Invalid(f"unexpected arguments {' '.join(argv[1:])}; every setting is a flag")
    settings: dict[str, Any] = {name: flags.FLAGS[name].value for _, name, *_ in _SETTINGS}
    queries, at_once = settings.pop("query"), settings.pop("at_once")
    speeds.run(evaluate.Request(**settings), queries=queries, at_once=at_once)


def _run(argv: list[str]) -> None:
    try:
        main(argv)
    except errors.Error as error:
        _fail(str(error))


def _parsed(argv: list[str]) -> list[str]:
    """Parses the flags. absl ends with 1 after --help and for a mistyped flag. This ends with 0 and 2."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(f"{error}; --help lists the flags")
    except SystemExit:
        sys.exit(0)


def _fail(text: str) -> NoReturn:
    print(f"python -m evaluation.speeds: {text}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    for _define, _name, *_rest in _SETTINGS:
        _define(_name, *_rest)
    flags.mark_flags_as_required(["store", "query", "truth", "out"])
    app.run(_run, flags_parser=_parsed)
