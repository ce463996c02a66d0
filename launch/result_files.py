"""Scores a file of answers for `nafp evaluate --answers`."""

import types
from collections.abc import Iterable
from typing import Any

from absl import flags

from . import exits, rooms, words

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


def given(settings: Iterable[str], protocols: types.ModuleType) -> dict[str, Any]:
    """Returns the flags that the command line gives, of those named in `settings`.

    Raises errors.Invalid for a file of answers beside a protocol, and for flags of a protocol without one.
    """
    is_protocol = protocols.is_given()
    words.only_with(["answers"], not is_protocol, "scores a file that is there; --protocol finds answers")
    of_protocols = [flag.name for flag in flags.FLAGS.get_key_flags_for_module(protocols)]
    words.only_with(of_protocols, is_protocol, "belongs to --protocol")
    return words.given(settings)


def run(settings: dict[str, Any]) -> None:
    """Scores the file. settings: the flags of `nafp evaluate` that the command line gives, by name."""
    strange = [name for name in settings if name not in _OTHERS]
    if strange:
        raise exits.wrong(f"--answers searches nothing: no --{strange[0]}")
    scores = rooms.load("evaluation.scores.result_files")
    scores.run(_ANSWERS.value, **{"truth": None, **settings})
