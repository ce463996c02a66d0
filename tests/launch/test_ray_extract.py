"""Fingerprinting on a Ray cluster: every recording gets its file, also when a worker is killed, and nothing twice."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid

import numpy as np
import pytest

from nafp.fingerprints import per_track
from tests import networks
from tests.fingerprints import test_extract

pytest.importorskip("ray", reason="needs Ray: pip install 'nafp[ray]'")
ROOT = pathlib.Path(__file__).parents[2]
folder = test_extract.folder


def environment(folder, mark):
    ours = {"RAY_USAGE_STATS_ENABLED": "0", "NAFP_TEST_MARK": mark, "PYTHONWARNINGS": "ignore"}
    places = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**test_extract.environment(folder), **ours, "PYTHONPATH": places}


def started(folder, out, mark):
    line = ["--source", folder / "music", "--checkpoint", folder / "run", "--out", out, "--workers=2", "--shares=5"]
    script = ROOT / "launch" / "clusters" / "ray_extract.py"
    with open(f"{out}.log", "w") as log:
        return subprocess.Popen(
            [sys.executable, script, *line], env=environment(folder, mark), stdout=log, stderr=log, cwd=ROOT
        )


def workers(mark):
    """Returns the processes of this test's cluster that hold a network."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            is_ours = f"NAFP_TEST_MARK={mark}".encode() in (path / "environ").read_bytes()
            if (
                is_ours
                and b"ray::" in (path / "cmdline").read_bytes()
                and b"Fingerprints" in (path / "cmdline").read_bytes()
            ):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def files(out):
    return {path.name: np.load(path) for path in pathlib.Path(out).glob("*.npy")}


@pytest.mark.slow
def test_a_killed_worker_costs_its_share_and_no_file(folder, tmp_path):
    """The fast test is test_one_file_for_each_track_comes_in_shares_too, in tests/fingerprints/test_shares.py."""
    mark, out = uuid.uuid4().hex, tmp_path / "out"
    began = time.monotonic()
    running = started(folder, out, mark)
    while running.poll() is None and len(list(out.glob("*.npy"))) < 2:
        time.sleep(0.05)
        assert time.monotonic() - began < 200
    killed = workers(mark)[:1]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert running.wait(timeout=300) == 0, pathlib.Path(f"{out}.log").read_text()
    print(f"{time.monotonic() - began:.1f} s, killed {killed}: {pathlib.Path(f'{out}.log').read_text()[-500:]}")
    network = networks.extractor(networks.few_blocks(), seed=10, batch_size=16)
    assert len(files(out)) == 10
    assert json.loads((out / "fingerprints.json").read_text())["hop_s"] == network.hop / network.sample_rate_hz
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.npy")}
    assert started(folder, out, mark).wait(timeout=200) == 0
    assert "0 files, 10 were there" in pathlib.Path(f"{out}.log").read_text()
    assert times == {path.name: path.stat().st_mtime_ns for path in out.glob("*.npy")}
    from nafp.weights import sources

    per_track.write(sources.open_extractor(str(folder / "run")), str(folder / "music"), tmp_path / "plain")
    for name, vectors in files(tmp_path / "plain").items():
        np.testing.assert_allclose(vectors, files(out)[name], atol=1e-5)
