"""The configuration is complete and locked, refuses impossible values, and survives JSON."""

import importlib
import json
import pathlib
import re
import subprocess
import sys

import pytest

from nafp import config as config_lib
from nafp import errors, models
from nafp.sequences import settings
from nafp.training import losses

ROOT = pathlib.Path(__file__).parent.parent
CONFIGS = sorted(p.stem for p in (ROOT / "configs").glob("[a-z]*.py"))
NAN, INFINITY = float("nan"), float("inf")


def leaves(section, above=""):
    """Lists the full names of all settings of a configuration."""
    names = []
    for key, value in section.items():
        names += leaves(value, f"{above}{key}.") if hasattr(value, "items") else [above + key]
    return names


def changed(name, value):
    """Returns the default configuration with one value forced in, whatever its type."""
    c = config_lib.default()
    *path, last = name.split(".")
    section = c
    for key in path:
        section = section[key]
    with c.unlocked(), section.unlocked(), section.ignore_type():
        section[last] = value
    return c


def absurd(name):
    """Lists values that no setting of this kind can have: wrong types, then values out of every range."""
    default = config_lib.SETTINGS[name].default
    if isinstance(default, bool):
        return ["yes", 1, 0.5, None, ()]
    if isinstance(default, tuple):
        return [(), (0,), (-1,) * 8, (1.5,) * 8, ("8",) * 8, (True,) * 8, 8, "8", None]
    if isinstance(default, (int, float)):
        wrong = [-1e9, NAN, INFINITY, -INFINITY, "1", None, (1,)]
        return [*wrong, -1000, 1.5, True] if isinstance(default, int) else wrong
    if config_lib.SETTINGS[name].choices:
        return [default.upper(), f"{default}x", "", 0, None, (default,)]
    return [0, None, True, ("a",), "two\nlines", "a\0b"]


def test_a_number_beyond_all_floats_is_refused():
    with pytest.raises(errors.Invalid, match=r"minutes=1000.*: must be a number"):
        config_lib.SETTINGS["train.minutes"].check("minutes", 10**400)


def test_every_setting_has_a_rule_and_every_rule_a_setting():
    assert sorted(leaves(config_lib.default())) == sorted(config_lib.SETTINGS)


@pytest.mark.parametrize("name", sorted(config_lib.SETTINGS))
def test_every_setting_refuses_nonsense_and_says_what_is_allowed(name):
    setting = config_lib.SETTINGS[name]
    for value in absurd(name):
        with pytest.raises(errors.Invalid) as refused:
            config_lib.validated(changed(name, value))
        message = str(refused.value)
        assert message.startswith(f"config.{name}={value!r}: ")
        for word in setting.choices or (setting.allowed,):
            assert word in message
    if setting.choices:
        mistyped = setting.default[:-1]
        with pytest.raises(errors.Invalid, match=f"Did you mean '{setting.default}'"):
            config_lib.validated(changed(name, mistyped))


@pytest.mark.parametrize(
    "name, edge, beyond",
    [
        ("spectrogram.stft_hop", 1, 0),
        ("data.fraction", 1e-9, 0),
        ("data.fraction", 1, 1.001),
        ("checkpoint.keep", 1, 0),
        ("optimizer.warmup_steps", 0, -5),
        ("validate.lengths", (1,), (0,)),
        ("augment.low_pass.probability", 1.0, 7),
        ("augment.noise.probability", 0.0, -0.1),
        ("augment.speed", 0.5, 0.51),
        ("data.silence_db", -120, -121),
        ("optimizer.b1", 0.999, 1.0),
        ("train.batch_size", 4, 2),
        ("loss.temperature", 1e-3, 0.0),
        ("model.channels", [8] * 7 + [128], [128] * 7),
        ("seed", 2**32 - 1, 2**32),
    ],
)
def test_a_range_ends_where_it_says(name, edge, beyond):
    config_lib.validated(changed(name, edge))
    with pytest.raises(errors.Invalid, match=rf"config\.{name}=.*: must be "):
        config_lib.validated(changed(name, beyond))


@pytest.mark.parametrize("name", [name for name in config_lib.SETTINGS if "low" in name.split(".")[-1]])
def test_a_lower_end_is_not_above_its_upper_end(name):
    section, _, key = name.rpartition(".")
    upper = f"{section}.{key.replace('low', 'high')}"
    highest = config_lib.SETTINGS[upper].default
    with pytest.raises(errors.Invalid, match=rf"config\.{name}=.*above the upper end, config\.{upper}="):
        config_lib.validated(changed(name, highest + 0.01))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"spectrogram.high_hz": 4001.0}, "half of config.audio.sample_rate_hz"),
        ({"spectrogram.low_hz": 4000.0}, "need low_hz < high_hz"),
        ({"audio.hop_s": 1.5}, "must be at most segment_s=1.0"),
        ({"model.dim": 96}, "does not divide the last of config.model.channels"),
        ({"data.on_device": "yes", "data.pairs": "set"}, "a static set is read by the host"),
        ({"train.batch_size": 13}, "must be even"),
        ({"train.batch_size": 14, "augment.replicas": 4}, r"must be a multiple of 5 \(config\.augment\.replicas=4\)"),
        ({"train.batch_size": 5, "augment.replicas": 4}, "one anchor has no negatives. Use at least 10"),
        ({"augment.offset_least_s": 0.3}, "must be at most offset_s=0.2"),
        ({"augment.filters_together": True, "augment.low_pass.probability": 0.5}, "so they must be equal"),
        ({"augment.circular": True, "augment.room.seconds": 3.0}, "must not be longer than what is heard, 2 s"),
        ({"data.windows": "one_a_track", "data.shuffle_tracks": 10}, "there is nothing to shuffle together"),
        ({"loss.memory": 64, "loss.name": "angular"}, "only nt_xent and focal_nt_xent use earlier anchors"),
        ({"optimizer.schedule": "cosine_waves"}, "say how many epochs the rate falls"),
        ({"train.micro_batch": 3}, "must be even, or 0 for none"),
        ({"model.norm": "batch_norm", "train.micro_batch": 4}, "gradient would not be exact"),
        ({"model.name": "audsearch", "train.micro_batch": 4}, "name='audsearch', which has batch norm"),
        ({"model.name": "audsearch", "model.depthwise": True}, "depthwise=True has no effect with config.model"),
        (
            {"spectrogram.front_end": "pfann", "spectrogram.kind": "power"},
            "It belongs to nafp. Leave it at 'magnitude'",
        ),
        ({"spectrogram.mel_log": "log10"}, "no effect with config.spectrogram.front_end='nafp'. It belongs to pfann"),
        ({"model.time_strides": (2,) * 7}, "must be 7 whole numbers, one for each of config.model.time_strides"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    c = config_lib.default()
    with c.unlocked():
        c.update_from_flattened_dict(changes)
    with pytest.raises(errors.Invalid, match=message):
        config_lib.validated(c)


def test_the_registries_hold_exactly_what_may_be_chosen():
    assert models.names() == sorted(config_lib.network.ARCHITECTURES)
    assert sorted(losses.LOSSES) == sorted(config_lib.learning.LOSSES)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_configuration_is_valid_and_documented(name):
    module = importlib.import_module(f"configs.{name}")
    if name == "amg":  # The second stage has settings of its own.
        settings.validated(module.get_config())
    else:
        config_lib.validated(module.get_config())
    assert f"train --config=configs/{name}.py" in module.__doc__ or "make demo" in module.__doc__


@pytest.mark.parametrize(
    "flag, message",
    [
        ("spectrogram.waveform_norm=rsm", r"waveform_norm='rsm': allowed are none, rms, peak\. Did you mean 'rms'\?"),
        ("data.fraction=0", r"data\.fraction=0\.0: must be a number above 0 and at most 1\."),
        ("validate.lengths=(0", r"validate\.lengths="),
        ("validate.lengths=(0,)", r"validate\.lengths=\(0,\): must be one or more whole numbers of at least 1\."),
        ("train.steps=many", "train.steps"),
    ],
)
def test_train_refuses_it_with_exit_code_2_before_jax_is_loaded(flag, message, tmp_path):
    verb = ("-X", "importtime", "-m", "nafp", "train", "--config=configs/default.py", f"--workdir={tmp_path / 'run'}")
    done = subprocess.run([sys.executable, *verb, f"--config.{flag}"], cwd=ROOT, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    told = [line for line in lines if not line.startswith("import time:")]
    assert done.returncode == 2, told
    assert len(told) == 1, told
    assert re.search(message, told[0])
    assert not [line for line in lines if line.split("|")[-1].strip() == "jax"]
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections reads files so.
def test_a_value_given_on_the_command_line_arrives_in_its_type(monkeypatch):
    from absl import flags
    from ml_collections import config_flags

    given = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", None, "", flag_values=given, lock_config=True)
    line = [
        "train",
        f"--config={ROOT / 'configs' / 'default.py'}",
        "--config.train.steps=7",
        "--config.data.fraction=1",
    ]
    line += ["--config.validate.lengths=(1,3)", "--config.augment.enabled=false", "--config.optimizer.name=adam"]
    monkeypatch.setattr(sys, "argv", line)  # Where ml_collections looks for the settings that are given.
    given(line)
    c = config_lib.validated(holder.value)
    assert (c.train.steps, c.data.fraction, c.validate.lengths) == (7, 1.0, (1, 3))
    assert (c.augment.enabled, c.optimizer.name) == (False, "adam")


def test_json_keeps_every_setting():
    c = config_lib.default()
    assert config_lib.from_json(config_lib.to_json(c)) == c


def test_an_older_file_gains_newer_settings():
    old = json.loads(config_lib.to_json(config_lib.default()))
    del old["augment"]["saturation"]
    old["audio"]["hop_s"] = 0.25
    c = config_lib.from_dict(old)
    assert c.augment.saturation == config_lib.default().augment.saturation
    assert c.audio.hop_s == 0.25


def test_a_file_from_before_front_ends_means_the_same_as_today():
    old = json.loads(config_lib.to_json(config_lib.default()))
    for name in ("front_end", "maxnorm", "naf_mode", "mel_log", "spec_norm"):
        del old["spectrogram"][name]
    for name in ("time_strides", "padding", "head_norm", "epsilon"):
        del old["model"][name]
    assert config_lib.from_dict(old) == config_lib.default()


def test_an_older_file_loads_with_values_that_a_new_run_would_refuse():
    old = json.loads(config_lib.to_json(config_lib.default()))
    old["checkpoint"]["keep"] = 0
    assert config_lib.from_dict(old).checkpoint.keep == 0


def test_a_file_from_before_the_choice_says_that_lamb_scaled_all():
    old = json.loads(config_lib.to_json(config_lib.default()))
    assert config_lib.from_dict(old).optimizer.lamb_scales == "kernels"
    del old["optimizer"]["lamb_scales"]
    assert config_lib.from_dict(old).optimizer.lamb_scales == "all"


def test_an_unknown_setting_is_refused():
    with pytest.raises(AttributeError, match="dmi"):
        config_lib.default().model.dmi = 64
