"""The OpenAPI description of the server, which /v1/openapi.json returns."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

import nafp

FILE = "openapi.json"


@functools.cache
def openapi() -> dict[str, Any]:
    """Returns the description: OpenAPI 3.1, with the version of this package."""
    description = json.loads(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
    description["info"]["version"] = nafp.__version__
    return description
