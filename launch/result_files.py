"""Scores a file of answers for `nafp evaluate --answers`."""

from typing import Any

from absl import flags

from . import exits, rooms

_ANSWERS = flags.DEFINE_string(
    "answers",
    None,
    "File of the answers of any system, to score against --truth: RESULT_detail.csv, RESULT.tsv, or what nafp identify "
    "--format=csv prints. Nothing is searched. Default: answers are found in --store.",
)
_OTHERS = ("truth", "group", "seed", "out")  # The flags of `nafp evaluate` that count here.


def is_given() -> bool:
    """Returns whether the command line names a file of answers."""
    return _ANSWERS.value is not None


def run(settings: dict[str, Any]) -> None:
    """Scores the file. settings: the flags of `nafp evaluate` that the command line gives, by name."""
    strange = [name for name in settings if name not in _OTHERS]
    if strange:
        raise exits.wrong(f"--answers searches nothing: no --{strange[0]}")
    scores = rooms.load("evaluation.scores.result_files")
    scores.run(_ANSWERS.value, **{"truth": None, **settings})
