"""Lets --config name a configuration file of another system, beside the Python files that ml_collections reads."""

import sys

from nafp.config import foreign

_FLAG = "--config"
_VERBS = ("nafp train", "nafp queries")  # Whose --config is a configuration of a training.


def rewritten(argv: list[str]) -> list[str]:
    """Returns the command line with --config=FILE of another system as a Python file that reads it.

    Says on standard error what each key of the file means here. Raises errors.Invalid or errors.NotFound if the file
    cannot be read.
    """
    line = list(argv)
    for i, word in enumerate(argv if argv[0] in _VERBS else []):
        name, given, path = word.partition("=")
        if name.replace("--", "-") != "-config":
            continue
        at = i if given else i + 1
        path = path if given else (argv[at] if at < len(argv) else "")
        if path.lower().endswith(foreign.SUFFIXES):
            _tell(path)
            line[at] = f"{_FLAG + '=' if given else ''}{foreign.__file__}:{path}"
    return line


def named(argv: list[str]) -> str:
    """Returns the configuration file that a command line names, "" if it names none."""
    for i, word in enumerate(argv):
        name, given, path = word.partition("=")
        if name.lstrip("-") == "config":
            return path if given else "".join(argv[i + 1 : i + 2])
    return ""


def refused(argv: list[str], error: Exception) -> str:
    """Says why the configuration file that a command line names cannot be read."""
    reason = "no such configuration file" if isinstance(error, OSError) else f"no configuration in Python: {error}"
    return f"--config={named(argv)}: {reason}"


def shown(filename: str) -> str:
    """Returns a configuration's file as it was given on the command line. filename: what ml_collections reads."""
    return filename.removeprefix(f"{foreign.__file__}:")


def _tell(path: str) -> None:
    reading = foreign.read(path)
    print(f"{path} is a configuration of {reading.system}:", *reading.notes, sep="\n  ", file=sys.stderr)
