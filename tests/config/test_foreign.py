"""Configuration files of other systems are read as they are, key by key, and nothing in them is dropped in silence."""

import importlib
import json
import pathlib
import re

import pytest
import yaml

from nafp import config as config_lib
from nafp import errors
from nafp.config import foreign
from tests import commands

FILES = pathlib.Path(__file__).parent / "files"


def shipped(name, *choice):
    return importlib.import_module(f"configs.{name}").get_config(*choice)


@pytest.mark.parametrize(
    "file, recipe", [("pfann.json", "pfann"), ("original.yaml", "original"), ("benchmark.json", "benchmark")]
)
def test_a_systems_own_file_is_the_recipe_that_we_ship_for_it(file, recipe):
    assert foreign.read(str(FILES / file)).config.to_dict() == shipped(recipe).to_dict()


@pytest.mark.parametrize("file", ["pfann.json", "original.yaml", "benchmark.json"])
def test_every_key_of_a_file_is_named_once_with_what_it_means(file):
    text = (FILES / file).read_text()
    tree = json.loads(text) if file.endswith("json") else yaml.safe_load(text)
    notes = foreign.read(str(FILES / file)).notes
    named = [re.split("[=:]", note)[0] for note in notes]
    assert len(named) == len(set(named))
    for key, value in tree.items():
        names = [f"{key}.{inner}" for inner in value] if isinstance(value, dict) else []
        assert key in named or (names and set(names) <= set(named)), key
    assert all(re.search(r": (config\.|ignored\. |as nafp does it|\w)", note) for note in notes)
    config_lib.validated(foreign.read(str(FILES / file)).config)


def edited(tmp_path, file, change):
    """Writes a copy of a file after `change` of its tree, and returns its path."""
    is_json = file.endswith("json")
    tree = (json.loads if is_json else yaml.safe_load)((FILES / file).read_text())
    change(tree)
    path = tmp_path / file
    path.write_text(json.dumps(tree) if is_json else yaml.safe_dump(tree))
    return str(path)


def test_the_sections_of_the_benchmarks_yaml_choose_loss_network_and_filters(tmp_path):
    path = edited(tmp_path, "benchmark.yaml", lambda tree: tree["Model"].update(model_str="fingerprinter"))
    c = foreign.read(path).config
    assert (c.loss.name, c.loss.alpha_deg, c.loss.miner_deg) == ("angular", 45.0, 15.0)
    assert (c.optimizer.name, c.optimizer.eps, c.augment.low_pass.probability) == ("adam", 1e-8, 0.0)
    assert c.train.batch_size == 512
    config_lib.validated(c)


def test_pfanns_small_network_and_lamb(tmp_path):
    def change(tree):
        tree["model"] = {"d": 64, "h": 1024, "u": 32, "fuller": False, "conv_activation": "ELU", "relu_after_bn": False}
        tree.update(optimizer="lamb", shuffle_size=None, pad_start=1, naf_mode=True, mel_log="log10")
        tree["noise"].update(snr_min=10000, snr_max=10000)
        tree["air"]["train"] = ""

    c = foreign.read(edited(tmp_path, "pfann.json", change)).config
    assert c.model.channels == (64, 64, 128, 128, 256, 256, 1024, 1024)
    assert (c.model.dim, c.model.depthwise, c.model.activation_order) == (64, True, "before_norm")
    assert (c.optimizer.name, c.optimizer.norm_clamp, c.optimizer.bias_correction) == ("lamb", 1e3, "step")
    assert (c.data.shuffle_tracks, c.augment.context_s) == (0, 1.0)
    assert (c.augment.noise.probability, c.augment.room.probability) == (0.0, 0.0)
    assert (c.spectrogram.naf_mode, c.spectrogram.mel_log) == (True, "log10")
    config_lib.validated(c)


def test_now_playing_of_the_original_is_the_recipe_that_we_ship_for_it(tmp_path):
    def change(tree):
        tree["BSZ"].update(TR_BATCH_SZ=320, TR_N_ANCHOR=64)
        tree["TRAIN"].update(OPTIMIZER="Adam")
        tree["LOSS"].update(LOSS_MODE="Online-Triplet", MARGIN=0.4)
        tree["DEVICE"] = {}

    assert foreign.read(edited(tmp_path, "original.yaml", change)).config == shipped("now_playing")


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("pfann.json", {"epochs": 5}, r"epochs=5: pfann has no such key\. Did you mean 'epoch'"),
        ("benchmark.json", {"feature": "fbanks"}, "feature='fbanks': fbanks are for the BEATs transformer"),
        (
            "benchmark.json",
            {"model_str": "transformer"},
            "model_str='transformer': allowed are fingerprinter, audsearch",
        ),
        ("original.yaml", {"LOSS": {"LOSS_MODE": "ArcFace"}}, r"LOSS\.LOSS_MODE='ArcFace': allowed are ntxent"),
        ("original.yaml", {"TRAIN": {"LR": "fast"}}, r"TRAIN\.LR='fast': could not convert"),
        ("original.yaml", {"BSZ": {"TR_BATCH_SZ": 120, "TR_N_ANCHOR": 0}}, r"BSZ\.TR_N_ANCHOR=0: is not a value"),
        ("original.yaml", {"SPEC_AUG": {"SPECAUG_HOLE_FILL": []}}, r"SPECAUG_HOLE_FILL=\[\]: is not a value"),
        ("pfann.json", {"lr": 0}, "lr=0: is not a value that this key can have"),
        ("pfann.json", {"sample_rate": 1e999}, "sample_rate=inf: is not a value"),
    ],
)
def test_what_nafp_has_nothing_for_is_refused_in_one_line(tmp_path, file, change, message):
    path = edited(tmp_path, file, lambda tree: tree.update(change))
    with pytest.raises(errors.Invalid, match=message) as refused:
        foreign.read(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("empty.json", "{}", "has no key by which nafp knows a configuration of pfann, the original, the benchmark"),
        ("torn.json", '{"lr": ', "torn.json: is not JSON"),
        ("torn.yaml", "a: [1, ", "torn.yaml: is not YAML"),
        ("list.yaml", "- 1", "holds no settings by name"),
        ("deep.json", "[" * 100_000, "deep.json: is not JSON"),
    ],
)
def test_a_file_of_nobody_is_refused_in_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(errors.Invalid, match=message) as refused:
        foreign.read(str(tmp_path / name))
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(errors.NotFound, match="no such configuration file"):
        foreign.read(str(tmp_path / "none.json"))
    with pytest.raises(errors.Invalid, match="cannot be read: Is a directory"):
        foreign.read(str(tmp_path))


@pytest.mark.parametrize("words", [["--config={}"], ["--config", "{}"]])
def test_train_reads_the_file_says_what_its_keys_mean_and_takes_our_settings_above_it(words, tmp_path):
    given = [word.format(FILES / "pfann.json") for word in words]
    settings = ["--config.train.batch_size=7", f"--workdir={tmp_path / 'run'}"]
    done = commands.nafp("train", *given, *settings)
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert lines[0].endswith("pfann.json is a configuration of pfann:")
    assert "  tau=0.05: config.loss.temperature=0.05" in lines
    assert any(line.startswith("  cache_dir='caches': ignored. The corpus is the cache.") for line in lines)
    assert lines[-1].startswith("nafp train: config.train.batch_size=7: counts anchors and replicas")
