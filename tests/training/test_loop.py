"""The training loop: resumes to the bit, stops at a NaN, keeps the best, refuses what cannot be."""

import json
import os
import signal
import time

import jax
import numpy as np
import pytest

from nafp import config as config_lib
from nafp import errors
from nafp.jobs import threads
from nafp.training import agreement, journal, loop, step, validation
from nafp.weights import checkpoints, sources
from tests import commands, networks, quick_compiler

TINY = {
    **networks.FEW_BLOCKS,
    "model.form": "lax",  # Compiles fastest.
    "spectrogram.n_mels": 16,
    "spectrogram.n_fft": 512,
    "spectrogram.stft_hop": 500,
    "augment.context_s": 0.2,
    "augment.enabled": False,
    "loss.memory": 16,
    "optimizer.learning_rate": 1e-2,
    "optimizer.schedule": "constant",  # So that runs of any length have one program, which is compiled once.
    "train.batch_size": 16,
    "train.steps": 8,
    "train.steps_per_epoch": 4,
    "checkpoint.every_steps": 3,
    "checkpoint.keep": 1,
    "validate.tracks": 3,
    "validate.lengths": (1, 3),
    "data.read_threads": 2,
}


OFF = ("room", "microphone", "low_pass", "high_pass", "gain", "cutout", "frequency_mask")
NOISE = {"augment.enabled": True, **{f"augment.{name}.probability": 0.0 for name in OFF}}  # And no other degradation.


@pytest.fixture(scope="module")
def folder(tmp_path_factory, shipped_corpus):
    """Makes a folder for runs, with a link to the corpus."""
    made = tmp_path_factory.mktemp("loop")
    (made / "corpus").symlink_to(shipped_corpus)
    return made


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """Lets runs of one recipe share their programs: to trace them takes seconds."""
    original, recipes = step.recipe_of, {}

    def recipe_of(config, settings, **steps):
        sections = [
            config[name].to_json() for name in ("audio", "spectrogram", "augment", "model", "loss", "optimizer")
        ]
        key = (config.seed, config.train.batch_size, config.train.micro_batch, *sections)
        if key not in recipes:
            recipes[key] = original(config, settings, **steps)
        return recipes[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(step, "recipe_of", recipe_of)
        patched.setattr(step, "initial", once_a_recipe(step.initial))
        patched.setattr(agreement, "mapped", once_a_recipe(agreement.mapped))
        yield


def once_a_recipe(function):
    results = {}

    def call(recipe, **settings):
        if id(recipe) not in results:
            results[id(recipe)] = function(recipe, **settings)
        return results[id(recipe)]

    return call


def tiny(folder, **changes):
    c = config_lib.default()
    with c.unlocked():
        c.update_from_flattened_dict({**TINY, "data.corpus": str(folder / "corpus"), **changes})
    return c


def words(folder, run, **changes):
    """Returns the words of `nafp train` for a tiny run."""
    flags = {**TINY, "data.corpus": str(folder / "corpus"), **changes}
    settings = [f"--config.{name}={value}" for name, value in flags.items()]
    return ["train", "--config=configs/default.py", f"--workdir={run}", *settings]


def environment(folder):
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "NAFP_CACHE": str(folder / "cache"),
        **quick_compiler.ENVIRONMENT,  # The laws are the same.
    }


def losses(run):
    """Returns step -> loss in hexadecimal. A repeated step must repeat its loss."""
    found = {}
    for line in (run / "losses.jsonl").read_text().splitlines():
        entry = json.loads(line)
        assert found.setdefault(entry["step"], entry["hex"]) == entry["hex"]
    return found


class Torn(BaseException):
    """Ends a run without a word, as a kill does."""


def test_torn_off_between_two_checkpoints_it_resumes_to_the_bit(folder, monkeypatch):
    whole, cut, c = folder / "whole", folder / "cut", tiny(folder, **{"validate.every_epochs": 0})
    loop.train(c, str(whole))
    original = journal.RunLog.loss

    def loss(log, done, *rest):
        original(log, done, *rest)
        if done == 5:
            raise Torn

    with monkeypatch.context() as patched:
        patched.setattr(journal.RunLog, "loss", loss)
        with pytest.raises(Torn):
            loop.train(c, str(cut))
    loop.train(c, str(cut))
    assert "resumes" in (cut / "log.txt").read_text()
    are_one_run(whole, cut)


def are_one_run(whole, cut):
    assert losses(cut) == losses(whole)
    ends = [checkpoint(run) for run in (whole, cut)]
    for name, leaf in ends[0].items():
        np.testing.assert_array_equal(leaf, ends[1][name])


@pytest.mark.slow
@pytest.mark.parametrize("on_device", ["no", "yes"])
def test_killed_at_any_moment_it_resumes_to_the_bit(folder, on_device):
    """The fast test, in one process, is test_torn_off_between_two_checkpoints_it_resumes_to_the_bit."""
    whole, cut = folder / f"whole_{on_device}", folder / f"cut_{on_device}"
    changes, env = {**NOISE, "data.on_device": on_device}, environment(folder)
    assert commands.nafp(*words(folder, whole, **changes), env=env).returncode == 0
    for seen in (4, 6):  # Steps done when it is killed.
        running = commands.start(*words(folder, cut, **changes), env=env)
        running.wait_until(lambda n=seen: (cut / "losses.jsonl").exists() and len(losses(cut)) >= n)
        assert running.kill().returncode == -signal.SIGKILL
    assert commands.nafp(*words(folder, cut, **changes), env=env).returncode == 0
    told = (cut / "log.txt").read_text()
    assert "resumes" in told
    shares = max(n for n in range(1, threads.n_threads() + 1) if TINY["train.batch_size"] // 2 % n == 0)
    assert f"of 16 segments on {shares} cpu device(s)" in told  # One for each core.
    are_one_run(whole, cut)


def checkpoint(run):
    from nafp.models import network

    params = checkpoints.load(str(run), abstract_variables=network.abstract_variables).variables["params"]
    return {f"{layer}.{name}": leaf for layer, leaves in params.items() for name, leaf in leaves.items()}


class Recorder:
    """Runs `loop.train` with its parts replaced where a test needs to steer."""

    def __init__(self, monkeypatch, scores=None, losses=None):
        self.asked = 0
        if scores is not None:
            waiting = iter(scores)
            monkeypatch.setattr(validation.MiniSearch, "__call__", lambda *_: ({"score": next(waiting)}, np.eye(4)))
        if losses is not None:
            given = iter(losses)
            original = agreement.outcome

            def outcome(number, scores):
                forced = next(given)
                made = original(number, scores)
                return made._replace(scores={**made.scores, "loss": forced}, finite=np.isfinite(forced))

            monkeypatch.setattr(agreement, "outcome", outcome)


def test_a_nan_stops_the_run_and_names_the_step(folder, monkeypatch):
    Recorder(monkeypatch, losses=[1.0, 2.0, float("nan")])
    with pytest.raises(errors.NotFinite, match="step 3: loss nan"):
        loop.train(tiny(folder), str(folder / "nan"))


def test_best_and_latest_are_kept_and_patience_ends_the_run(folder, monkeypatch):
    Recorder(monkeypatch, scores=[0.3, 0.9, 0.5, 0.4, 0.2])
    c = tiny(folder, **{"train.steps": 40, "validate.patience": 2, "train.steps_per_epoch": 2})
    loop.train(c, str(folder / "patient"))
    run = folder / "patient"
    assert "no better validation in 2" in (run / "log.txt").read_text()
    kept = sorted(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit())
    assert kept == [4, 8]
    assert checkpoints.load(f"{run}@best", abstract_variables=shapes).step == 4
    assert checkpoints.load(str(run), abstract_variables=shapes).step == 8
    with pytest.raises(ValueError, match=r"no checkpoint at step 5; there are \[4, 8\]"):
        checkpoints.load(f"{run}@5", abstract_variables=shapes)
    goes_back(folder, run)


def test_a_run_whose_time_is_up_within_an_epoch_still_has_a_best_checkpoint(folder):
    run = folder / "brief"
    loop.train(tiny(folder, **{"train.minutes": 1e-6, "train.steps_per_epoch": 100, "train.steps": 100}), str(run))
    assert "config.train.minutes=1e-06 are over" in (run / "log.txt").read_text()
    _, _, step, _ = sources.read(f"{run}@best")
    assert step == 1


def test_sigterm_ends_a_run_with_a_checkpoint_and_code_75(folder, monkeypatch):
    """Ctrl-C ends it likewise, but is no reason to start again."""
    run, original = folder / "told", journal.RunLog.loss

    def train(number, step, **changes):
        def loss(log, done, *rest):
            original(log, done, *rest)
            if done == step:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(journal.RunLog, "loss", loss)
        return loop.train(tiny(folder, **{"validate.every_epochs": 0, **changes}), str(run))

    with pytest.raises(errors.StartAgain, match="terminated at step 2; the same command goes on from there") as ended:
        train(signal.SIGTERM, 1)
    assert ended.value.code == 75
    assert int(train(signal.SIGINT, 4).step) == 5
    assert int(train(signal.SIGTERM, 8).step) == 8  # Its last step was done already.
    assert list(losses(run)) == [1, 2, 3, 4, 5, 6, 7, 8]
    told = (run / "log.txt").read_text()
    assert "stopped at step 2: terminated; checkpoint at 2" in told
    assert "stopped at step 5: interrupted; checkpoint at 5" in told


def goes_back(folder, run):
    c = tiny(folder, **{"train.steps": 6, "validate.every_epochs": 0})
    loop.train(c, str(run), resume_from=4)
    assert "resumes" in (run / "log.txt").read_text()
    assert [p.name.split("-")[0] for p in (run / "set_aside").iterdir()] == ["8"]


def shapes(config):
    from nafp.models import network

    return network.abstract_variables(config)


def test_settings_that_make_it_another_experiment_are_refused(folder):
    run = folder / "other"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text(config_lib.to_json(tiny(folder)))
    with pytest.raises(ValueError, match=r"begun with other settings: model\.dim was 16, now 8"):
        loop.train(tiny(folder, **{"model.dim": 8}), str(run))
    with pytest.raises(ValueError, match=r"optimizer\.lamb_scales was kernels, now all"):
        loop.train(tiny(folder, **{"optimizer.lamb_scales": "all"}), str(run))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data.corpus": ""}, "config.data.corpus is empty"),
        ({"data.on_device": "maybe"}, "allowed are auto, yes, no"),
        ({"data.on_device": "yes", "data.pairs": "set"}, "a static set is read by the host"),
        ({"data.train_split": "trian"}, "no music in split 'trian'"),
        ({"train.batch_size": 13}, "must be even"),
        ({"train.batch_size": 18}, "do not divide among 4 devices"),
        ({"train.micro_batch": 6, "train.batch_size": 32}, "does not divide the 8 segments"),
        ({**NOISE, "augment.speech.probability": 1.0}, "has no speech in split 'train'"),
        ({"spectrogram.high_hz": 5000.0}, "half of config.audio.sample_rate_hz"),
        ({"optimizer.name": "lmab"}, "Did you mean 'lamb'"),
        ({"model.norm": "batch_norm", "train.micro_batch": 4}, "gradient would not be exact"),
    ],
)
def test_what_cannot_be_is_said_before_work_starts(folder, changes, message):
    began = time.monotonic()
    with pytest.raises(ValueError, match=message):
        loop.train(tiny(folder, **changes), str(folder / "never"))
    assert time.monotonic() - began < 5
    assert not (folder / "never").exists()


def test_a_mistyped_setting_fails_at_once_and_says_what_was_meant(folder):
    done = commands.nafp(*words(folder, folder / "typo"), "--config.train.batch_sice=640", env=environment(folder))
    assert done.returncode != 0
    assert "batch_size" in done.stderr


def test_a_run_folder_says_how_it_was_made(folder, tmp_path):
    log = journal.RunLog(tmp_path / "run", tiny(folder))
    log.say("hello")
    log.loss(1, 0.5)
    log.scalars(1, {"train/loss": 0.5})
    log.close()
    run = tmp_path / "run"
    assert config_lib.from_json((run / "config.json").read_text()) == tiny(folder)
    assert {"command", "packages", "devices", "python"} <= set(json.loads((run / "environment.json").read_text()))
    assert "hello" in (run / "log.txt").read_text()
    assert float.fromhex(losses(run)[1]) == 0.5
    assert any("tfevents" in path.name for path in (run / "tensorboard").iterdir())


def test_a_sequence_is_found_where_its_diagonal_is():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((12, 16))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    track = np.repeat([0, 1], 6)
    assert validation.top1(z @ z.T, track, n_segments=1) == 1.0
    assert validation.top1(z @ z.T, track, n_segments=3) == 1.0
    swapped = z[np.r_[6:12, 0:6]]
    assert validation.top1(swapped @ z.T, track, n_segments=3) == 0.0
    assert np.isnan(validation.top1(z @ z.T, track, n_segments=7))


def test_a_run_begins_with_the_parameters_of_another(folder, tmp_path):
    networks.write_run(tmp_path / "first", tiny(folder), {2: None})
    again = {"train.steps": 1, "validate.every_epochs": 0, "optimizer.learning_rate": 0.0}
    begun = tiny(folder, **{**again, "train.begin_from": str(tmp_path / "first")})
    loop.train(begun, tmp_path / "second")
    there, here = (sources.read(str(tmp_path / name))[0] for name in ("first", "second"))
    jax.tree.map(np.testing.assert_array_equal, there, here)


def test_a_run_does_not_begin_with_another_network(folder, tmp_path):
    wider = tiny(folder, **{"train.begin_from": "small"})
    with pytest.raises(ValueError, match=r"begin_from='small'.*model.channels.*Give this run"):
        loop.train(wider, tmp_path / "run")
    assert not (tmp_path / "run").exists()
