"""Starts and ends a benchmark as a verb of `nafp` is: an error is one line and exit code 2, a defect has its trace."""

import pathlib
import shlex
import subprocess
import sys
import types
from collections.abc import Callable

from launch import exits
from nafp import cli, errors


def run(main: Callable[[], None], *parts: types.ModuleType) -> None:
    """Runs the `main` of a benchmark, which takes flags alone.

    parts: other benchmarks whose flags it takes, too.
    """
    command = f"python -m benchmarks.{pathlib.Path(sys.argv[0]).stem}"

    def checked(argv: list[str]) -> None:
        if argv[1:]:
            raise exits.wrong(f"{' '.join(argv[1:])}: unexpected; every setting is a --flag=value")
        try:
            main()
        except errors.Error:
            raise
        except FileNotFoundError as error:  # The files of a benchmark are those that its flags name.
            raise errors.NotFound(f"{error.filename}: no such file or folder") from error
        except subprocess.CalledProcessError as error:  # It has said why.
            raise errors.Invalid(f"exit code {error.returncode} from {shlex.join(error.cmd)}") from error

    with cli.ended(command):
        exits.run(checked, *parts, command=command)
