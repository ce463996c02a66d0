"""A wrong command line ends every verb with exit code 2 and one line that says what to do, before work starts."""

import logging
import sys

import pytest

from launch import exits
from nafp import cli
from tests import commands

TRAIN = ("train", "--config=configs/demo.py", "--workdir=run")


@pytest.mark.parametrize("verb", cli.available())
def test_a_mistyped_flag_ends_every_verb_with_one_line_and_code_2(verb):
    done = commands.nafp(verb, "--no_such_flag=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"nafp {verb}: Unknown command line flag 'no_such_flag'")
    assert done.stderr.endswith(f"; nafp {verb} --help lists the flags\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words, message",
    [
        ((*TRAIN, "--config.train.btch_size=8"), "--config has no setting 'btch_size'. Did you mean \"batch_size\""),
        ((*TRAIN, "--config.nope.x=1"), "--config has no setting 'nope'"),
        ((*TRAIN, "--config.train.batch_size=many"), "flag --config.train.batch_size=many: invalid literal"),
        (("train", "--config=configs/none.py", "--workdir=run"), "--config=configs/none.py: no such configuration"),
        (
            ("train", "--config=configs/none.py", "--workdir=run", "--config.seed=1"),
            "--config=configs/none.py: no such configuration",
        ),
        (
            ("train", "--config=tests/recordings/RECORDINGS.csv", "--workdir=run", "--config.seed=1"),
            "no configuration in Python: invalid decimal literal",
        ),
        (("train",), "--config and --workdir must be given"),
        ((*TRAIN, "now"), "unexpected arguments ['now']"),
        (("extract",), "--checkpoint and --source and --out must be given"),
        (("export", "--checkpoint=small", "--out=x", "--format=zip"), "flag --format=zip: value should be one of"),
        (("evaluate",), "--out must be given"),
        (("compare", "one"), "give two results or more"),
        (("queries", "rendr", "--out=x"), "render, pairs, listen"),
        (("identify",), "name a database"),
        (("identify", "DB", "clip.wav", "--probability=2"), "flag --probability=2"),
        (("identify", "DB", "clip.wav", "--probability=nan"), "--probability=nan: a number is needed"),
        (("identify", "DB", "clip.wav", "--raw_hz=16000"), "--raw_hz is the rate of standard input"),
        (("identify", "DB", "clip.wav", "--name=db"), "--name names parts of a --store"),
        (("identify", "DB", "clip.wav", "--all", "--probability=0.9"), "--probability is left out with --all"),
        (("monitor", "DB", "set.wav", "--raw_hz=16000"), "--raw_hz is the rate of standard input"),
        (("monitor", "DB", "set.wav", "--name=db"), "--name names parts of a --store"),
        (("compare", "a", "b", "--songs=list.txt"), "--songs belongs to --train"),
        (("index", "STORE", "-m", "32", "--metric=ip", "--out=x"), "--metric is l2 in song_mine's index"),
        (("evaluate", "--store=S", "--checkpoint=small", "--out=x"), "--checkpoint belongs to --protocol"),
        (("evaluate", "--protocol=robustness", "--answers=a.csv", "--out=x"), "--answers scores a file"),
        (("evaluate", "--store=S", "--matcher=vote", "--sharpness=2", "--out=x"), "knows no --sharpness"),
        (("add", "DB"), "name a database and what to put into it"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(words, message):
    done = commands.nafp(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"nafp {words[0]}: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def look_for_devices() -> None:
    """Runs a command whose JAX finds no TPU, as on most machines."""
    sys.argv = ["launch/serve.py"]
    exits.run(lambda argv: logging.getLogger("jax._src.xla_bridge").info("Unable to initialize backend 'tpu'"))


def test_the_devices_that_a_machine_lacks_are_not_listed():
    done = commands.started(look_for_devices).wait()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
