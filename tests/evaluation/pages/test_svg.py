"""A picture says where its numbers lie, and what they are."""

import itertools
import re
import xml.etree.ElementTree as ET

import pytest

from evaluation.pages import panels, svg
from evaluation.pages.layout import _SHARED, _templates


def axis(low: float, high: float, n: int = 5) -> panels.Axis:
    return panels.Axis("about", low, high, [(low + i * (high - low) / n, f"tick {i}") for i in range(n + 1)])


def panel(**changes) -> panels.Panel:
    made = panels.Panel("name", "title", "about", axis(0, 10), axis(100, 0))
    return made._replace(**changes)


def drawn(made: panels.Panel) -> ET.Element:
    """Returns the picture as it stands in a page, read as XML."""
    source = '{% from "picture.svg" import picture with context %}{{ picture(panel, shapes(panel), "") }}'
    figure = _templates(_SHARED).from_string(source).render(panel=made)
    return ET.fromstring(figure)


def test_a_mark_lies_where_its_numbers_say():
    marks = [panels.Mark(x, y, "right", f"{x} and {y}") for x, y in ((0, 0), (10, 100), (2.5, 50))]
    first, second, third = svg.shapes(panel(marks=marks))["marks"]
    frame = svg.shapes(panel())["frame"]
    assert (first["x"], first["y"]) == (frame["left"], frame["top"])  # The y axis goes down to 100.
    assert (second["x"], second["y"]) == (frame["right"], frame["bottom"])
    part = (float(third["x"]) - float(frame["left"])) / (float(frame["right"]) - float(frame["left"]))
    assert part == pytest.approx(0.25, abs=0.001)


def test_every_mark_and_bar_says_its_numbers_and_names_are_no_markup():
    made = panel(
        marks=[panels.Mark(1, 1, "right", "<b> & 1", ((0, 1), (2, 1)))],
        bars=[panels.Bar(1, 2, 0, 5, "wrong", "five")],
        keys=[panels.Key("<i>", "right")],
    )
    titles = [title.text for title in drawn(made).iter("title")]
    assert titles == ["five", "<b> & 1"]


def test_a_picture_has_a_name_one_stop_for_the_keyboard_and_a_place_for_its_numbers():
    figure = drawn(panel(marks=[panels.Mark(1, 1, "right", "one")]))
    picture = figure.find("svg")
    assert picture.get("role") == "img"
    assert picture.get("aria-label").startswith("title.")
    assert [element.get("tabindex") for element in figure.iter() if element.get("tabindex")] == ["0"]
    assert figure.find("output") is not None


def test_ticks_that_have_no_room_lose_their_text():
    crowded = [(place, "a long text") for place in range(0, 400, 20)]
    kept = [place for place, text in svg._spaced(crowded) if text]
    assert 3 < len(kept) < len(crowded)
    assert min(b - a for a, b in itertools.pairwise(kept)) > len("a long text") * 7


def test_a_long_name_is_cut_and_its_whole_is_there():
    name = "n0~10." + 8 * "room."
    figure = drawn(panel(y=panels.Axis("", 0, 1, [(0.5, name)])))
    text = next(text for text in figure.iter("text") if text.find("title") is not None)
    assert text.text.endswith("…")
    assert text.find("title").text == name


def test_what_is_no_number_has_no_place():
    with pytest.raises(ValueError, match="no place on the axis"):
        svg.shapes(panel(marks=[panels.Mark(float("nan"), 1, "right", "")]))


def test_places_are_written_with_few_digits():
    made = svg.shapes(panel(lines=[panels.Line([(1 / 3, 200 / 3), (2 / 3, 1)], "right")]))
    assert re.fullmatch(r"M[\d.]{1,6} [\d.]{1,6}L[\d.]{1,6} [\d.]{1,6}", made["lines"][0][1])
