"""What may be rendered from is found among files that cannot be read, and names that are there twice."""

import pytest

from evaluation.queries import material
from nafp import errors
from nafp.audio import decode
from tests import tunes


def test_a_file_that_states_no_length_and_gives_no_sound_costs_no_other(tmp_path, monkeypatch, caplog):
    def measured_s(path):
        if path.endswith("bad.wav"):
            raise errors.Undecodable(path, "no sound in it")
        return 2.0

    for name in ("good", "bad"):
        tunes.write(tmp_path / f"{name}.wav", tunes.tune(2.0, sample_rate_hz=8000), 8000)
    monkeypatch.setattr(decode, "probe", lambda path: decode.Info(0.0, 8000, 1))
    monkeypatch.setattr(decode, "measured_s", measured_s)
    opened = material.Material(tmp_path)
    assert [material.stem(piece.name) for piece in opened.pieces] == ["good"]
    assert [failure.reason for failure in opened.failures] == ["no sound in it"]
    assert "bad.wav: no sound in it" in caplog.text


def test_names_that_are_not_unique_are_found_among_many(tmp_path):
    tunes.write(tmp_path / "a.wav", tunes.tune(2.0, sample_rate_hz=8000), 8000)
    source = material.Material(tmp_path)
    pieces = [source.pieces[0]._replace(name=f"/{i % 30_000}/{i % 49_999}.wav") for i in range(50_000)]
    with pytest.raises(errors.Invalid, match="1 names are not unique, such as 0"):
        material.require_unique(source, pieces)
