"""The frame of every page: its policy, its colours, and what it leaves out."""

import base64
import hashlib
import pathlib
import re

import pytest

from evaluation.pages import layout, tones

ROOT = pathlib.Path(__file__).parents[3]
TEMPLATES = ROOT / "evaluation" / "pages" / "templates"
SERVED = ROOT / "nafp" / "serving" / "page" / "page.css"
TOKEN = re.compile(r"--(paper|card|ink|soft|line|accent|on-accent): (#\w+)")


@pytest.fixture(scope="module")
def text() -> str:
    return layout.page(TEMPLATES, "page.html", maker="m", title="a < b", scripts=["picture.js"])


@pytest.mark.parametrize("name", ["style", "script"])
def test_the_policy_names_what_the_page_holds(text, name):
    held = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)[1]
    sha256 = base64.b64encode(hashlib.sha256(held.encode()).digest()).decode()
    assert f"{name}-src 'sha256-{sha256}'" in text
    assert "default-src 'none'" in text


def test_nothing_in_a_page_goes_round_its_policy(text):
    for path in (ROOT / "evaluation").rglob("templates/*"):
        assert not re.search(r"\s(?:style|on\w+)=|javascript:|https?:|@import|url\(", path.read_text()), path.name
    assert "a &lt; b" in text


def luminance(colour: str) -> float:
    """Returns the relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", tones.TONES)
def test_every_tone_is_seen_on_either_paper(name):
    assert min(map(contrast, tones.TONES[name], tones.PAPER)) >= 3


def schemes(path: pathlib.Path) -> list[dict[str, str]]:
    """Returns the colours of a style sheet, light and dark, in six digits."""
    light, dark = re.findall(r":root \{(.*?)\}", path.read_text(), re.DOTALL)
    return [
        {n: c if len(c) == 7 else "#" + "".join(2 * d for d in c[1:]) for n, c in TOKEN.findall(part)}
        for part in (light, dark)
    ]


def test_letters_can_be_read_on_either_paper():
    for colours, card in zip(schemes(TEMPLATES / "page.css"), tones.PAPER):
        assert colours["card"] == card
        for ink in ("ink", "soft", "accent"):
            assert min(contrast(colours[ink], colours[paper]) for paper in ("paper", "card")) >= 4.5


def test_the_colours_are_those_of_the_page_that_is_served():
    if SERVED.exists():
        assert schemes(TEMPLATES / "page.css") == schemes(SERVED)


@pytest.mark.parametrize("n", range(1, tones.MOST_STEPS + 1))
def test_each_length_has_a_tone_of_its_own(n):
    assert len(set(tones.steps(n))) == n
