"""`nafp merge` says what was added, what was there, and what got another name."""

from nafp.database import from_databases
from nafp.verbs import merge
from tests import databases


def test_all_that_became_of_tracks_is_said():
    report = from_databases.MergeReport(["a", "b (2)"], [("c", "c"), ("d", "e")], [("b", "b (2)")])
    assert merge.described(report, "db", n_tracks=9).splitlines() == [
        "db: 2 tracks added; 9 tracks",
        "2 have the same audio as one that is there:",
        "  d: e",
        "1 renamed, because another track is called so:",
        "  b: b (2)",
    ]


def test_databases_are_put_together(tmp_path, capsys):
    into = databases.filled(tmp_path / "one", 3)
    other = databases.filled(tmp_path / "two", 3, first=2)
    assert merge.run(str(into.folder), [str(other.folder)]) == merge.DONE
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"{into.folder}: 2 tracks added; 5 tracks",
        "1 have the same audio as one that is there:",
    ]
    assert len(into) == 5
