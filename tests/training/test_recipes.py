"""Every recipe trains: the shipped configurations, shrunk, on the recordings of the repository."""

import importlib
import json
import math

import jax
import numpy as np
import pytest

from nafp import config as config_lib
from nafp import errors
from nafp.corpora import corpus
from nafp.models import network
from nafp.training import augment, data, loop, pipeline, resident, sounds, step

RECIPES = {
    "original": (),
    "original:120": ("120",),
    "now_playing": (),
    "pfann": (),
    "benchmark": (),
    "benchmark:no_cut_off": ("no_cut_off",),
    "audsearch": (),
    "song_mine": (),
}


@pytest.mark.parametrize(("recipe", "choice"), [("benchmark", "cutoff"), ("original", "large"), ("original", "²")])
def test_a_choice_that_a_recipe_does_not_have_is_refused(recipe, choice):
    with pytest.raises(errors.Invalid, match=f"={choice!r}: "):
        importlib.import_module(f"configs.{recipe}").get_config(choice)


CHANNELS = (4, 4, 8, 8, 8, 8, 16, 16)


def shrunk(recipe, folder, *, n_blocks=2, **changes):
    """Returns a shipped recipe for small batches and the first blocks of a narrow network. Nothing else is changed."""
    c = importlib.import_module(f"configs.{recipe.split(':')[0]}").get_config(*RECIPES[recipe])
    with c.unlocked():
        if c.model.name == "nafp":
            c.model.channels, c.model.time_strides = CHANNELS[:n_blocks], c.model.time_strides[:n_blocks]
        else:
            c.model.channels = tuple(channels // 32 for channels in c.model.channels[:n_blocks])
        c.model.dim, c.model.head_hidden = c.model.channels[-1], 4
        c.train.batch_size = 8 * (1 + c.augment.replicas)
        c.train.steps = 2
        c.data.corpus, c.data.read_threads = str(folder), 2
        c.validate.every_epochs = 0
        c.update_from_flattened_dict(changes)
    return config_lib.validated(c)


@pytest.mark.slow
@pytest.mark.parametrize("on_device", ["no", "yes"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_two_steps(shipped_corpus, tmp_path, recipe, on_device):
    """The fast test is test_every_recipe_opens_its_data_and_its_step_fits_together."""
    c = shrunk(recipe, shipped_corpus, n_blocks=8, **{"data.on_device": on_device})
    loop.train(c, str(tmp_path / "run"))
    lines = (tmp_path / "run" / "losses.jsonl").read_text().splitlines()
    losses = [float.fromhex(json.loads(line)["hex"]) for line in lines]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=pytest.mark.slow if ":" in name else ()) for name in RECIPES]
)
def test_every_recipe_opens_its_data_and_its_step_fits_together(shipped_corpus, recipe):
    """Traces the step with a batch of the pipeline of hosts, and compiles nothing.

    A device reads batches of the same shapes, so that the rest of its step is the same.
    """
    c = shrunk(recipe, shipped_corpus)
    settings = augment.settings(audio=c.audio, augment=c.augment)
    made = step.recipe_of(c, settings, total_steps=2, epoch_steps=2)
    n_mels, n_frames = network.mel_shape(c)
    state = jax.eval_shape(lambda: step.initial(made, n_mels=n_mels, n_frames=n_frames))
    by_host, by_device = (
        data.open_data(shrunk(recipe, shipped_corpus, **{"data.on_device": where}), settings) for where in ("no", "yes")
    )
    batch, numbers = next(by_host.stream), next(by_device.stream)
    traced(made, state, batch, by_host.banks)
    read = jax.eval_shape(
        lambda recordings, some: resident.read(settings, recordings, step.keys_of(c.seed, some["position"]), some),
        by_device.banks.recordings,
        numbers,
    )
    assert sizes(read) == sizes(batch)
    assert sizes(by_device.banks._replace(recordings=None)) == sizes(by_host.banks)
    assert by_host.epoch == by_device.epoch


def traced(made, state, batch, banks):
    one = jax.tree.map(lambda x: np.asarray(x)[None], (batch, banks))
    mapped = jax.vmap(lambda *given: step.train_step(made, *given), in_axes=(None, 0, 0), axis_name=step.AXIS)
    after, scores = jax.eval_shape(mapped, state, *one)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert scores["loss"].shape == (1,)


def sizes(tree):
    return jax.tree.map(lambda x: (np.shape(x), np.dtype(getattr(x, "dtype", type(x)))), tree)


def test_rooms_and_microphones_are_one_bank_of_short_responses(shipped_corpus):
    c = shrunk("original", shipped_corpus)
    settings = augment.settings(audio=c.audio, augment=c.augment)
    source = corpus.Corpus.open(str(shipped_corpus))
    banks = sounds.Sounds(source, settings, -60.0).banks("train")
    kinds = [len(source.select(kind=kind, split="train")) for kind in ("room", "microphone")]
    assert banks.microphones is None
    assert (banks.rooms.spectra.shape, banks.rooms.n_samples) == ((sum(kinds), 4001), 600)
    assert sounds.Sounds(source, settings, -60.0).lacking("train") == []


def test_a_circular_response_needs_an_even_number_of_samples(shipped_corpus):
    c = shrunk("original", shipped_corpus, **{"augment.context_s": 0.125125})
    settings = augment.settings(audio=c.audio, augment=c.augment)
    with pytest.raises(errors.Invalid, match="which must be an even number"):
        sounds.Sounds(corpus.Corpus.open(str(shipped_corpus)), settings, -60.0).banks("train")


def test_one_window_a_track_makes_short_epochs(shipped_corpus):
    c = shrunk("benchmark", shipped_corpus)
    opened = data.open_data(c, augment.settings(audio=c.audio, augment=c.augment))
    assert opened.epoch == len(np.unique(opened.windows.track)) < len(opened.windows.start)
    starts = (
        opened.windows.start
        - np.array([t.first_sample for t in corpus.Corpus.open(str(shipped_corpus)).tracks])[opened.windows.track]
    )
    assert (starts % 8000 == 0).all()


@pytest.mark.parametrize("is_masked", [True, False])
def test_music_of_one_track_is_warned_of(shipped_corpus, monkeypatch, is_masked):
    cut = pipeline.windows

    def of_one_track(*given, **settings):
        windows = cut(*given, **settings)
        return windows._replace(track=np.zeros_like(windows.track))

    c = shrunk("original", shipped_corpus, **{"loss.mask_same_track": is_masked})
    settings = augment.settings(audio=c.audio, augment=c.augment)
    assert not [note for note in data.open_data(c, settings).notes if "one track" in note]
    monkeypatch.setattr(pipeline, "windows", of_one_track)
    warned = [note for note in data.open_data(c, settings).notes if "one track" in note]
    assert len(warned) == is_masked
