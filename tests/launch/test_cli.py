"""The command: quick to help, forgiving of typing errors, plain about what is missing."""

import pathlib
import subprocess
import sys
import time

import pytest

from nafp import cli

ROOT = pathlib.Path(__file__).parents[2]
LAUNCHER = '''"""Does the thing."""
from absl import flags

from . import exits

_COUNT = flags.DEFINE_integer("count", 1, "How many.")


def main(argv):
    {body}


if __name__ == "__main__":
    exits.run(main)
'''


def run(*arguments: str, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "nafp", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path):
    """Makes a checkout of nothing but the command. Returns a function that writes launchers into it."""
    for name in (
        "nafp/__init__.py",
        "nafp/__main__.py",
        "nafp/cli.py",
        "nafp/errors.py",
        "nafp/jobs/__init__.py",
        "nafp/jobs/endings.py",
        "nafp/jobs/shown.py",
        "launch/__init__.py",
        "launch/exits.py",
        "launch/log_lines.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())

    def write(verb: str, body: str) -> pathlib.Path:
        (tmp_path / "launch" / f"{verb}.py").write_text(LAUNCHER.format(body=body))
        return tmp_path

    return write


def test_help_lists_the_verbs_that_exist_and_no_others(checkout):
    folder = checkout("train", "pass")
    listed = run("--help", cwd=folder).stdout
    assert cli.VERBS["train"] in listed
    assert cli.VERBS["extract"] not in listed


def test_help_costs_less_than_a_third_of_a_second():
    def seconds():
        start = time.perf_counter()
        run("--help")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.3


@pytest.mark.parametrize("verb", cli.available())
def test_the_help_of_a_verb_loads_nothing_heavy(verb):
    code = (
        "import sys; from nafp import cli; sys.argv = ['nafp', sys.argv[1], '--help']\n"
        "cli.main(); print('LOADED', *{'jax', 'faiss', 'librosa'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, verb]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"nafp {verb}" in found.stdout  # An example.
    assert found.stdout.splitlines()[-1] == "LOADED"


def test_every_launcher_with_a_main_is_a_verb():
    launchers = {path.stem for path in (ROOT / "launch").glob("*.py") if "def main(" in path.read_text()}
    assert launchers == set(cli.available())


def test_the_rest_of_the_command_line_reaches_the_launcher(checkout):
    folder = checkout("train", "print(argv[1:], _COUNT.value)")
    assert run("train", "now", "--count=3", cwd=folder).stdout == "['now'] 3\n"


def test_the_help_of_a_verb_lists_its_flags(checkout):
    folder = checkout("train", "pass")
    for word in ("--help", "-h"):
        listed = run("train", word, cwd=folder)
        assert listed.returncode == 0
        assert "Does the thing." in listed.stdout
        assert "--count" in listed.stdout


def test_a_mistyped_verb_and_a_mistyped_flag_say_what_was_meant(checkout):
    folder = checkout("train", "pass")
    verb, flag = run("trian", cwd=folder), run("train", "--coutn=3", cwd=folder)
    assert (verb.returncode, flag.returncode) == (2, 2)
    assert "did you mean train?" in verb.stderr
    assert "Did you mean: count" in flag.stderr


def test_a_reader_who_has_seen_enough_is_no_failure(checkout):
    folder = checkout("train", "print('line\\n' * 99999, flush=True)")
    piped = f"set -o pipefail; {sys.executable} -m nafp train | head -1"
    done = subprocess.run(["bash", "-c", piped], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_who_has_seen_enough_of_the_help_is_no_failure():
    piped = f"set -o pipefail; {sys.executable} -m nafp --help | true"
    done = subprocess.run(["bash", "-c", piped], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_library_comes_with_the_line_that_installs_it(checkout):
    for name, line in (("faiss", "faiss is not installed: pip install 'nafp[cpu]'"), ("jax.numpy", "jax is not")):
        folder = checkout("train", f"raise ModuleNotFoundError(name='{name}')")
        answer = run("train", cwd=folder)
        assert answer.returncode == 2
        assert answer.stderr.startswith(f"nafp train: {line}")


def test_our_own_errors_speak_plainly_and_defects_show_their_trace(checkout):
    folder = checkout("train", "from nafp import errors; raise errors.Invalid('no audio in /music')")
    assert run("train", cwd=folder).stderr == "nafp train: no audio in /music\n"
    for defect in ("int('x')", "raise ValueError('x')", "open('/no/such/file')"):
        folder = checkout("train", defect)
        assert "Traceback" in run("train", cwd=folder).stderr


def test_a_stranger_called_launch_is_not_taken_for_ours(checkout, tmp_path):
    folder = checkout("train", "pass")
    stranger = tmp_path / "elsewhere" / "launch"
    stranger.mkdir(parents=True)
    (stranger / "__init__.py").write_text("")
    (folder / "launch").rename(folder / "nafp" / "launch")
    code = f"import sys; sys.path[:0] = [{str(stranger.parent)!r}]\nfrom nafp import cli; cli.main()"
    found = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert cli.VERBS["train"] in found.stdout
