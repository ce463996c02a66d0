"""Starts and ends a verb: its --help, and its exit code, 0 done or found, 1 nothing found, 2 error, 75 go on."""

import logging as standard_logging
import math
import pathlib
import sys
import types
from collections.abc import Callable

from absl import app, flags, logging

from nafp import errors

from . import log_lines


def run(main: Callable[[list[str]], int | None], *parts: types.ModuleType, command: str = "") -> None:
    """Runs a launcher's `main` and exits with the code that it returns. None counts as 0.

    parts: modules whose flags belong to the verb, too, and are listed by its --help.
    command: the heading of --help. If left out: `nafp` and the file's name.
    """
    verb = command or f"nafp {pathlib.Path(sys.argv[0]).stem}"
    for module in (sys.argv[0], *parts):
        for flag in flags.FLAGS.get_key_flags_for_module(module):
            flags.FLAGS.register_key_flag_for_module(verb, flag)
    logging.get_absl_handler().setFormatter(log_lines.Formatter())
    logging.get_absl_handler().python_handler.setStream(log_lines.StandardError())
    standard_logging.getLogger("jax").setLevel("WARNING")  # At INFO it tells of each kind of device that is not there.
    sys.argv[0] = verb  # The heading of --help, which would be the launcher's path.
    app.run(lambda argv: sys.exit(main(argv)), flags_parser=_parsed)


def wrong(text: str) -> errors.Invalid:
    """Returns the error to raise for a command line that cannot be right."""
    return errors.Invalid(f"{text}; {sys.argv[0]} --help lists the flags")


def _parsed(argv: list[str]) -> list[str]:
    """Parses the flags. A wrong one ends the command with one line."""
    if "config" in flags.FLAGS:
        from . import foreign  # Here: no other verb needs to load it, and the library behind it.

        argv[:] = foreign.rewritten(argv)
        sys.argv[:] = argv  # Where ml_collections looks for --config.section.name.
    try:
        rest = flags.FLAGS(argv)
        if "config" in flags.FLAGS and flags.FLAGS["config"].present:
            _ = flags.FLAGS.config.is_locked  # ml_collections notices a missing file at its first use.
    except (OSError, SyntaxError, NameError, ImportError) as error:
        from . import foreign

        raise wrong(foreign.refused(argv, error)) from error
    except (flags.Error, AttributeError, KeyError, TypeError) as error:  # From --config.section.name.
        raise wrong(log_lines.of_flags(error)) from error
    for name in flags.FLAGS:
        if isinstance(value := flags.FLAGS[name].value, float) and math.isnan(value):  # It is within any range.
            raise wrong(f"--{name}=nan: a number is needed")
    return rest
