import contextlib
import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest

from nafp import errors
from nafp.audio import decode, loudness
from nafp.corpora import corpus, manifest
from tests import tunes
from tests.corpora.conftest import scanned


def test_every_track_is_there_as_it_decodes(audio, built):
    assert [track.path for track in built.tracks] == [track.path for track in scanned(audio)]
    for track in built.select(kind="music"):
        expected = decode.to_int16(decode.load(track.path, sample_rate_hz=8000))
        np.testing.assert_array_equal(built.audio(track), expected)
        number = int(pathlib.Path(track.path).stem)
        assert built.seconds(track) == pytest.approx(3.0 + number / 3, abs=0.1)


def test_responses_peak_at_full_scale(built):
    for kind in ("room", "microphone"):
        (track,) = built.select(kind=kind)
        assert np.abs(built.audio(track).astype(int)).max() >= 32767


def test_tracks_are_told_apart_by_kind_split_and_group(built):
    assert len(built.select()) == 7
    assert len(built.select(kind="music", split="train")) == 3
    assert len(built.select(kind="music", split="train,test")) == 5
    assert len(built.select(split="train", group="room/train")) == 1
    assert built.select(kind="speech") == []
    assert "music train 3 (" in built.summary()


def test_tracks_start_on_cells_with_silence_before_the_next(built):
    end = 0
    for track in built.tracks:
        assert track.first_sample == -(-end // 4000) * 4000
        assert not built.samples[end : track.first_sample].any()
        end = track.first_sample + track.n_samples
    assert len(built.samples) == -(-end // 4000) * 4000


def test_loudness_is_the_rms_of_every_half_second(built):
    cells = built.samples.reshape(-1, 4000).astype(np.float64)
    rms = np.sqrt(np.mean(cells**2, axis=1)) / 32768
    expected = 20 * np.log10(np.maximum(rms, 1e-6))
    assert built.loudness.dtype == np.float16
    np.testing.assert_allclose(built.loudness, expected, atol=0.05)


def test_windows_have_the_loudness_of_their_cells(built):
    first = np.arange(0, len(built.samples) - 8000, 4000)
    found = loudness.WindowLoudness(built.loudness, cell=4000).db(first, n_samples=8000)
    power = np.square(decode.to_float(built.samples)).astype(np.float64)
    expected = [10 * np.log10(max(power[at : at + 8000].mean(), 1e-12)) for at in first]
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_a_corpus_is_pickled_by_its_folder(built):
    data = pickle.dumps(built)
    assert len(data) < 500
    assert pickle.loads(data).tracks == built.tracks


def joined(source):
    return np.concatenate(list(source.blocks()))


def test_a_corpus_a_folder_a_list_and_a_file_give_the_same_sources(built, audio, tmp_path):
    paths = [track.path for track in built.select(kind="music")]
    (tmp_path / "list.txt").write_text("# my music\n\n" + "\n".join(paths) + "\n")
    manifest.write(tmp_path / "tracks.csv", [manifest.Track(path) for path in paths])
    for place in (built.folder, audio / "music", tmp_path / "list.txt", tmp_path / "tracks.csv"):
        found = corpus.sources(place, sample_rate_hz=8000, block_s=0.7)
        assert [source.name for source in found] == paths
        for source in found:
            expected = decode.load(source.name, sample_rate_hz=8000)
            np.testing.assert_allclose(joined(source), expected, atol=1 / 32768)
            assert source.seconds == pytest.approx(len(expected) / 8000, abs=0.1)
            assert all(block.dtype == np.float32 for block in source.blocks())
            pickle.loads(pickle.dumps(source))
    (one,) = corpus.sources(paths[0], sample_rate_hz=8000)
    np.testing.assert_array_equal(joined(one), decode.load(paths[0], sample_rate_hz=8000))


def test_sources_are_chosen_by_split_kind_and_group(built, audio):
    def names(place, **chosen):
        return [os.path.basename(s.name) for s in corpus.sources(place, sample_rate_hz=8000, **chosen)]

    for split, expected in (("test", ["3.mp3", "4.wav"]), ("train", ["0.wav", "1.flac", "2.ogg"])):
        assert names(built.folder, split=split) == expected
    assert names(built.folder, kind="room") == ["hall.wav"]
    assert len(names(built.folder, kind=None)) == 7
    with pytest.raises(ValueError, match=r"no track with kind 'music', split 'val'; there is .*test 2"):
        names(built.folder, split="val")


def test_a_folder_is_all_music_unless_it_is_the_original_tree(tmp_path):
    sound = tunes.tune(1.0, sample_rate_hz=8000)
    for name in ("noise/a.wav", "music/test-query-db-500-30s/query/b.wav", "aug/bg/ts/c.wav"):
        tunes.write(tmp_path / name, sound, 8000)
    found = corpus.sources(tmp_path, sample_rate_hz=8000)
    assert [os.path.basename(source.name) for source in found] == ["b.wav", "a.wav"]
    (query,) = corpus.sources(tmp_path, sample_rate_hz=8000, split="test", group="query")
    assert query.name.endswith("query/b.wav")


def test_bad_files_among_sources_say_why_when_they_are_read(bad_files):
    found = corpus.sources(bad_files, sample_rate_hz=8000)
    assert len(found) == 9
    reasons = {}
    for source in found:
        try:
            joined(source)
        except errors.Undecodable as error:
            reasons[os.path.basename(error.path)] = error.reason
    assert set(reasons) == {"nan.wav", "empty.flac", "text.mp3", "zero.wav"}


def test_sources_that_are_not_there_are_refused(built, tmp_path):
    with pytest.raises(ValueError, match="no such corpus, folder, list or audio file"):
        corpus.sources(tmp_path / "missing", sample_rate_hz=8000)
    with pytest.raises(ValueError, match="no audio files below"):
        corpus.sources(tmp_path, sample_rate_hz=8000)
    with pytest.raises(ValueError, match="holds 8000 Hz, 16000 Hz asked for"):
        corpus.sources(built.folder, sample_rate_hz=16000)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match="write one path a line"):
        corpus.sources(tmp_path / "empty.txt", sample_rate_hz=8000)


def test_a_changed_byte_of_a_small_file_is_no_traceback(built, tmp_path):
    shutil.copytree(built.folder, tmp_path / "C")
    for name in ("corpus.json", "tracks.csv", "loudness.npy"):
        path = tmp_path / "C" / name
        whole = path.read_bytes()
        for place in range(0, min(len(whole), 700), 1 if name == "loudness.npy" else 5):
            for value in (whole[place] ^ 1, whole[place] ^ 128):
                path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
                with contextlib.suppress(errors.Error):
                    opened = corpus.Corpus.open(tmp_path / "C")
                    assert all(len(opened.audio(track)) == track.n_samples for track in opened.tracks)
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["samples.i16", "journal.jsonl", "parts"])
def test_a_corpus_is_not_built_through_a_link(built, audio, tmp_path, name):
    shutil.copytree(built.folder, tmp_path / "C")
    path, elsewhere = tmp_path / "C" / name, tmp_path / "elsewhere"
    if name == "parts":
        elsewhere.mkdir()
        (elsewhere / "precious.1.part").write_text("precious")
    else:
        path.rename(elsewhere)
    path.symlink_to(elsewhere)
    before = elsewhere.stat().st_mtime_ns
    with pytest.raises(errors.Invalid, match="is a symbolic link"):
        corpus.build(scanned(audio), tmp_path / "C", jobs=0)
    assert elsewhere.stat().st_mtime_ns == before
    assert name != "parts" or (elsewhere / "precious.1.part").exists()
    path.unlink()
    os.mkfifo(path)
    if name == "samples.i16":
        with pytest.raises(errors.Invalid, match="is no plain file"):
            corpus.Corpus.open(tmp_path / "C")
