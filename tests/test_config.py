"""The configuration: complete, locked, and the same after a journey through JSON."""

import importlib
import json
import pathlib

import pytest

from nafp import config as config_lib

CONFIGS = sorted(p.stem for p in (pathlib.Path(__file__).parent.parent / "configs").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_configuration_is_valid_and_documented(name):
    module = importlib.import_module(f"configs.{name}")
    config_lib.validated(module.get_config())
    assert f"nafp train --config=configs/{name}.py" in module.__doc__ or "make demo" in module.__doc__


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


def test_a_file_from_before_the_choice_says_that_lamb_scaled_all():
    old = json.loads(config_lib.to_json(config_lib.default()))
    assert config_lib.from_dict(old).optimizer.lamb_scales == "kernels"
    del old["optimizer"]["lamb_scales"]
    assert config_lib.from_dict(old).optimizer.lamb_scales == "all"


def test_an_unknown_setting_is_refused():
    with pytest.raises(AttributeError, match="dmi"):
        config_lib.default().model.dmi = 64
