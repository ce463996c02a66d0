"""Into how many shares a CPU cuts a batch."""

import logging as standard_logging
import os
import pathlib

import jax
import platformdirs
import pytest
from absl import flags, logging
from absl.testing import flagsaver

from launch import devices, processes
from nafp import config as config_lib
from nafp import errors
from nafp.jobs import threads


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    monkeypatch.setattr(threads, "n_threads", lambda: 8)


@pytest.mark.parametrize(
    "batch, micro, asked, shares",
    [
        (640, 0, 0, 8),
        (20, 0, 0, 5),  # Ten pairs: five shares of two.
        (26, 0, 0, 1),  # Thirteen pairs.
        (640, 40, 0, 8),  # Two parts of each share.
        (640, 320, 0, 2),  # Parts of 320 segments: no more than two shares of them.
        (640, 640, 0, 1),
        (640, 0, 4, 4),
    ],
)
def test_shares_are_equal_and_at_most_one_for_each_core(batch, micro, asked, shares):
    config = config_lib.default()
    with config.unlocked():
        config.train.batch_size, config.train.micro_batch = batch, micro
        config.train.cpu_shares = asked
    assert config_lib.cpu_shares(config, cores=devices.cores()) == shares


def test_what_xla_flags_say_goes_first(monkeypatch):
    asked = {}
    monkeypatch.setattr(jax.config, "update", asked.__setitem__)
    monkeypatch.setattr(jax, "__version_info__", (0, 11, 2))
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    devices.split_cpu(2)
    assert not asked
    assert os.environ["XLA_FLAGS"].split() == [
        "--xla_force_host_platform_device_count=3",
        "--xla_cpu_multi_thread_eigen=false",
    ]
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true")
    devices.split_cpu(2)
    assert asked == {"jax_num_cpu_devices": 2}
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_multi_thread_eigen=true"


@pytest.mark.parametrize(
    "ours, jaxs, folder",
    [
        ("mine", "jaxs", "mine"),
        ("mine", None, "mine"),
        (None, "jaxs", "jaxs"),
        (None, None, "/user/nafp/compiled"),
    ],
)
def test_compiled_programs_are_kept_where_the_environment_says(monkeypatch, ours, jaxs, folder):
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: jax.config.values[name] for name in names}
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: pathlib.Path("/user") / name)
    monkeypatch.setenv("NAFP_CACHE", ours or "")
    try:
        jax.config.update("jax_compilation_cache_dir", jaxs)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
        devices.keep_compiled()
        assert jax.config.jax_compilation_cache_dir == folder
        assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.5
    finally:
        for name in names:
            jax.config.update(name, before[name])


def test_what_is_said_of_damaged_files_is_heard_beside_jax(monkeypatch):
    root, handlers = standard_logging.getLogger(), standard_logging.getLogger().handlers[:]
    levels = {logger: logger.level for logger in (root, standard_logging.getLogger("absl"))}
    monkeypatch.setattr(devices, "keep_compiled", lambda: None)
    try:
        logging.use_absl_handler()  # As app.run does: from then on, absl's verbosity is that of every logger.
        devices.prepare()
        assert standard_logging.getLogger("nafp.audio.decode").isEnabledFor(standard_logging.WARNING)
        assert not standard_logging.getLogger("absl").isEnabledFor(standard_logging.WARNING)  # That of orbax.
    finally:
        root.handlers[:] = handlers
        for logger, level in levels.items():
            logger.setLevel(level)


def test_one_of_several_processes_cuts_no_further(monkeypatch):
    monkeypatch.setattr(processes, "_COORDINATOR", type("Given", (), {"value": "host:1234"}))
    assert devices.cores() == 1
    assert processes.share() is None


@pytest.mark.parametrize(
    "words, said",
    [
        (("--coordinator=nowhere",), "host:port is needed"),
        (("--coordinator=10.0.0.1:99999",), "from 1 to 65535"),
        (("--coordinator=:1234",), "host:port is needed"),
        (("--coordinator=a:1234", "--processes=2", "--process=2"), "count from 0"),
        (("--pod",), "describes no TPU pod"),
    ],
)
def test_processes_that_cannot_be_are_refused(monkeypatch, words, said):
    def initialize(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    with flagsaver.flagsaver():
        flags.FLAGS(["nafp", *words])
        with pytest.raises(errors.Invalid, match=said):
            processes.join()


@pytest.mark.parametrize(
    "words, share", [((), None), (("--processes=4", "--process=3"), (3, 4)), (("--processes=1",), (0, 1))]
)
def test_processes_without_a_coordinator_are_shares(words, share):
    with flagsaver.flagsaver():
        flags.FLAGS(["nafp", *words])
        assert processes.share() == share


def test_a_share_beyond_the_last_is_refused():
    with flagsaver.flagsaver():
        flags.FLAGS(["nafp", "--processes=4", "--process=4"])
        with pytest.raises(errors.Invalid, match="--process=4: shares of --processes=4 count from 0"):
            processes.share()


def test_a_share_cannot_be_less_than_none():
    config = config_lib.default()
    with config.unlocked():
        config.train.cpu_shares = -1
    with pytest.raises(ValueError, match="cpu_shares=-1"):
        config_lib.validated(config)
