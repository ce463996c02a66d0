"""Finds the rooms beside the launchers: in a checkout, and installed, where they are in `nafp`."""

import importlib
import pathlib
import types

# "" in a checkout, "nafp." where setup.cfg has mapped the rooms into the package.
_PREFIX = __name__.removesuffix("launch.rooms")


def load(module: str) -> types.ModuleType:
    """Imports a module of another room: `rooms.load("evaluation.scores.metrics")`."""
    return importlib.import_module(_PREFIX + module)


def folder(room: str) -> pathlib.Path:
    """Returns the folder of a room, e.g. of the shipped `configs`."""
    return pathlib.Path(str(load(room).__file__)).parent
