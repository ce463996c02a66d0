"""How a verb starts and ends: its --help, and its exit code: 0 done or found, 1 nothing found, 2 error."""

import pathlib
import sys
import types
from collections.abc import Callable

from absl import app, flags, logging

from nafp import errors

from . import log_lines


def run(main: Callable[[list[str]], int | None], *parts: types.ModuleType) -> None:
    """Runs a launcher's `main` and exits with the code that it returns. None counts as 0.

    parts: modules of this room whose flags belong to the verb, too, and are listed by its --help.
    """
    verb = f"nafp {pathlib.Path(sys.argv[0]).stem}"
    for module in (sys.argv[0], *parts):
        for flag in flags.FLAGS.get_key_flags_for_module(module):
            flags.FLAGS.register_key_flag_for_module(verb, flag)
    logging.get_absl_handler().setFormatter(log_lines.Formatter())
    sys.argv[0] = verb  # The heading of --help, which would be the launcher's path.
    app.run(lambda argv: sys.exit(main(argv)), flags_parser=_parsed)


def wrong(text: str) -> errors.Invalid:
    """Returns the error to raise for a command line that cannot be right."""
    return errors.Invalid(f"{text}; {sys.argv[0]} --help lists the flags")


def _parsed(argv: list[str]) -> list[str]:
    """Parses the flags. A wrong one ends the command with one line."""
    from . import foreign

    if "config" in flags.FLAGS:
        argv[:] = foreign.rewritten(argv)
        sys.argv[:] = argv  # Where ml_collections looks for --config.section.name.
    try:
        rest = flags.FLAGS(argv)
        if configuration := "config" in flags.FLAGS and flags.FLAGS["config"].value:
            configuration.is_locked  # noqa: B018 - ml_collections notices a missing file at its first use.
    except (OSError, SyntaxError, NameError, ImportError) as error:
        raise wrong(foreign.refused(argv, error)) from error
    except (flags.Error, AttributeError, KeyError, TypeError) as error:  # From --config.section.name.
        raise wrong(_in_words(error)) from error
    return rest


def _in_words(error: Exception) -> str:
    """Returns what absl and ml_collections say of a flag, on one line and without Python's names."""
    missing = [name for name in flags.FLAGS if f"Flag --{name} must have a value" in str(error)]
    if missing:
        return f"--{' and --'.join(missing)} must be given"
    if isinstance(error, (AttributeError, KeyError)) and error.args:
        lines = str(error.args[0]).strip("'\"").replace("\\n", "\n").replace("\\'", "").splitlines()
        return f"--config has no setting {lines[0]!r}. {' '.join(lines[1:])}".strip(". ")
    return " ".join(str(error).split()).rstrip(".")
