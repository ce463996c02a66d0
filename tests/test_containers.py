"""The images, the compose file and the unit of systemd: linted, and as little as they may be."""

import configparser
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from nafp.database import network_file

ROOT = pathlib.Path(__file__).parent.parent
IMAGES = ("Dockerfile", "Dockerfile.cuda")


def installed(name: str) -> str:
    """Returns the path of a program beside this Python, or on the path; skips where there is none."""
    found = shutil.which(name, path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    if not found:
        pytest.skip(f"no {name} here")
    return found


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_no_fault_that_hadolint_knows(name):
    done = subprocess.run([installed("hadolint"), name], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_a_user_without_rights(name):
    lines = (ROOT / name).read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM"))
    users = [line for line in lines[last:] if line.startswith("USER ")]
    assert users == ["USER 10001"]


def test_the_pip_lines_of_the_image_are_those_that_ci_runs():
    image, smoke = (ROOT / "Dockerfile").read_text(), (ROOT / ".ci" / "smoke").read_text()
    lines = re.findall(r"/opt/nafp/bin/pip install (--.+)", image)
    assert len(lines) == 2
    for line in lines:
        assert f'"$bin/pip" install --quiet {line}\n' in smoke


def test_every_line_of_what_serves_without_jax_is_one_of_the_package():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    extras = parser["options.extras_require"]
    known = {
        line.strip()
        for text in (parser["options"]["install_requires"], extras["cpu"], extras["serve"])
        for line in text.splitlines()
    }
    lines = [line for line in (ROOT / "requirements-serve.txt").read_text().splitlines() if not line.startswith("#")]
    assert set(lines) <= known
    assert {line.strip() for line in extras["serve"].splitlines()} - {""} <= set(lines)
    assert not re.search(r"^(jax|flax|optax|orbax|grain)", "\n".join(lines), re.MULTILINE)


def test_what_serves_needs_no_module_that_the_image_lacks(tmp_path):
    code = """
import sys
absent = {"jax", "jaxlib", "flax", "optax", "orbax", "grain", "librosa", "tensorboardX", "jinja2"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import nafp, nafp.serving.server, nafp.verbs.serve, nafp.verbs.identify, nafp.verbs.add
nafp.load("small", runtime="numpy")
from nafp.serving import browser_network
assert browser_network.of(sys.argv[1]).data
"""
    shutil.copy(ROOT / "nafp" / "weights" / "small.safetensors", tmp_path / network_file.NETWORK)
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_compose_file_keeps_to_its_schema():
    line = [installed("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_server_of_the_compose_file_can_change_nothing_and_is_reached_from_this_machine_alone():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    running = [name for name, service in services.items() if "profiles" not in service]
    assert running == ["serve"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert not service.get("privileged")
        assert service["security_opt"] == ["no-new-privileges:true"]
    for name in ("serve", "add"):
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
    writable = {
        name: [v["target"] for v in services[name]["volumes"] if not v["read_only"]] for name in ("serve", "add")
    }
    assert writable == {"serve": [], "add": ["/data/DB"]}


def test_the_unit_of_systemd_is_one(tmp_path):
    text = re.search(r"```ini\n(.*?)```", (ROOT / "docs" / "serve.md").read_text(), re.DOTALL)[1]
    unit = tmp_path / "nafp.service"
    unit.write_text(text.replace("/opt/nafp/bin/nafp", shutil.which("true")))
    done = subprocess.run([installed("systemd-analyze"), "verify", "--man=no", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
