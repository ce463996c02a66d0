"""The page to listen to: one file with exactly the sound that is rendered, or trained on."""

import base64
import io
import pathlib
import re
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from evaluation.queries import material, rendering, verbs
from evaluation.queries import page as listening
from nafp import config as config_lib
from nafp.audio import decode
from nafp.corpora import corpus, manifest
from tests import commands, tunes

RATE_HZ = 8000


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> pathlib.Path:
    """Writes two tracks and a noise of each split, and returns their manifest."""
    folder, rows = tmp_path_factory.mktemp("place"), []
    for split in ("train", "test"):
        for i in range(2):
            tune = tunes.tune(6, sample_rate_hz=RATE_HZ, seed=i)
            path = tunes.write(folder / f"{split}{i}.wav", tune, RATE_HZ)
            rows.append(manifest.Track(str(path), kind="music", split=split))
        noise = np.random.default_rng(0).normal(size=20000) / 10
        path = tunes.write(folder / f"noise-{split}.wav", noise, RATE_HZ)
        rows.append(manifest.Track(str(path), kind="noise", split=split))
    manifest.write(folder / "tracks.csv", rows)
    return folder / "tracks.csv"


def held(page: str, kind: str) -> list[bytes]:
    """Returns the sounds, or the pictures, that a page holds."""
    return [base64.b64decode(data) for data in re.findall(f"data:{kind};base64,([^\"']+)", page)]


def test_a_page_holds_the_very_sound_that_is_rendered(place, tmp_path):
    names = ["clean", "n5", "n0~10.band"]
    source = material.Material(place)
    rows = rendering.render(source, source, tmp_path / "q", names=names, count=2, seconds=2, seed=3)
    clips = listening.of_conditions(source, source, split="test", names=names, count=2, seconds=2, seed=3)
    page = listening.page(clips, title="t")
    sounds = held(page, "audio/wav")
    assert len(sounds) == len(rows) == 6
    for sound, row in zip(sounds, rows, strict=True):
        (tmp_path / "held.wav").write_bytes(sound)
        heard = decode.load(tmp_path / "held.wav", sample_rate_hz=RATE_HZ)
        there = decode.load(tmp_path / "q" / row["query"], sample_rate_hz=RATE_HZ)
        np.testing.assert_array_equal(heard, there)


def test_a_page_needs_nothing_but_itself(place, tmp_path):
    out = tmp_path / "pages" / "page.html"
    request = verbs.QueriesRequest(source=str(place), out=str(out), conditions=["n5"], count=1, seconds=2.0, show=False)
    assert verbs.listen(request) == str(out)
    page = out.read_text()
    assert len(held(page, "audio/wav")) == len(held(page, "image/png")) == 2
    outside = re.sub(r'"data:[^"]+"', '""', page)
    assert not re.findall(r"(?:src|href)=[\"'](?!\")[^\"']+", outside)
    assert "http" not in outside.replace("http-equiv", "")
    assert str(place.parent) not in page  # Who shares a page does not share the folders of the machine.


def test_what_happened_is_said_and_names_are_no_markup():
    sound = np.zeros(RATE_HZ, "f4")
    version = listening.PageSound("<b>", sound, RATE_HZ, "noise a&b")
    page = listening.page([listening.PageClip("x < y", [version])], title="t", about="one\ntwo")
    assert "&lt;b&gt;" in page
    assert "noise a&amp;b" in page
    assert "x &lt; y" in page
    assert "<p>one</p>\n<p>two</p>" in page


def test_a_spectrogram_shows_a_tone_where_it_is():
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * RATE_HZ) / RATE_HZ).astype("f4")
    levels = listening.spectrogram(tone, sample_rate_hz=RATE_HZ)
    hz = np.geomspace(60, RATE_HZ / 2, len(levels))
    loudest = hz[levels[:, levels.shape[1] // 2].argmax()]
    assert loudest == pytest.approx(1000, rel=0.05)
    picture = matplotlib.image.imread(io.BytesIO(listening.png(levels)), format="png")
    assert picture.shape[:2] == levels.shape
    brightness = picture[..., :3].sum(axis=2)[:, levels.shape[1] // 2]
    assert hz[::-1][brightness.argmax()] == pytest.approx(1000, rel=0.05)  # High frequencies are on top.


@pytest.mark.parametrize("n", [1, 300, 8000])
def test_short_and_silent_sounds_are_drawn_too(n):
    assert listening.png(listening.spectrogram(np.zeros(n, "f4"), sample_rate_hz=RATE_HZ))


def test_a_sound_that_would_clip_is_turned_down(tmp_path):
    loud = np.array([0.0, 2.0, -1.0, 0.5], "f4")
    (tmp_path / "loud.wav").write_bytes(listening.wav(loud, sample_rate_hz=RATE_HZ))
    heard = decode.load(tmp_path / "loud.wav", sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(heard, loud / 2, atol=1e-4)


def test_settings_stand_in_tables_by_the_names_that_set_them():
    settings = {"enabled": True, "fill": "", "noise": {"weights": (50, 30), "low_db": -2.5, "inner": {"x": None}}}
    sections = listening.settings_tables(settings, name="config.augment")
    assert sections == [
        ("config.augment", [("enabled", "yes"), ("fill", "–")]),
        ("config.augment.noise", [("weights", "50, 30"), ("low_db", "-2.5")]),
        ("config.augment.noise.inner", [("x", "–")]),
    ]
    page = listening.page([], title="t", settings=sections)
    assert '<th scope="row">weights</th><td>50, 30</td>' in page
    assert "{&#34;" not in page


def test_a_training_example_is_headed_by_the_name_of_its_track():
    sound, mel = np.zeros(RATE_HZ, "f4"), np.zeros((256, 32), "f4")
    example = ("/home/somebody/music/night train.flac", sound, sound, mel, mel)
    clips = listening.from_training([example], sample_rate_hz=RATE_HZ, segment_s=1.0)
    assert [clip.title for clip in clips] == ["night train"]


def tiny(folder, **changes):
    c = config_lib.default()
    off = {f"augment.{n}.probability": 0.0 for n in ("room", "microphone", "low_pass", "high_pass")}
    with c.unlocked():
        c.update_from_flattened_dict({"data.corpus": str(folder), **off, **changes})
    return c


@pytest.mark.usefixtures("quick_compiler")
def test_training_is_heard_as_its_configuration_says(place, tmp_path):
    from nafp.training import listening as training

    made = corpus.build(manifest.read(place), tmp_path / "corpus", jobs=0)
    changes = {"augment.offset_s": 0.0, "augment.gain.probability": 0.0}
    changes |= {"augment.noise.low_db": 7.0, "augment.noise.high_db": 7.0}
    drawn = training.examples(tiny(tmp_path / "corpus", **changes), count=2, seconds=3.0)
    assert len(drawn) == 2
    for example in drawn:
        assert "train" in example.track
        track = next(track for track in made.tracks if track.path == example.track)
        places = np.lib.stride_tricks.sliding_window_view(made.audio(track), 3 * RATE_HZ)[::4000]
        errors = np.abs(decode.to_float(places) - example.clean).max(axis=1)
        assert errors.min() < 1e-6
        ratio = np.square(example.clean).mean() / np.square(example.degraded - example.clean).mean()
        assert 10 * np.log10(ratio) == pytest.approx(7.0, abs=0.05)
        assert example.clean_mel.shape == example.degraded_mel.shape == (256, 32)
        assert (
            example.degraded_mel == example.degraded_mel.min()
        ).mean() > 0.01  # Training masks parts of the spectrogram.
    clips = listening.from_training(drawn, sample_rate_hz=RATE_HZ, segment_s=1.0)
    assert len(held(listening.page(clips, title="t"), "audio/wav")) == 8


def test_what_cannot_be_listened_to_is_said(place, tmp_path):
    cases: list[tuple[dict[str, Any], str]] = [
        ({"out": str(tmp_path)}, "the page is one file"),
        ({"source": None}, "--source=CORPUS"),
        ({"split": ["test", "val"]}, "one split"),
        ({"conditions": ["room"]}, "no room of split test"),
    ]
    for changes, match in cases:
        settings = {"source": str(place), "out": str(tmp_path / "p.html"), "conditions": ["n5"], **changes}
        with pytest.raises(ValueError, match=match):
            verbs.listen(verbs.QueriesRequest(**settings))


def test_a_verb_that_is_not_there_names_those_that_are():
    done = commands.nafp("queries", "rendre", "--out=x")
    assert done.returncode != 0
    assert "render, pairs, listen" in done.stderr + done.stdout


def test_a_recording_whose_name_is_no_text_is_shown_as_an_escape(tmp_path):
    sound = listening.PageSound("clean", np.zeros(800, np.float32), 8000)
    listening.write(tmp_path / "page.html", [listening.PageClip("caf\udce9, from 1.0 s", [sound])], title="t")
    assert "caf\\udce9, from 1.0 s" in (tmp_path / "page.html").read_text(encoding="utf-8")
