"""What a command line says: the flags that it gives, and the words that belong to none."""

from collections.abc import Iterable
from typing import Any

from absl import flags

from . import exits


def given(names: Iterable[str]) -> dict[str, Any]:
    """Returns the values of those of these flags that the command line gives, by name."""
    return {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].present}


def require_none(argv: list[str], hint: str) -> None:
    """Raises errors.Invalid if there are any. hint: where a setting of this verb goes."""
    if len(argv) > 1:
        raise exits.wrong(f"unexpected arguments {argv[1:]}; {hint}")
