"""Writes the remarks of the package, and those of absl about flags, as a terminal shows them."""

import sys
from typing import Any

from absl import flags, logging

from nafp.jobs import shown


class Formatter(logging.PythonFormatter):
    """Shows what this package says without the date, the thread and the line of source before it.

    A defect is shown with the lines of source that led to it.
    """

    def format(self, record: Any) -> str:
        if record.name.partition(".")[0] != "nafp":
            return super().format(record)
        reason = self.formatException(record.exc_info) if record.exc_info else ""
        return "\n".join(map(shown.plain, (record.getMessage(), *reason.splitlines())))


class StandardError:
    """Writes to the standard error of the moment. A stream opened before `decode.hushed` would be silent inside it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def close(self) -> None:
        """Does nothing: absl closes its streams at the end, and others use this one."""


def of_flags(error: Exception) -> str:
    """Returns what absl and ml_collections say of a flag, on one line and without Python's names."""
    missing = [name for name in flags.FLAGS if f"Flag --{name} must have a value" in str(error)]
    if missing:
        return f"--{' and --'.join(missing)} must be given"
    if isinstance(error, (AttributeError, KeyError)) and error.args:
        lines = str(error.args[0]).strip("'\"").replace("\\n", "\n").replace("\\'", "").splitlines()
        return f"--config has no setting {lines[0]!r}. {' '.join(lines[1:])}".strip(". ")
    return " ".join(str(error).split()).rstrip(".")
