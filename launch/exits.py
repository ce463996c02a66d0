"""Exit codes of the verbs: 0 done or found, 1 nothing found, 2 error. absl alone exits with 1 for a mistyped flag."""

import pathlib
import sys
from collections.abc import Callable

from absl import app, flags


def run(main: Callable[[list[str]], int | None]) -> None:
    """Runs a main that returns its exit code; None counts as 0."""
    app.run(lambda argv: sys.exit(main(argv)), flags_parser=_parsed)


def wrong(text: str) -> app.UsageError:
    """Returns what to raise for a command line that cannot be right."""
    return app.UsageError(text, exitcode=2)


def _parsed(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        verb = f"nafp {pathlib.Path(argv[0]).stem}"
        print(f"{verb}: {error}; {verb} --help lists what there is", file=sys.stderr)
        sys.exit(2)
