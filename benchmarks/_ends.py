"""Starts and ends a benchmark as a verb of `nafp` is: an error is one line and exit code 2, a defect has its trace."""

import pathlib
import sys
import types
from collections.abc import Callable

from launch import exits
from nafp import cli


def run(main: Callable[[], None], *parts: types.ModuleType) -> None:
    """Runs the `main` of a benchmark, which takes flags alone.

    parts: other benchmarks whose flags it takes, too.
    """
    command = f"python -m benchmarks.{pathlib.Path(sys.argv[0]).stem}"

    def checked(argv: list[str]) -> None:
        if argv[1:]:
            raise exits.wrong(f"{' '.join(argv[1:])}: unexpected; every setting is a --flag=value")
        main()

    with cli.ended(command):
        exits.run(checked, *parts, command=command)
