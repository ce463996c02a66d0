"""The files for clusters: linted, short, with flags that exist, and started again where the exit code says so."""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
CLUSTERS = ROOT / "launch" / "clusters"
SCRIPTS = sorted(CLUSTERS.glob("*.sh"))
TRAIN = ("--config=configs/full.py", "--workdir=a folder")


def names(paths):
    return [path.name for path in paths]


@pytest.mark.parametrize("path", SCRIPTS, ids=names(SCRIPTS))
def test_scripts_are_correct_shell_and_can_be_started(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True).returncode == 0
    assert path.stat().st_mode & stat.S_IXUSR
    checker = shutil.which("shellcheck", path=f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if checker is None:
        pytest.skip("needs shellcheck: pip install 'nafp[test]'")
    found = subprocess.run([checker, path], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_files_are_short_and_named_by_the_readme():
    files = sorted(path for path in CLUSTERS.iterdir() if path.suffix in (".sh", ".yaml"))
    told = (CLUSTERS / "README.md").read_text()
    for path in files:
        assert len(path.read_text().splitlines()) <= 60, path.name
        assert f"`{path.name}`" in told


def test_flags_of_the_files_exist():
    flags = set(re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", "".join(p.read_text() for p in ROOT.glob("launch/*.py"))))
    flags |= {"config"}
    for path in CLUSTERS.iterdir():
        for line in re.findall(r"nafp\"? (?:train|extract) [^;\n]*", path.read_text()):
            used = re.findall(r"--(\w[\w-]*)", line)
            assert set(used) <= flags, (path.name, line)


def test_the_jobset_agrees_with_itself():
    """Fields as of jobset.x-k8s.io/v1alpha2 and batch/v1."""
    whole = yaml.safe_load((CLUSTERS / "jobset.yaml").read_text())
    assert (whole["apiVersion"], whole["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    name, spec = whole["metadata"]["name"], whole["spec"]
    assert set(spec) == {"failurePolicy", "replicatedJobs"}
    [rule] = spec["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    [hosts] = spec["replicatedJobs"]
    job = hosts["template"]["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["backoffLimit"] == 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # A pod failure policy demands it.
    [container] = job["template"]["spec"]["containers"]
    [ends] = job["podFailurePolicy"]["rules"]
    assert ends["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2]}
    flags = dict(word.removeprefix("--").split("=", 1) for word in container["args"])
    assert int(flags["processes"]) == job["parallelism"] == job["completions"]
    assert flags["process"] == "$(JOB_COMPLETION_INDEX)"
    host, port = flags["coordinator"].split(":")
    assert host == f"{name}-{hosts['name']}-0-0.{name}"  # JOBSET-JOB-REPLICA-POD.SUBDOMAIN
    assert int(port) == container["ports"][0]["containerPort"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in job["template"]["spec"]["volumes"]}
    assert flags["workdir"].startswith("/shared/")


@pytest.fixture
def stand_ins(tmp_path):
    """Programs of clusters that write down how they were called. Returns a function that runs a script with them."""
    programs = tmp_path / "bin"
    programs.mkdir()
    calls = tmp_path / "calls"

    def run(script, *words, env=None, **bodies):
        calls.write_text("")
        for name, body in bodies.items():
            program = programs / name
            program.write_text(f'#!/bin/bash\necho "{name} $*" >> {calls}\n{body}\n')
            program.chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        line = ["bash", CLUSTERS / script, *words]
        settings = {**os.environ, "PATH": path, "TMPDIR": str(tmp_path), **(env or {})}
        done = subprocess.run(line, env=settings, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, calls.read_text().splitlines(), done.stderr

    return run


@pytest.mark.parametrize(
    "code, state, restarts, again",
    [
        (75, "RUNNING", 0, True),
        (134, "RUNNING", 3, True),
        (75, "COMPLETING", 0, False),  # Cancelled, or queued again by Slurm.
        (75, "RUNNING", 50, False),
        (2, "RUNNING", 0, False),
        (0, "RUNNING", 0, False),
    ],
)
def test_slurm_queues_again_what_asks_for_it(stand_ins, code, state, restarts, again):
    env = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts), "NAFP": "/bin/nafp"}
    programs = {"srun": f"exit {code}", "squeue": f"echo {state}", "scontrol": ""}
    returned, calls, _ = stand_ins("slurm.sh", *TRAIN, env=env, **programs)
    assert returned == code
    assert calls[0].endswith("/bin/nafp train --pod --config=configs/full.py --workdir=a folder")
    assert ("scontrol requeue 7" in calls) == again


def test_slurm_extracts_a_share_and_joins(stand_ins):
    env = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16", "NAFP": "nafp"}
    words = ("--source=corpus", "--out=store")
    assert stand_ins("slurm_extract.sh", *words, env=env, nafp="")[1] == [
        "nafp extract --processes=16 --process=3 --source=corpus --out=store"
    ]
    _, again, _ = stand_ins("slurm_extract.sh", *words, env={**env, "SHARES": "20"}, nafp="")
    assert again == ["nafp extract --processes=20 --process=3 --source=corpus --out=store"]
    _, joined, _ = stand_ins("slurm_extract.sh", *words, env={**env, "JOIN": "1"}, nafp="")
    assert joined == ["nafp extract --join --source=corpus --out=store"]


TPU = {"ZONE": "z", "TYPE": "v6e-16", "CORPUS": "gs://b/corpus"}


def gcloud(*, states, train):
    """A gcloud whose slice has these states, one after another, and whose training ends as `train` says."""
    listed = " ".join(states)
    return f"""
case $* in
*describe*) states=({listed}); n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) > n; echo ${{states[$n]}} ;;
*"nafp train"*) {train} ;;
esac"""


def test_a_tpu_slice_that_is_taken_away_is_made_anew(stand_ins):
    train = "if [[ -e was ]]; then exit 0; fi; touch was; echo NAFP-STARTS-AGAIN; exit 1"
    program = gcloud(states=["NONE", "READY", "PREEMPTED", "READY"], train=train)
    code, calls, _ = stand_ins("tpu_vm.sh", "mine", *TRAIN, env=TPU, gcloud=program, git="")
    assert code == 0
    verbs = [re.search(r"tpu-vm (\w+)", call)[1] for call in calls if "tpu-vm" in call and "describe" not in call]
    made = ["create", "scp", "ssh"]
    assert verbs == [*made, "ssh", "delete", *made, "ssh"]
    assert any("nafp train --pod --config.data.corpus=corpus --config=configs/full.py" in call for call in calls)
    assert any(r"--workdir=a\ folder" in call for call in calls)


def test_an_error_of_the_command_ends_a_tpu_run(stand_ins):
    program = gcloud(states=["READY", "READY"], train="exit 1")
    assert stand_ins("tpu_vm.sh", "mine", *TRAIN, env=TPU, gcloud=program, git="")[0] == 2
    code, calls, complaint = stand_ins("tpu_vm.sh", "mine", env={"ZONE": "z"}, gcloud="", git="")
    assert code != 0
    assert calls == []
    assert "TYPE is missing, such as v6e-16" in complaint


def test_xpk_gets_one_command_and_the_exit_code(stand_ins):
    env = {"CLUSTER": "c", "ZONE": "z", "TYPE": "v6e-16", "IMAGE": "i"}
    _, [call], _ = stand_ins("xpk.sh", "mine", *TRAIN, env=env, xpk="")
    assert "--restart-on-exit-codes=75" in call
    assert call.endswith(r"--command=nafp train --pod --config=configs/full.py --workdir=a\ folder ")
