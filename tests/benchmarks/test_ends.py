"""A benchmark that cannot work ends as a verb does: one line and exit code 2."""

import pathlib
import re

import pytest

from tests import commands

FILES = [path for path in sorted(pathlib.Path("benchmarks").glob("*.py")) if "__main__" in path.read_text()]
NAMES = [path.stem for path in FILES if not path.stem.startswith("_")]
# What is not there, for the benchmarks that are told where something is. The others make what they need.
NOT_THERE = {
    "any_speed": ["--store=no", "--queries=no", "--work=work"],
    "classical": ["--queries=no", "--references=no", "--work=work"],
    "distractors": ["--store=no", "--truth=no", "--out=out"],
    "evaluation": ["--real=no", "--truth=no", "--rows=100", "--folder=made", "--out=out"],
    "extraction": ["--source=no"],
    "fuzz_audio": ["--tally=no/tally", "--count=0"],
    "matchers": ["--store=no", "--truth=no", "--out=out"],
    "monitor": ["--corpus=no", "--store=no", "--folder=made", "--out=out"],
    "peaks": ["--database=no", "--queries=no", "--work=work"],
    "picture": ["--out=no/picture.svg"],
    "pipeline": ["--corpus=no"],
    "recipes": ["--corpus=no", "--folder=made"],
    "sequences": ["--store=no", "--clips=no", "--checkpoint=no"],
    "serving": ["--database=no"],
    "soak": ["--database=no"],
    "threads": ["--store=no", "--out=out"],
}


def ended(name: str, *words: str, cwd: pathlib.Path) -> str:
    """Returns the only line that a benchmark says of an error."""
    done = commands.start(*words, module=f"benchmarks.{name}", cwd=cwd).wait()
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"python -m benchmarks.{name}: "), done.stderr
    return line


def test_every_benchmark_ends_as_a_verb_does():
    for path in FILES:
        if not path.stem.startswith("_"):
            assert re.search(r"^    _ends\.run\(main(, \w+)*\)$", path.read_text(), re.MULTILINE), path


def test_an_error_is_one_line(tmp_path):
    assert "no: no such folder" in ended("peaks", *NOT_THERE["peaks"], cwd=tmp_path)
    assert ended("picture", *NOT_THERE["picture"], cwd=tmp_path).endswith("no/picture.svg: no such file or folder")
    assert "numbers.json: unexpected" in ended("picture", "numbers.json", "--out=picture.svg", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_there_is_one_line(name, tmp_path):
    """Fast: `test_an_error_is_one_line`, and `test_every_benchmark_ends_as_a_verb_does`."""
    ended(name, *NOT_THERE.get(name, ["--no_such_flag"]), cwd=tmp_path)
