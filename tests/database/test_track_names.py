"""Tracks are named by number, name, file name, path or pattern."""

import pytest

from tests import databases


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with databases.filled(tmp_path_factory.mktemp("names") / "db", 5) as opened:
        yield opened


@pytest.mark.parametrize(
    "which, matches",
    [
        (3, ["2"]),
        ("3", ["2"]),
        ("/music/4.wav", ["4"]),
        ("4.wav", ["4"]),
        ("4", ["3"]),
        ("*/[01].wav", ["0", "1"]),
        ("0*", ["0"]),
    ],
)
def test_tracks_are_named_by_number_name_or_pattern(opened, which, matches):
    assert opened.matching(which) == [f"/music/{name}.wav" for name in matches]


def test_a_name_that_means_nothing_or_too_much_is_refused(memory):
    opened = databases.filled(memory / "db", 5)
    with opened.writer() as writing:
        writing.append("/other/4.wav", 1.0, databases.unit(4))
    with pytest.raises(KeyError, match=r"2 tracks of .* are called so"):
        opened.matching("4.wav")
    with pytest.raises(KeyError, match=r"no such track .*did you mean /music/3.wav"):
        opened.remove(["/musik/3.wav"])
    assert len(opened) == 6
