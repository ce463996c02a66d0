"""What remarks of the package look like on the terminal."""

from typing import Any

from absl import logging

from nafp.jobs import shown


class Formatter(logging.PythonFormatter):
    """Shows what this package says without the date, the thread and the line of source before it."""

    def format(self, record: Any) -> str:
        is_ours = record.name.partition(".")[0] == "nafp"
        return shown.plain(record.getMessage()) if is_ours else super().format(record)
