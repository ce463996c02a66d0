"""A file of fingerprints for each track: what is done stays, and one folder is of one network."""

import json
import pathlib

import numpy as np
import pytest

from nafp.audio import decode
from nafp.fingerprints import per_track
from tests import networks, tunes

pytestmark = pytest.mark.usefixtures("quick_compiler")


@pytest.fixture(scope="module")
def network():
    return networks.extractor(networks.few_blocks(), seed=3, batch_size=8, identity={"sha256": "a"})


@pytest.fixture
def music(tmp_path) -> pathlib.Path:
    for i, name in enumerate(("one/song.wav", "two/song.wav", "two/other.wav")):
        tunes.write(tmp_path / "music" / name, tunes.tune(1.6 + i / 2, seed=i))
    return tmp_path / "music"


def files(folder: pathlib.Path) -> dict[str, np.ndarray]:
    return {path.relative_to(folder).as_posix(): np.load(path) for path in sorted(folder.rglob("*.npy"))}


def test_each_track_is_a_file_and_names_that_two_share_keep_their_folders(network, music, tmp_path):
    written = per_track.write(network, str(music), tmp_path / "out", hop_s=0.2)
    made = files(tmp_path / "out")
    assert set(made) == {"one/song.npy", "two/song.npy", "other.npy"}
    assert written.report.n_tracks == 3
    for name, path in (("one/song.npy", "one/song.wav"), ("other.npy", "two/other.wav")):
        samples = decode.load(music / path, sample_rate_hz=network.sample_rate_hz)
        expected = network.at_hop(network.sample_rate_hz // 5).track(samples)
        assert made[name].dtype == np.float32
        np.testing.assert_allclose(made[name], expected, atol=1e-5)


def test_files_that_are_there_are_not_made_again(network, music, tmp_path):
    out = tmp_path / "out"
    per_track.write(network, str(music), out)
    (out / "other.npy").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    written = per_track.write(network, str(music), out)
    assert (written.report.n_tracks, written.n_before) == (1, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "2 were there" in per_track.describe(*written, str(out), wall_s=1.0)
    assert per_track.write(network, str(music), out, overwrite=True).report.n_tracks == 3


def test_a_folder_of_another_network_or_hop_is_refused(network, music, tmp_path):
    out = tmp_path / "out"
    per_track.write(network, str(music), out)
    other = networks.extractor(networks.few_blocks(), seed=4, batch_size=8, identity={"sha256": "b"})
    for made_by, hop_s in ((other, None), (network, 0.25)):
        with pytest.raises(ValueError, match="another network or hop"):
            per_track.write(made_by, str(music), out, hop_s=hop_s)
    assert json.loads((out / "fingerprints.json").read_text())["model"] == {"sha256": "a"}


def test_two_files_that_would_become_one_are_refused(network, music, tmp_path):
    tunes.write(music / "one" / "song.flac", tunes.tune(2))
    with pytest.raises(ValueError, match=r"song\.(wav|flac) would both become"):
        per_track.write(network, str(music), tmp_path / "out")
