"""A run in an object store: its readable files appear there whole, and a resumed run goes on with them."""

import importlib.util

import numpy as np
import pytest
from etils.epath import backend
from fsspec.implementations import memory

from nafp import config as config_lib
from nafp import errors
from nafp.training import beginning, journal, pictures
from nafp.weights import checkpoints, run_folders


class Bucket(memory.MemoryFileSystem):
    """A bucket that lies in memory."""

    protocol = ("gs", "gcs")
    store: dict = {}  # noqa: RUF012 (fsspec's own way)
    pseudo_dirs = [""]  # noqa: RUF012


@pytest.fixture
def bucket(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: name == "gcsfs" or found(name, *a))
    monkeypatch.setattr(type(backend.fsspec_backend), "_get_filesystem", lambda self, name: Bucket())
    yield "gs://bucket/run"
    Bucket.store.clear()


def test_the_files_of_a_run_appear_in_its_bucket_and_grow_when_it_is_resumed(bucket):
    run, config = run_folders.opened(bucket + "/"), config_lib.default()
    for i in (1, 2):
        log = journal.RunLog(bucket, config)
        log.say(f"start {i}")
        log.loss(i, 0.5)
        log.keep()
        assert len((run / "losses.jsonl").read_text().splitlines()) == i
        log.say("end")
        log.close()
    assert [line.split(" ", 2)[2] for line in (run / "log.txt").read_text().splitlines()] == [
        *("start 1", "end", "start 2", "end")
    ]
    assert config_lib.from_json((run / "config.json").read_text()) == config
    pictures.draw(np.eye(4), run / "similarity" / "1.png", title="step 1")
    assert (run / "similarity" / "1.png").read_bytes()[:4] == b"\x89PNG"


def test_settings_are_compared_with_those_in_the_bucket(bucket):
    run, config = run_folders.opened(bucket), config_lib.default()
    journal.RunLog(run, config).close()
    (run / "checkpoints").mkdir(parents=True)
    beginning.check_unchanged(run, config)
    with config.unlocked():
        config.seed = 5
    with pytest.raises(ValueError, match="gs://bucket/run was begun with other settings: seed was 0, now 5"):
        beginning.check_unchanged(run, config)


def test_an_address_stays_one(bucket):
    assert str(run_folders.opened("gs://bucket/run/") / "x") == "gs://bucket/run/x"
    assert checkpoints._folder("gs://bucket/run/") == "gs://bucket/run/checkpoints"
    assert checkpoints.split("gs://bucket/run@best") == ("gs://bucket/run", "best")


def test_what_checkpoints_cannot_go_to_is_said(monkeypatch, tmp_path):
    with pytest.raises(
        errors.Invalid, match=r"s3://bucket/run: checkpoints go to a folder or to gs://bucket/run; mount"
    ):
        run_folders.opened("s3://bucket/run")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.Invalid, match="gcsfs is not installed: pip install 'nafp\\[gcs\\]'"):
        run_folders.opened("gs://bucket/run")
    assert str(run_folders.opened(tmp_path)) == str(tmp_path)
    assert "~" not in str(run_folders.opened("~/run"))
