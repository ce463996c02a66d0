"""The report of an evaluation: a page whose pictures say the numbers of its tables, and files beside it."""

import html
import re

import numpy as np
import pytest

from evaluation.scores import distributions, evaluate, open_set, page, pictures, results, tables
from nafp import errors
from tests.evaluation.scores.conftest import write_clips
from tests.evaluation.scores.walks import run


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Returns the record and the answers of 40 known clips and two strangers."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_clips(folder)
    truth = str(folder / "expected.csv")
    run(str(folder), folder / "out", truth=truth, group=["condition", "snr"], unknown="left-out")
    return results.load(folder / "out")


@pytest.fixture(scope="module")
def text(evaluated, tmp_path_factory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "draws_files", lambda: False)
        return page.write(str(tmp_path_factory.mktemp("page")), *evaluated).read_text()


def said(text: str) -> list[str]:
    """Returns what the marks of a page say."""
    return [html.unescape(title) for title in re.findall(r'<g class="mark[^>]*><title>([^<]*)</title>', text)]


def test_a_report_is_one_page_and_its_pictures(evaluated, tmp_path):
    page.write(str(tmp_path), *evaluated)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "accept_or_reject.png",
        "hit_rate_by_condition.png",
        "hit_rate_by_length.png",
        "hit_rate_by_snr.png",
        "index.html",
        "overview.png",
        "similarity.png",
    ]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in tmp_path.glob("*.png"))


def test_without_matplotlib_there_is_the_page_alone_and_that_is_said(clips, capsys, monkeypatch):
    monkeypatch.setattr(page, "draws_files", lambda: False)
    out = clips / "page"
    run(str(clips), clips / "out", truth=str(clips / "expected.csv"), report=str(out), show=True, lengths=(3,))
    assert [path.name for path in out.iterdir()] == ["index.html"]
    assert "pip install 'nafp[plots]'" in capsys.readouterr().out


def test_a_page_loads_nothing_and_shows_each_picture_once(text):
    assert "http" not in text.replace("http-equiv", "")
    assert not re.search(r"\b(?:src|href)=", text)
    titles = re.findall(r"<figcaption><strong>([^<]+)<", text)
    assert len(titles) == len(set(titles)) == text.count("<svg ") == 12
    assert "condition = quiet" in text
    assert "bytes per second of audio" in text


def test_the_marks_of_a_page_say_every_rate(evaluated, text):
    record, _ = evaluated
    marks = said(text)
    for length, rates in record["hit_rates"].items():
        audio_s = tables.seconds(int(length), **record["audio"])
        for name, cell in rates.items():
            assert f"{pictures.LABELS[name]}, {audio_s:g} s: {pictures.said(cell)}" in marks
        for condition, of_condition in record["groups"]["condition"].items():
            words = f"{condition}, query of {audio_s:g} s: {pictures.said(of_condition[length]['song'])}"
            assert words in marks


def test_intervals_stand_below_their_rates(evaluated, text):
    cell = evaluated[0]["hit_rates"]["3"]["song"]
    low, high = 100 * cell["low"], 100 * cell["high"]
    assert f"<td>{100 * cell['rate']:.1f}<small>{low:.1f}–{high:.1f}</small></td>" in text


def test_a_page_is_the_same_each_time(evaluated, text, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "draws_files", lambda: False)
    assert page.write(str(tmp_path), *evaluated).read_text() == text


def test_few_clips_are_drawn_one_by_one_and_many_as_a_histogram(evaluated, monkeypatch):
    record, scored = evaluated
    few = distributions.both(record, scored, 5)[0]
    asked = int(scored.answers.asked[:, scored.lengths.index(5)].sum())
    unknown = len(record["open_set"]["5"]["unknown_values"]["score"])
    assert len(few.marks) == asked - 2 + unknown  # Two strangers count as unknown.
    assert not few.bars
    names = {mark.text.split(": ")[0].split(", ")[1] for mark in few.marks if mark.tone != "unknown"}
    assert names == {name.rsplit("/", 1)[1] for name in scored.questions.names[:40]}
    monkeypatch.setattr(open_set, "MOST_POINTS", 10)
    many = distributions.both(record, scored, 5)[0]
    shares = [float(re.search(r"([\d.]+) %", bar.text)[1]) for bar in many.bars if bar.tone == "right"]
    assert sum(shares) == pytest.approx(100, abs=0.1 * len(shares))


def test_dots_of_a_lane_do_not_cover_each_other():
    places = np.sort(np.random.default_rng(0).uniform(size=60))
    dots = np.array(list(zip(places, distributions._aside(places))))
    apart = np.abs(dots[:, None] - dots[None]) / distributions._DOT
    apart[np.diag_indices(len(dots))] = 1
    assert (apart.max(axis=2) > 0.999).all()


def test_a_curve_of_accept_or_reject_stays_within_its_axes(evaluated):
    panel = pictures.trade_off(evaluated[0])
    for mark in panel.marks:
        assert panel.x.low <= mark.x <= panel.x.high
        assert panel.y.low <= mark.y <= panel.y.high
    assert all(panel.y.low <= y <= panel.y.high for line in panel.lines for _, y in line.points)


@pytest.mark.parametrize("settings", [{}, {"lengths": (1,)}])
def test_bare_results_have_a_report_too(known, tmp_path, settings):
    request = evaluate.Request(store=[known], out=str(tmp_path / "o"), index="l2", show=False, ids="30", **settings)
    found = evaluate.run(request)
    shown = page._page(found, evaluate.results.load(tmp_path / "o")[1])
    assert shown.count("<svg ") >= 3


@pytest.mark.parametrize(
    "former", ["<title>nafp: hit rates</title>", '<meta name="generator" content="nafp evaluate">']
)
def test_a_report_replaces_a_report_of_any_version_and_nothing_else(tmp_path, former):
    index = tmp_path / "index.html"
    index.write_text("<title>the front page of somebody</title>")
    (tmp_path / "hit_rate_by_snr.png").write_bytes(b"\x89PNG")
    with pytest.raises(errors.Invalid, match="was not written by nafp evaluate"):
        page.require_out(str(tmp_path))
    index.write_text(former)
    page.require_out(str(tmp_path))
