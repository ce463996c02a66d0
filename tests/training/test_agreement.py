"""Hosts agree on whether a run goes on, and steps under way are looked at in their order."""

import contextlib
import json

import jax
import numpy as np
import pytest

from nafp import errors
from nafp.training import agreement, in_flight, step
from tests import commands
from tests.training import test_loop

folder = test_loop.folder
DEVICES = 4


def counted(votes, finite):
    """Returns the outcome on each device, of votes [devices, 3] and whether its numbers are finite [devices]."""
    scores = jax.pmap(agreement.counted, axis_name=step.AXIS)(np.asarray(votes, np.int32), np.asarray(finite))
    for i in range(DEVICES):
        shards = {name: _Shard(x.addressable_shards[i].data) for name, x in scores.items()}
        yield agreement.outcome(7, {**shards, "loss": _Shard(np.array([0.5], np.float32))})


class _Shard:
    """Looks like an array whose first part on this host is `data`."""

    def __init__(self, data):
        self.data, self.addressable_shards = data, [self]


def test_hosts_agree_on_what_one_of_them_says():
    silence = np.zeros((DEVICES, 3))
    for said in (agreement.Votes(terminated=True, interrupted=True), agreement.Votes(late=True), agreement.Votes()):
        votes = silence.copy()
        votes[2] = said
        assert {found.votes for found in counted(votes, [True] * DEVICES)} == {said}
    for finite in ([True] * DEVICES, [True, False, True, True]):
        assert {found.finite for found in counted(silence, finite)} == {all(finite)}


def test_a_host_votes_on_each_of_its_devices():
    ballots = agreement.ballots(agreement.Votes(late=True))
    np.testing.assert_array_equal(ballots, [[0, 0, 1]] * jax.local_device_count())


def test_no_host_begins_a_step_before_all_have_compiled_it(monkeypatch, caplog):
    met = []

    @contextlib.contextmanager
    def together(what):
        yield
        met.append((what, n_compiled()))

    def n_compiled():
        return sum("Finished XLA compilation of jit(_fun)" in record.getMessage() for record in caplog.records)

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(agreement.hosts, "together", together)
    begun = agreement.begun_together(jax.pmap(lambda x, y: x + y, donate_argnums=0))
    x = step.replicate(np.ones(2, np.float32))
    with jax.log_compiles():
        for expected in (3, 5):
            x = begun(x, np.full((DEVICES, 1), 2, np.float32))
            assert met == [("compiling the step", 1)]
            assert np.all(np.asarray(x) == expected)


def test_steps_under_way_land_in_order_and_all_at_once_where_asked():
    flying, landed = in_flight.InFlight(3), []
    none = {"votes": np.zeros((1, 3), np.int32), "not_finite": np.zeros(1, np.int32)}
    for number in range(1, 6):
        flying.add(number, jax.tree.map(lambda x: jax.pmap(lambda y: y)(x), none))
        landed += [found.number for found in flying.landed(all_of_them=False)]
        assert landed == list(range(1, number - 1))
    assert [found.number for found in flying.landed(all_of_them=True)] == [4, 5]


def test_several_steps_on_several_devices_of_a_cpu_are_refused():
    assert in_flight.most(0) == 1
    with pytest.raises(errors.Invalid, match="steps_in_flight=4 on 4 CPU devices"):
        in_flight.most(4)


def alone(folder, run, n, **changes):
    """Runs `nafp train` on one device with n steps in flight."""
    line = test_loop.words(folder, run, **{"train.cpu_shares": 1, "train.steps_in_flight": n, **changes})
    return commands.nafp(*line, env=test_loop.environment(folder))


@pytest.mark.slow
def test_a_nan_found_some_steps_later_is_named_by_its_own_step(folder):
    """The fast tests are test_steps_under_way_land_in_order_and_all_at_once_where_asked, and of one step at a time
    test_a_nan_stops_the_run_and_names_the_step, in tests/training/test_loop.py.
    """
    done = alone(folder, folder / "nan_later", 4, **{"optimizer.learning_rate": 1e38, "checkpoint.every_steps": 100})
    assert done.returncode == 2
    assert done.stderr.startswith("nafp train: step 2: loss nan")
    lines = (folder / "nan_later" / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


@pytest.mark.slow
def test_steps_in_flight_change_no_loss(folder):
    """The fast test is test_steps_under_way_land_in_order_and_all_at_once_where_asked."""
    for n in (1, 3):
        assert alone(folder, folder / f"flight_{n}", n).returncode == 0
    assert test_loop.losses(folder / "flight_1") == test_loop.losses(folder / "flight_3")
