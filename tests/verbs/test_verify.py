"""`nafp verify` names what is damaged, repairs it if asked, and says by its exit code whether all is whole."""

from nafp.verbs import verify
from tests import databases


def test_a_whole_database_is_called_so(tmp_path, capsys):
    opened = databases.filled(tmp_path / "db", 4)
    assert verify.run(str(opened.folder)) == verify.WHOLE
    assert f"{opened.folder}: whole; 4 tracks, 3 files, 0." in capsys.readouterr().out


def test_damage_is_named_and_repaired(tmp_path, capsys):
    opened = databases.filled(tmp_path / "db", 4)
    log = opened.folder / "fingerprints-0000.log"
    log.write_bytes(log.read_bytes()[:2000])
    assert verify.run(str(opened.folder)) == verify.DAMAGED
    assert capsys.readouterr().out.splitlines() == [
        f"{log}: the fingerprints of 3 of 4 tracks are not those written",
        *(f"damaged track: /music/{number}.wav" for number in (1, 2, 3)),
        f"{opened.folder}: 1 of 3 files damaged; the rest is whole, and answers",
    ]
    assert verify.run(str(opened.folder), repair=True) == verify.WHOLE
    assert f"repaired: 1 tracks; {opened.folder}: whole; 1 tracks" in capsys.readouterr().out
