"""What is removed is what was named: no name is guessed to be a number or a pattern."""

import pathlib

import pytest

from nafp import errors
from tests import databases

NAMES = (
    "/m/000004.mp3",
    "/m/01_02.mp3",
    "/m/mix [ab].opus",
    "/m/mix a.opus",
    "/m/mix b.opus",
    "/n/twice.mp3",
    "/o/twice.mp3",
)


@pytest.fixture
def opened(memory):
    opened = databases.filled(memory / "db", 0)
    with opened.writer() as writing, writing.together():
        for number in range(8):
            writing.append(f"/filler/f{number}.wav", 1.0, databases.unit(3, seed=number))
        for number, name in enumerate(NAMES):
            writing.append(name, 1.0, databases.unit(3, seed=10 + number))
    return opened.refresh()


@pytest.mark.parametrize(
    "which, name",
    [
        ("000004", "/m/000004.mp3"),
        ("01_02", "/m/01_02.mp3"),
        ("mix [ab].opus", "/m/mix [ab].opus"),
        ("/m/mix [ab].opus", "/m/mix [ab].opus"),
        ("#4", "/filler/f3.wav"),
        (4, "/filler/f3.wav"),
        ([4], "/filler/f3.wav"),
    ],
)
def test_one_name_or_number_removes_one_track(opened, which, name):
    assert opened.remove(which) == [name]
    with pytest.raises(errors.UnknownTrack):
        opened.remove(which)
    assert len(opened) == 14


@pytest.mark.parametrize(
    "which, reason",
    [
        ("12", "number 12 is /m/mix a.opus: --id=12"),
        ("mix ?.opus", "for a pattern give --glob="),
        ("twice", "could mean 2 tracks"),
        ("1_2", "no such track"),
        ("#99", "no such track"),
        ("f77.wav", "did you mean"),
    ],
)
def test_what_is_no_name_is_refused_with_what_it_could_mean(opened, which, reason):
    with pytest.raises(errors.UnknownTrack, match=reason):
        opened.remove(["f1.wav", which])
    assert len(opened) == 15


def test_patterns_are_asked_for(opened):
    assert opened.remove(glob="mix ?.opus") == ["/m/mix a.opus", "/m/mix b.opus"]
    assert len(opened.remove(["f0.wav"], glob=["/filler/*", "twice.*"])) == 10
    with pytest.raises(errors.UnknownTrack, match=r"no track .* fits"):
        opened.remove(glob="*.flac")


def test_one_path_is_one_path_in_every_call_that_takes_a_list(opened, memory, tmp_path):
    for audio in ("missing.mp3", pathlib.Path("missing.mp3"), [pathlib.Path("missing.mp3")]):
        with pytest.raises(errors.Invalid, match=r"^missing.mp3: no such"):
            opened.add(audio)
    databases.filled(memory / "other", 2).close()
    assert len(opened.merge(str(memory / "other")).added) == 2
    databases.filled(memory / "third", 2, first=50).close()
    assert len(opened.merge(memory / "third").added) == 2
