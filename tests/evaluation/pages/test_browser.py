"""The pages in a browser: they ask for nothing, fit a phone, and say their numbers to hand, eye and ear."""

import os
import shutil

import numpy as np
import pytest

from evaluation.pages import layout, panels
from evaluation.queries import page as listening
from tests import tunes

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("CHROMIUM", shutil.which("chromium") or shutil.which("google-chrome"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="no chromium")]
SOURCE = """{% extends "page.html" %}{% from "picture.svg" import picture with context %}
{% from "table.html" import table %}{% block main %}{{ table(header, [header], caption="wide") }}
{{ picture(panel, shapes(panel), "") }}{% endblock %}"""


@pytest.fixture
def opened(tmp_path):
    """Returns a function that opens HTML in a window of some width. Its pages may not fail, nor ask for anything."""
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        troubles: list[str] = []

        def opening(text: str, *, width: int = 1000):
            (tmp_path / "page.html").write_text(text)
            window = browser.new_page(viewport={"width": width, "height": 700})
            window.on("console", lambda message: troubles.append(message.text))
            window.on("pageerror", lambda error: troubles.append(str(error)))
            window.on("request", lambda r: troubles.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
            window.goto((tmp_path / "page.html").as_uri())
            return window

        yield opening
        browser.close()
        assert troubles == []


def report(tmp_path) -> str:
    (tmp_path / "one.html").write_text(SOURCE)
    axis = panels.Axis("about", 0, 10, [(0, "0"), (10, "10")])
    marks = [panels.Mark(5, y, "right", f"mark {y}") for y in (1, 5, 9)]
    panel = panels.Panel("name", "title", "about", axis, axis, marks=marks)
    header = [f"a wide column, number {i}" for i in range(9)]
    return layout.page(tmp_path, "one.html", maker="m", title="t", scripts=["picture.js"], panel=panel, header=header)


def test_marks_say_their_numbers_to_a_pointer_to_keys_and_to_a_finger(opened, tmp_path):
    window = opened(report(tmp_path))
    picture, readout = window.locator("svg"), window.locator(".readout")
    box = window.locator("circle").nth(1).bounding_box()
    window.mouse.move(box["x"] + 1, box["y"] + 1)
    assert readout.text_content() == "mark 5"
    window.mouse.move(0, 0)
    assert readout.text_content() == ""
    picture.focus()
    said = []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home", "Escape"):
        window.keyboard.press(key)
        said.append(readout.text_content())
    assert said == ["mark 1", "mark 5", "mark 9", "mark 1", "mark 9", "mark 1", ""]
    window.locator("circle").nth(2).click()
    assert readout.text_content() == "mark 9"


def test_a_wide_table_scrolls_within_its_frame_on_a_phone_and_keeps_its_first_column(opened, tmp_path):
    window = opened(report(tmp_path), width=320)
    assert window.evaluate("document.documentElement.scrollWidth") <= 320
    window.evaluate("document.querySelector('.wide').scrollLeft = 500")
    first, last = window.locator("tbody th").bounding_box(), window.locator("tbody td").nth(1).bounding_box()
    assert first["x"] >= 0
    assert last["x"] < first["x"] + first["width"]


def test_a_click_into_a_spectrogram_plays_from_there_and_stops_the_other(opened):
    tune = tunes.tune(4, sample_rate_hz=8000, seed=1).astype(np.float32)
    clip = listening.PageClip("clip", [listening.PageSound(name, tune, 8000) for name in ("clean", "n5")])
    window = opened(listening.page([clip], title="t"))
    window.locator(".spectrogram").nth(0).click()
    window.wait_for_function("document.querySelectorAll('audio')[0].currentTime > 1")
    window.evaluate("document.querySelectorAll('audio')[1].play()")
    window.wait_for_function("document.querySelectorAll('audio')[0].paused")
    assert window.evaluate("document.querySelectorAll('audio')[1].currentTime") > 1


def test_long_names_of_sounds_stay_within_their_column(opened):
    tune = tunes.tune(1, sample_rate_hz=8000, seed=1).astype(np.float32)
    sounds = [listening.PageSound(name, tune, 8000, notes="noise " + 30 * "a_long_name_") for name in ("clean", "n5")]
    for width in (320, 1000):
        window = opened(listening.page([listening.PageClip(30 * "a_long_name_", sounds)], title="t"), width=width)
        assert window.evaluate("document.documentElement.scrollWidth") <= width
        beyond = "[...document.querySelectorAll('.sound small')].filter(one => one.scrollWidth > one.clientWidth + 1)"
        assert window.evaluate(f"{beyond}.filter(one => one.clientWidth).length") == 0
        notes = window.locator(".sound small:last-child").first
        column = window.locator(".sound").first.bounding_box()
        assert notes.bounding_box()["width"] <= column["width"] + 1
