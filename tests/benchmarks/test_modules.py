"""Every benchmark can be imported."""

import importlib
import pathlib

from tests import commands

RIVALS = {"torch", "audfprint2", "chromaprint", "acoustid"}  # Which only a person installs.


def imported() -> None:
    """Imports them all into this process. Each defines flags of its own, so those of the one before are forgotten."""
    from absl import flags

    before = set(flags.FLAGS)
    for path in sorted(pathlib.Path("benchmarks").glob("*.py")):
        try:
            words = importlib.import_module(f"benchmarks.{path.stem}").__doc__
        except ModuleNotFoundError as error:
            if error.name not in RIVALS:
                raise
        else:
            assert words or path.stem == "__init__", path
        print(path.stem)
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)


def test_every_benchmark_can_be_imported():
    done = commands.started(imported).wait()
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 20
