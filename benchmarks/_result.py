"""Writes the numbers of a benchmark."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any


def write(numbers: Mapping[str, Any], path: str | os.PathLike | None) -> None:
    """Writes the numbers as JSON, and creates the folder of the file. Writes nothing if path is None or empty."""
    if not path:
        return
    file = pathlib.Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(numbers, indent=1) + "\n")
