"""A file that changes while it is read is said so; one that is removed is heard to its end."""

from nafp.audio import decode
from tests import tunes


def test_a_file_that_changes_while_it_is_read_draws_a_complaint(tmp_path):
    path, complaints = tunes.write(tmp_path / "song.wav", tunes.tune(5.0)), []
    blocks = decode.stream(path, sample_rate_hz=8000, block_s=1.0, complain=complaints.append)
    next(blocks)
    with open(path, "r+b") as file:  # Its length stays.
        file.seek(300_000)
        file.write(bytes(100_000))
    list(blocks)
    assert len(complaints) == 1
    assert "changed while it was read" in complaints[0]


def test_a_file_that_is_removed_while_it_is_read_is_heard_to_its_end(tmp_path):
    path, complaints = tunes.write(tmp_path / "song.wav", tunes.tune(5.0)), []
    blocks = decode.stream(path, sample_rate_hz=8000, block_s=1.0, complain=complaints.append)
    first = next(blocks)
    path.unlink()
    assert len(first) + sum(map(len, blocks)) == 40_000
    assert complaints == []
