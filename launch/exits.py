"""How a verb starts and ends: its --help, and its exit code: 0 done or found, 1 nothing found, 2 error."""

import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

from absl import app, flags

from nafp import errors


def run(main: Callable[[list[str]], int | None], *parts: types.ModuleType) -> None:
    """Runs a launcher's `main` and exits with the code that it returns. None counts as 0.

    parts: modules of this room whose flags belong to the verb, too, and are listed by its --help.
    """
    verb = f"nafp {pathlib.Path(sys.argv[0]).stem}"
    for module in (sys.argv[0], *parts):
        for flag in flags.FLAGS.get_key_flags_for_module(module):
            flags.FLAGS.register_key_flag_for_module(verb, flag)
    sys.argv[0] = verb  # The heading of --help, which would be the launcher's path.
    app.run(lambda argv: sys.exit(main(argv)), flags_parser=_parsed)


def wrong(text: str) -> errors.Invalid:
    """Returns the error to raise for a command line that cannot be right."""
    return errors.Invalid(f"{text}; {sys.argv[0]} --help lists the flags")


def _parsed(argv: list[str]) -> list[str]:
    """Parses the flags. A wrong one ends the command with one line."""
    if "config" in flags.FLAGS:
        from . import foreign

        argv[:] = foreign.rewritten(argv)
        sys.argv[:] = argv  # Where ml_collections looks for --config.section.name.
    try:
        words = flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError) as error:  # From --config.section.name.
        raise wrong(_in_words(error)) from error
    if "config" in flags.FLAGS and flags.FLAGS["config"].present:
        _require_configuration(flags.FLAGS["config"])
    return words


def _require_configuration(flag: Any) -> None:
    """Raises errors.Invalid for a missing configuration file, which ml_collections notices at its first use only."""
    try:
        flag.value.is_locked  # noqa: B018 - the access raises
    except OSError as error:
        raise wrong(f"--config={flag.config_filename}: no such configuration file") from error


def _in_words(error: Exception) -> str:
    """Returns what absl and ml_collections say of a flag, on one line and without Python's names."""
    missing = [name for name in flags.FLAGS if f"Flag --{name} must have a value" in str(error)]
    if missing:
        return f"--{' and --'.join(missing)} must be given"
    if isinstance(error, (AttributeError, KeyError)) and error.args:
        lines = str(error.args[0]).strip("'\"").replace("\\n", "\n").replace("\\'", "").splitlines()
        return f"--config has no setting {lines[0]!r}. {' '.join(lines[1:])}".strip(". ")
    return " ".join(str(error).split()).rstrip(".")
