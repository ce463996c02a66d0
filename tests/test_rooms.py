"""The rooms point one way, every outside library has one owner, and files stay small."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ROOMS = ("nafp", "configs", "launch", "evaluation", "tests", "benchmarks")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
# Outside library -> the one file that may import it.
OWNER = {
    "faiss": {"nafp/search/index.py"},
    "soundfile": {"nafp/audio/decode.py"},
    "soxr": {"nafp/audio/decode.py"},
    "sounddevice": {"nafp/audio/microphone.py"},
    "tinytag": {"nafp/audio/tags.py"},
    "orbax": {"nafp/training/checkpoints.py"},
    # The second knows how to put grain's iterator into an orbax checkpoint.
    "grain": {"nafp/training/pipeline.py", "nafp/training/checkpoints.py"},
}
JAX_SIDE = {"jax", "jaxlib", "flax", "optax", "orbax", "grain"}
GENERIC = re.compile(r"(^|_)(utils?|commons?|helpers?|manager|misc|base|lib)(_|$)")


def imported(path: pathlib.Path) -> list[str]:
    """Returns the dotted names a file imports, at any depth; relative ones made absolute."""
    names = []
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*above, *([node.module] if node.module else [])])
            names += [f"{start}.{alias.name}" for alias in node.names]
    return names


def heads(path: pathlib.Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def name_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def files_in(room: str) -> list[pathlib.Path]:
    return [path for path in FILES if name_of(path).startswith(room + "/")]


def test_the_library_imports_no_other_room():
    for path in files_in("nafp"):
        assert not heads(path) & set(ROOMS[1:]), name_of(path)


def test_a_configuration_imports_only_the_library():
    for path in files_in("configs"):
        assert heads(path) <= {"nafp", "ml_collections"}, name_of(path)


def test_evaluation_knows_sound_and_search_only():
    allowed = ("nafp.audio", "nafp.search", "nafp.__version__")
    for path in files_in("evaluation"):
        for name in imported(path):
            room = name.split(".")[0]
            assert room not in ROOMS or room == "evaluation" or name.startswith(allowed), (
                f"{name_of(path)} imports {name}"
            )


@pytest.mark.parametrize("room", ["nafp/audio", "nafp/search", "evaluation"])
def test_the_numpy_side_never_imports_jax(room):
    for path in files_in(room):
        assert not heads(path) & JAX_SIDE, name_of(path)


def test_loading_the_numpy_side_loads_no_jax():
    modules = [
        name_of(path).removesuffix(".py").replace("/", ".")
        for room in ("nafp/audio", "nafp/search", "evaluation")
        for path in files_in(room)
    ]
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(*sorted({JAX_SIDE!r} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == ""


@pytest.mark.parametrize("library", OWNER)
def test_an_outside_library_has_one_owner(library):
    rooms = ("nafp", "launch", "evaluation", "configs")
    users = {name_of(path) for room in rooms for path in files_in(room) if library in heads(path)}
    assert users <= OWNER[library]


def test_launchers_and_scores_reach_other_rooms_by_name_at_run_time():
    # The installed names differ from the checkout's: a literal would break one of the two.
    literal = re.compile(r"\bnafp\.(launch|evaluation|configs)\b")
    for path in FILES:
        if path != pathlib.Path(__file__):
            assert not literal.search(path.read_text()), name_of(path)


def test_no_file_has_a_name_that_says_nothing():
    for path in FILES:
        assert not GENERIC.search(path.stem), name_of(path)


def test_files_are_short():
    assert {
        name_of(path): n for path in FILES if (n := len(path.read_text().splitlines())) > 400
    } == {}


def test_launchers_are_flags_and_one_call():
    long = {name_of(path): len(path.read_text().splitlines()) for path in files_in("launch")}
    assert {name: n for name, n in long.items() if n > 60} == {}
