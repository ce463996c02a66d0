"""Stores, databases and monitor states of version 0.2, which knew a network by another digest, are accepted.

Version 0.2 is imitated where it differs: its identities had as `sha256` what is `sha256_before` today.
"""

import types

import numpy as np
import pytest

from launch import fingerprinting
from nafp import errors
from nafp.database import database
from nafp.identify import identifier
from nafp.models import identities
from nafp.search import collection, store
from nafp.verbs import monitor
from tests import databases, stores

OLD = {"sha256": "a7a978eb", "source": "small.safetensors", "step": 18000, "dtype": "float32"}
NEW = {**OLD, "sha256": "36d2c1f1", "sha256_before": "a7a978eb"}
OTHER = {**NEW, "sha256": "c3d4", "sha256_before": "e5f6"}
BOTH = pytest.mark.parametrize("first, second", [(OLD, NEW), (NEW, OLD)], ids=["old then new", "new then old"])


@pytest.fixture
def old_and_new(tmp_path, monkeypatch):
    """Two databases of one network, the first made by version 0.2."""
    network = databases.network_file(tmp_path)
    today = identities.of

    def as_before(variables, *, source, step, config):
        return {"sha256": today(variables, source=source, step=step)["sha256_before"], "source": source, "step": step}

    with monkeypatch.context() as version_0_2:
        version_0_2.setattr(identities, "of", as_before)
        old = databases.filled(tmp_path / "old", 2, network=network)
    new = databases.filled(tmp_path / "new", 2, first=2, network=network)
    assert "sha256_before" not in old.about["network"]
    assert old.about["network"]["sha256"] == new.about["network"]["sha256_before"] != new.about["network"]["sha256"]
    return old, new, network


def test_a_database_of_before_opens_with_its_network_and_takes_more_audio(old_and_new):
    old, _, network = old_and_new
    assert old.network(runtime="numpy").track(np.ones(16000, np.float32)).shape[1] == old.about["dim"]
    assert database.open_or_create(old.folder, checkpoint=network).about == old.about
    with pytest.raises(errors.Invalid, match="two networks cannot be compared"):
        database.open_or_create(old.folder, checkpoint=databases.network_file(old.folder.parent, seed=1))


@pytest.mark.parametrize("into, other", [(0, 1), (1, 0)])
def test_databases_of_both_versions_are_merged(old_and_new, into, other):
    merged = old_and_new[into].merge([old_and_new[other].folder])
    assert len(merged.added) == 2
    assert len(database.Database.open(old_and_new[into].folder)) == 4


def saved(folder, name, identity, n=3):
    stores.write(folder, name, {f"{name}.wav": databases.unit(n)}, model=identity)
    return store.Store.open(folder, name)


@BOTH
def test_stores_of_both_versions_are_searched_together_and_asked_by_either(tmp_path, first, second):
    opened = [saved(tmp_path / "a", "a", first), saved(tmp_path / "b", "b", second)]
    assert collection.Collection.of(opened).tracks == ["a.wav", "b.wav"]
    identifier.require_same(first, opened)
    identifier.require_same(second, opened)
    with pytest.raises(errors.Invalid, match="two networks cannot be compared"):
        identifier.require_same(OTHER, opened)
    with pytest.raises(errors.Invalid, match="cannot be mixed: model is"):
        collection.Collection.of([*opened, saved(tmp_path / "c", "c", OTHER)])


@BOTH
def test_an_extraction_goes_on_that_the_other_version_began(tmp_path, first, second):
    with store.Writer(tmp_path, "db", dim=16, meta=stores.META | {"model": first}) as writer:
        writer.append("0.wav", 1.0, databases.unit(3))
    for other in (OTHER, {**second, "dtype": "bfloat16"}):
        with pytest.raises(errors.Invalid, match="begun with other settings"):
            store.Writer(tmp_path, "db", dim=16, meta=stores.META | {"model": other})
    with store.Writer(tmp_path, "db", dim=16, meta=stores.META | {"model": second}) as writer:
        assert writer.done == {"0.wav"}
        writer.append("1.wav", 1.0, databases.unit(3))
        assert writer.finish().meta["model"] == first


@BOTH
def test_a_protocol_goes_on_with_stores_of_the_other_version(tmp_path, first, second):
    opened, check = saved(tmp_path, "db", first), fingerprinting._require_same
    check(opened, second)
    for other in (OTHER, {**second, "step": 1}, {**second, "dtype": "bfloat16"}):
        with pytest.raises(errors.Invalid, match="was made by"):
            check(opened, other)


def test_a_monitor_goes_on_with_a_state_of_the_other_version(tmp_path):
    rows = collection.Collection.of([saved(tmp_path, "db", OLD)])
    digests = [
        monitor.OpenedCollection(types.SimpleNamespace(identity=i), rows, None, None).digest for i in (OLD, NEW, OTHER)
    ]
    assert digests[0] == digests[1] != digests[2]
