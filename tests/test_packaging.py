"""What is installed is what is here: packages, requirements, and a wheel that works elsewhere."""

import ast
import configparser
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import nafp

ROOT = pathlib.Path(__file__).parent.parent
MAPPED = ("configs", "evaluation", "launch")
# Distribution -> module, where the names differ.
MODULES = {
    "absl-py": "absl",
    "faiss-cpu": "faiss",
    "faiss-gpu": "faiss",
    "orbax-checkpoint": "orbax",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "prometheus-client": "prometheus_client",
    "python-multipart": "python_multipart",
    "scikit-learn": "sklearn",
}
EXTRA_MODULES = {"PIL", "av", "faiss", "jaxtyping", "matplotlib", "ray", "sklearn", "sounddevice", "torch"}
EXTRA_MODULES |= {
    "h11",
    "onnx",
    "onnxruntime",
    "prometheus_client",
    "pymilvus",
    "python_multipart",
    "starlette",
    "uvicorn",
}


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def modules_of(requirements: list[str]) -> set[str]:
    names = [re.match(r"[\w-]+", requirement).group() for requirement in requirements]
    return {MODULES.get(name, name) for name in names}


def imported_modules(folders: tuple[str, ...]) -> set[str]:
    names = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"nafp"}


def test_the_listed_packages_are_the_folders(setup):
    folders = [
        path.parent.relative_to(ROOT) for room in ("nafp", *MAPPED) for path in (ROOT / room).rglob("__init__.py")
    ]
    packages = {".".join(path.parts if path.parts[0] == "nafp" else ("nafp", *path.parts)) for path in folders}
    assert set(lines(setup["options"]["packages"])) == packages
    mapped = dict(re.split(r"\s*=\s*", line) for line in lines(setup["options"]["package_dir"]))
    assert mapped == {f"nafp.{room}": room for room in MAPPED}


def test_every_outside_module_is_a_requirement(setup):
    required = modules_of(lines(setup["options"]["install_requires"]))
    assert imported_modules(("nafp", *MAPPED)) <= required | EXTRA_MODULES


def test_every_requirement_is_used(setup):
    required = modules_of(lines(setup["options"]["install_requires"]))
    used = imported_modules(("nafp", *MAPPED))
    assert required <= used | {"jax"}


def test_extras_cover_what_the_messages_promise(setup):
    from nafp import cli

    extras = setup["options.extras_require"]
    for module, line in cli.EXTRAS.items():
        for extra in re.findall(r"nafp\[(\w+)\]", line):
            assert module in modules_of(lines(extras[extra]))


def test_a_machine_that_serves_without_jax_is_told_what_brings_each_library_it_lacks(setup):
    from nafp import cli

    named = lines((ROOT / "requirements-serve.txt").read_text())
    there = modules_of([line for line in named if not line.startswith("#")])
    lacking = modules_of(lines(setup["options"]["install_requires"])) - there
    assert "jax" in lacking
    assert lacking <= set(cli.EXTRAS)


def test_the_version_is_written_once():
    mentions = [
        path.name
        for path in (ROOT / "setup.cfg", ROOT / "pyproject.toml", ROOT / "nafp" / "__init__.py")
        if f'"{nafp.__version__}"' in path.read_text() or f"= {nafp.__version__}\n" in path.read_text()
    ]
    assert mentions == ["__init__.py"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    major, minor = importlib.metadata.version("setuptools").split(".")[:2]
    if (int(major), int(minor)) < (70, 1):  # Older ones need the wheel package too.
        pytest.skip("needs setuptools 70.1: make install")
    source = tmp_path_factory.mktemp("source")
    for room in ("nafp", *MAPPED):
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "README.md").write_text("# nafp\n")
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    built = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return source / built.stdout.splitlines()[-1]


def test_a_wheel_brings_one_top_level_name(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"nafp"}
    assert {f"nafp/{room}/__init__.py" for room in MAPPED} <= set(names)
    assert not [name for name in names if name.startswith("tests") or "/tests/" in name]


def test_a_wheel_brings_weights_and_protocols(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "nafp/weights/small.safetensors" in names
    protocols = (ROOT / "evaluation" / "protocols" / "files").glob("*.toml")
    assert {f"nafp/evaluation/protocols/files/{path.name}" for path in protocols} <= set(names)


def test_a_wheel_brings_all_that_templates_include(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    templates = [path for room in ("nafp", *MAPPED) for path in (ROOT / room).rglob("templates/*")]
    assert {path.suffix for path in templates} >= {".html", ".css", ".js"}
    for path in templates:
        assert str(pathlib.PurePosixPath("nafp", path.relative_to(ROOT))).replace("nafp/nafp/", "nafp/") in names


def test_a_wheel_brings_the_page(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    files = [path for path in (ROOT / "nafp" / "serving" / "page").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".html", ".css", ".js", ".mjs", ".gz", ".txt"}
    assert {path.relative_to(ROOT).as_posix() for path in files} <= set(names)


def test_a_wheel_knows_its_verbs_anywhere(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()

    def help_of(folder: pathlib.Path, path: str) -> str:
        command = [sys.executable, "-m", "nafp", "--help"]
        environment = {"PYTHONPATH": path}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout

    assert help_of(tmp_path / "empty", str(tmp_path / "site")) == help_of(ROOT, "")


def extras_of(text: str) -> set[str]:
    """Returns the extras that a file names, as EXTRAS=a,b or .[a,b]."""
    listings = re.findall(r"EXTRAS=([a-z0-9,]+)|\.\[([a-z0-9,]+)\]", text)
    return {extra for listing in listings for extra in "".join(listing).split(",")}


def test_the_image_and_the_conda_environment_name_what_there_is(setup):
    image, cuda, conda = ((ROOT / name).read_text() for name in ("Dockerfile", "Dockerfile.cuda", "environment.yml"))
    known = set(setup["options.extras_require"])
    for text in (image, cuda, conda):
        assert extras_of(text)
        assert extras_of(text) <= known
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", f"{image.partition('FROM')[2]} {cuda.partition('FROM')[2]}")) <= targets
    for python in re.findall(r"python[:=](3\.\d+)", image + cuda + conda):
        assert f"Programming Language :: Python :: {python}" in setup["metadata"]["classifiers"]


def test_the_images_install_by_the_command_of_the_makefile_and_check_as_ci_does():
    commands = [
        re.findall(r"^RUN (make [^\\\n]+)", (ROOT / name).read_text(), re.MULTILINE)
        for name in ("Dockerfile", "Dockerfile.cuda")
    ]
    assert commands[0] == ["make install EXTRAS=cpu,onnx,serve,test && .ci/run"]
    assert [command.strip() for command in commands[1]] == ["make install EXTRAS=$EXTRAS && rm -rf .git"]
    for extras in ("cpu,onnx,serve,test", "cpu"):
        line = ["make", "--dry-run", "--always-make", "install", f"EXTRAS={extras}"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        assert f"pip install --quiet --editable '.[{extras}]'" in done.stdout, done.stderr


def test_the_image_leaves_out_what_git_ignores_but_keeps_the_history_that_smoke_archives():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".venv/", ".demo/", "build/", "dist/"} <= set(ignored)
    assert not {".git", ".git/"} & set(ignored)
