"""How a verb starts and ends: its --help and its exit code.

Exit codes: 0 done or found, 1 nothing found, 2 error. absl alone exits with 1 for a mistyped flag.
"""

import pathlib
import sys
import types
from collections.abc import Callable

from absl import app, flags


def run(main: Callable[[list[str]], int | None], *parts: types.ModuleType) -> None:
    """Runs a launcher's `main` and exits with the code that it returns; None counts as 0.

    parts: modules of this room whose flags belong to the verb, too, and are listed by its --help.
    """
    verb = f"nafp {pathlib.Path(sys.argv[0]).stem}"
    for module in (sys.argv[0], *parts):
        for flag in flags.FLAGS.get_key_flags_for_module(module):
            flags.FLAGS.register_key_flag_for_module(verb, flag)
    sys.argv[0] = verb  # The heading of --help, which would be the launcher's path.
    app.run(lambda argv: sys.exit(main(argv)), flags_parser=_parsed)


def wrong(text: str) -> app.UsageError:
    """Returns the error to raise for a wrong command line."""
    return app.UsageError(text, exitcode=2)


def _parsed(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        print(f"{argv[0]}: {error}; {argv[0]} --help lists all flags", file=sys.stderr)
        sys.exit(2)
