"""The rooms stand in one order, every outside library has one owner, and files stay small."""

import ast
import collections
import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = ("nafp", "configs", "launch", "evaluation", "tests", "benchmarks")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
# From the ground up: a room imports only rooms that stand before it. The loose files of `nafp` are rooms of one file.
ORDER = (
    "nafp/errors",
    "nafp/jobs",
    "nafp/config",
    "nafp/audio",
    "nafp/corpora",
    "nafp/models",
    "nafp/search",
    "nafp/datasets",
    "nafp/weights",
    "nafp/identify",
    "nafp/fingerprints",
    "nafp/monitor",
    "nafp/training",
    "nafp/sequences",
    "nafp/database",
    "nafp/serving",
    "nafp/verbs",
    "nafp/cli",
    "nafp/__main__",
    "configs",
    "evaluation/pages",
    "evaluation/queries",
    "evaluation/scores",
    "evaluation/protocols",
    "evaluation/speeds",
    "launch",
)
# What scores and queries may know of the library: sound, search, and how a clip is asked.
SEEN_BY_EVALUATION = {"nafp/errors", "nafp/jobs", "nafp/audio", "nafp/corpora", "nafp/search", "nafp/identify"}
NUMPY_SIDE = (*sorted(SEEN_BY_EVALUATION - {"nafp/errors"}), "nafp/datasets", "nafp/monitor", "evaluation")
# Outside library -> the one file that may import it.
OWNER = {
    "av": {"nafp/audio/containers.py"},
    # The second presents the lists of an index as plain arrays.
    "faiss": {"nafp/search/index.py", "nafp/search/inverted_lists.py"},
    "soundfile": {"nafp/audio/sndfile.py"},
    "soxr": {"nafp/audio/rates.py"},
    "sounddevice": {"nafp/audio/microphone.py"},
    "tinytag": {"nafp/audio/tags.py"},
    "orbax": {"nafp/weights/checkpoints.py"},
    "etils": {"nafp/weights/run_folders.py"},
    "librosa": {"nafp/models/filterbank.py"},
    "sklearn": {"evaluation/scores/ensemble.py"},
    "jinja2": {"evaluation/pages/layout.py"},
    "yaml": {"nafp/config/foreign.py", "nafp/weights/model_cards.py"},
    "onnx": {"nafp/models/onnx_graph.py"},
    "onnxruntime": {"nafp/models/onnx_network.py"},
    "ray": {"launch/clusters/ray_extract.py"},
    "safetensors": {"nafp/weights/files.py"},
    "prometheus_client": {"nafp/serving/metrics.py"},
    "pymilvus": {"nafp/database/milvus.py"},
    "python_multipart": {"nafp/serving/bodies.py"},
    "starlette": {"nafp/serving/app.py", "nafp/serving/page_routes.py"},  # The second has the addresses of the page.
    "uvicorn": {"nafp/serving/connections.py", "nafp/serving/server.py"},
    "h11": {"nafp/serving/connections.py"},  # Whose states uvicorn's own class lays open.
    "grain": {"nafp/training/pipeline.py"},
}
JAX_SIDE = {"jax", "jaxlib", "flax", "optax", "orbax", "grain"}
GENERIC = re.compile(r"(^|_)(utils?|commons?|helpers?|manager|misc|base|lib)(_|$)")


@functools.cache
def imported(path: pathlib.Path) -> tuple[str, ...]:
    """Returns the dotted names that a file imports, at any depth. Relative names become absolute."""
    names = []
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*above, *([node.module] if node.module else [])])
            names += [f"{start}.{alias.name}" for alias in node.names]
    return tuple(names)


def heads(path: pathlib.Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def name_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def files_in(room: str) -> list[pathlib.Path]:
    return [path for path in FILES if name_of(path).startswith(room + "/")]


def room_of(path: str) -> str | None:
    """Returns the room of a file or module path without suffix, None if it lies in no room of ours."""
    rooms = [room for room in ORDER if path == room or path.startswith(room + "/")]
    return max(rooms, key=len, default=None)


def arrows() -> dict[tuple[str, str], list[str]]:
    """Returns who imports whom, room by room: (importing room, imported room) -> imports."""
    drawn = collections.defaultdict(list)
    for path in (path for folder in ("nafp", "configs", "launch", "evaluation") for path in files_in(folder)):
        here = room_of(name_of(path).removesuffix(".py"))
        for name in imported(path):
            there = room_of(name.replace(".", "/"))
            if there and there != here:
                drawn[here or name_of(path), there].append(f"{name_of(path)} imports {name}")
    return drawn


def test_every_file_has_a_room():
    loose = {"nafp/__init__.py", "evaluation/__init__.py"}
    for path in (path for folder in ("nafp", "configs", "launch", "evaluation") for path in files_in(folder)):
        assert room_of(name_of(path).removesuffix(".py")) or name_of(path) in loose, name_of(path)


def test_a_room_imports_only_rooms_below_it():
    upwards = [lines for (here, there), lines in arrows().items() if ORDER.index(here) < ORDER.index(there)]
    assert upwards == []


def test_every_room_says_its_law_in_one_sentence():
    for room in ORDER:
        door = ROOT / room / "__init__.py"
        if door.exists():
            law = ast.get_docstring(ast.parse(door.read_text())) or ""
            assert law.split("\n")[0].endswith("."), room


def test_the_ground_stands_on_nothing():
    assert [there for here, there in arrows() if here == "nafp/jobs" and there != "nafp/errors"] == []
    assert [there for here, there in arrows() if here == "nafp/errors"] == []


def test_the_library_imports_no_other_folder():
    for path in files_in("nafp"):
        assert not heads(path) & set(FOLDERS[1:]), name_of(path)


def test_a_configuration_imports_only_the_library():
    for path in files_in("configs"):
        assert heads(path) <= {"nafp", "ml_collections"}, name_of(path)


def test_evaluation_knows_sound_search_and_how_a_clip_is_asked():
    for (here, there), lines in arrows().items():
        if here.startswith("evaluation/") and there.startswith("nafp/"):
            assert there in SEEN_BY_EVALUATION, lines


@pytest.mark.parametrize("room", NUMPY_SIDE)
def test_the_numpy_side_never_imports_jax(room):
    for path in files_in(room):
        assert not heads(path) & JAX_SIDE, name_of(path)


def test_loading_the_numpy_side_loads_no_jax():
    modules = [name_of(path).removesuffix(".py").replace("/", ".") for room in NUMPY_SIDE for path in files_in(room)]
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(*sorted({JAX_SIDE!r} & set(sys.modules)))
"""
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.strip() == ""


@pytest.mark.parametrize("library", OWNER)
def test_an_outside_library_has_one_owner(library):
    rooms = ("nafp", "launch", "evaluation", "configs")
    users = {name_of(path) for room in rooms for path in files_in(room) if library in heads(path)}
    assert users <= OWNER[library]


def test_launchers_and_scores_reach_other_folders_by_name_at_run_time():
    # The installed names differ from the checkout's: a literal would break one of the two.
    literal = re.compile(r"\bnafp\.(launch|evaluation|configs)\b")
    for path in FILES:
        if path != pathlib.Path(__file__):
            assert not literal.search(path.read_text()), name_of(path)


def test_scores_and_launchers_import_their_own_folder_relatively():
    for path in (path for folder in ("evaluation", "launch") for path in files_in(folder)):
        absolute = re.compile(rf"^\s*(?:from|import) {path.relative_to(ROOT).parts[0]}\b", re.MULTILINE)
        assert not absolute.search(path.read_text()), name_of(path)


def test_no_file_has_a_name_that_says_nothing():
    for path in FILES:
        assert not GENERIC.search(path.stem), name_of(path)


def test_files_are_short():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n_lines for name, n_lines in lengths.items() if n_lines > 400} == {}


def test_launchers_are_flags_and_one_call():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in files_in("launch")}
    assert {name: n_lines for name, n_lines in lengths.items() if n_lines > 60} == {}
