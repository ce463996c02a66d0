"""A static training set takes any name of a file, and says what it cannot continue."""

import csv

import numpy as np
import pytest

from nafp import errors
from nafp.corpora import spectrogram_pairs, static_pairs


def test_a_recording_whose_name_is_no_text_finishes_the_set(tmp_path):
    name = "/music/caf\udce9.wav"  # Latin-1, as an old disk has it.
    writer = static_pairs.PairsWriter(tmp_path / "set", {"variants": 1, "sample_rate_hz": 8000})
    samples = np.arange(8000, dtype=np.int16)
    writer.append(samples, [samples[::-1]])
    writer.close_track(0, path=name, split="train", details=[{"condition": "n5"}])
    writer.finish()
    pairs = static_pairs.Pairs(tmp_path / "set")
    assert [track.path for track in pairs.corpus.tracks] == [name]
    np.testing.assert_array_equal(pairs.variants[0][:8000], samples[::-1])
    with open(tmp_path / "set" / static_pairs.DETAILS, encoding="utf-8", errors="surrogateescape") as file:
        assert [row["track"] for row in csv.DictReader(file)] == [name]


@pytest.mark.parametrize("name", ["song.npy", "song_x.npy", "song_².npy"])
def test_a_pair_of_spectrograms_whose_name_has_no_second_is_refused(tmp_path, name):
    folder = tmp_path / "train_set"
    folder.mkdir()
    np.save(folder / name, np.zeros((2, 4, 3), np.float32))
    with pytest.raises(errors.Invalid, match="the name of a pair is SONG_SECOND"):
        spectrogram_pairs.SpectrogramPairs(tmp_path, split="train")
