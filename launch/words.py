"""The words of a command line that belong to no flag."""

from . import exits


def require_none(argv: list[str], hint: str) -> None:
    """Raises errors.Invalid if there are any. hint: where a setting of this verb goes."""
    if len(argv) > 1:
        raise exits.wrong(f"unexpected arguments {argv[1:]}; {hint}")
