"""A table or a file of a dataset that was cut off, or holds something else, is refused in one line."""

import csv
import os

import pytest
import scipy.io

from nafp import errors
from nafp.datasets import air, audioset, baf, fma, registry


@pytest.mark.parametrize("damage", [b"12,tra", b'13,"training', b"\xff,x"])
def test_a_table_of_fma_that_was_cut_off_is_refused_with_its_line(tmp_path, damage):
    heads = b",set,set,artist\n,split,subset,id\ntrack_id,,,\n2,training,small,1\n"
    (tmp_path / "tracks.csv").write_bytes(heads + damage)
    if damage.startswith(b"\xff"):  # No number of a track.
        assert [listed.number for listed in fma.read_table(str(tmp_path / "tracks.csv"), "fma_small")] == [2]
        return
    with pytest.raises(errors.Invalid, match=r"tracks\.csv, line 5: is damaged .*unpack fma_metadata\.zip again"):
        fma.read_table(str(tmp_path / "tracks.csv"), "fma_small")


@pytest.mark.parametrize("line", [b"abc,1,2\n", b'\xffbcdefghijk, soon, 40.000, "/m/1"\n'])
def test_a_table_of_audioset_that_cannot_be_is_refused_with_its_line(tmp_path, line):
    (tmp_path / "eval_segments.csv").write_bytes(b"# remark\n" + line)
    with pytest.raises(errors.Invalid, match=r"eval_segments\.csv, line 2: not a clip"):
        audioset.read_clips(tmp_path / "eval_segments.csv")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"h_air": [1.0, 0.5], "air_info": {"fs": 0, "room": "hall"}}, "its sample rate is '0'"),
        ({"h_air": [1.0, 0.5], "air_info": {"fs": 1e12, "room": "hall"}}, "its sample rate is"),
        ({"h_air": [1.0, 0.5], "air_info": 3.0}, "its sample rate is 'None'"),
        ({"h_air": "words", "air_info": {"fs": 48000}}, "h_air holds no real numbers"),
        ({"h_air": [1j, 2j], "air_info": {"fs": 48000}}, "h_air holds no real numbers"),
    ],
)
def test_a_mat_file_that_cannot_be_a_response_is_a_failure_among_others(tmp_path, content, reason):
    scipy.io.savemat(tmp_path / "air_phone_hall_hhp_0.mat", content)
    tracks, failures = air.scan(str(tmp_path), converted=str(tmp_path / "wav"))
    assert not tracks
    assert reason in failures[0].reason


def write(folder, *rows):
    with open(folder / "cross_annotations.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_a_match_of_baf_without_its_times_is_refused(tmp_path):
    columns = ["query", "reference", "query_start", "query_end", "x_tag"]
    write(tmp_path, columns, ["q.wav", "r.wav", "soon", "2", "single"])
    with pytest.raises(errors.Invalid, match=r"cross_annotations.csv: a match in 'q\.wav' has no times"):
        baf.heard(str(tmp_path), agreed="single")
    write(tmp_path, columns[:3], ["q.wav", "r.wav", "1"])
    with pytest.raises(errors.Invalid, match="query_end"):
        baf.heard(str(tmp_path))


def test_a_folder_of_tables_that_does_not_exist_is_said_so(tmp_path):
    with pytest.raises(errors.Invalid, match=r"AudioSet's tables .* are needed there; or say --metadata=FOLDER"):
        audioset.wanted(str(tmp_path / "nowhere"))


def test_checksums_that_are_no_text_name_files_that_are_missing(tmp_path):
    (tmp_path / "checksums").write_bytes(b"0123  000/caf\xe9.mp3\n\xff\n")
    (failure,) = fma.verify(str(tmp_path), subset="fma_small")
    assert failure == (f"{tmp_path}/000/caf\udce9.mp3", "missing")


def test_a_folder_with_a_broken_link_or_a_pipe_has_no_digest(tmp_path):
    (tmp_path / "a.wav").symlink_to(tmp_path / "nowhere")
    with pytest.raises(errors.Invalid, match=r"a\.wav: cannot be read: No such file"):
        registry.folder_digest(str(tmp_path))
    (tmp_path / "a.wav").unlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.Invalid, match="pipe: is no plain file"):
        registry.folder_digest(str(tmp_path))
