"""Files of torch.save are read as data: every type that networks use, and nothing that runs."""

import contextlib
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from nafp import errors
from nafp.weights import torch_files

# Written by torch 2.13: views, tensors of every type, and what a training checkpoint holds beside them.
EVERY_TYPE = pathlib.Path(__file__).parents[1] / "vectors" / "torch" / "every_type.pt"


def test_tensors_of_every_type_become_arrays():
    contents = torch_files.read(EVERY_TYPE)
    assert contents["epoch"] == 3
    assert contents["notes"] == [None, "text", 0.5]
    model, whole = contents["model"], np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = {
        "float32": whole,
        "transposed": whole.T,
        "part": whole.ravel()[5:9],
        "float64": np.arange(3) / 2,
        "float16": (np.arange(3) / 4).astype(np.float16),
        "bfloat16": np.arange(3, dtype=np.float32) * 1.5,
        "int64": np.array(7),
        "bool": np.array([True, False]),
        "parameter": np.ones(2, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    assert list(model) == list(expected)
    for name, array in expected.items():
        assert model[name].dtype == array.dtype, name
        np.testing.assert_array_equal(model[name], array, err_msg=name)


def written(path: pathlib.Path, program: bytes, *, data: bytes = b"") -> pathlib.Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", program)
        archive.writestr("x/data/0", data)
    return path


class _Runs:
    def __reduce__(self):
        return print, ("it ran",)


def test_a_file_that_asks_to_run_something_is_refused_and_runs_nothing(tmp_path, capsys):
    path = written(tmp_path / "evil.pt", pickle.dumps({"model": _Runs()}, protocol=2))
    with pytest.raises(errors.Invalid, match=r"asks to run .*print, which was not run.*state_dict"):
        torch_files.read(path)
    assert capsys.readouterr().out == ""


# GLOBAL, a tuple that describes a storage of two values, BINPERSID, and the call that makes a tensor of them.
STORAGE = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ"
TENSOR = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + STORAGE + b"K%c(K%ct(K%ct\x89ccollections\nOrderedDict\n)RtR."


def test_a_tensor_beyond_its_values_is_refused(tmp_path):
    values = np.array([1.5, 2.5], "<f4").tobytes()
    good = written(tmp_path / "good.pt", TENSOR % (0, 2, 1), data=values)
    np.testing.assert_array_equal(torch_files.read(good), np.array([1.5, 2.5], np.float32))
    for offset, size, step in ((1, 2, 1), (0, 3, 1), (0, 2, 2)):
        bad = written(tmp_path / "bad.pt", TENSOR % (offset, size, step), data=values)
        with pytest.raises(errors.Invalid, match="ends beyond its values"):
            torch_files.read(bad)


def test_damaged_and_foreign_files_are_one_line_each(tmp_path):
    whole = EVERY_TYPE.read_bytes()
    for name, data in (("cut.pt", whole[:-500]), ("text.pt", b"hello"), ("empty.pt", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(errors.Invalid, match=r"from before torch 1\.6"):
            torch_files.read(tmp_path / name)
    with pytest.raises(errors.NotFound):
        torch_files.read(tmp_path / "missing.pt")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "a zip of something else")
    with pytest.raises(errors.Invalid, match=r"no data\.pkl"):
        torch_files.read(tmp_path / "other.zip")


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # In the text of a damaged pickle.
def test_no_damage_of_the_pickle_shows_a_trace(tmp_path):
    with zipfile.ZipFile(EVERY_TYPE) as archive:
        program = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(program)
        damaged[rng.integers(len(program))] = rng.integers(256)
        with contextlib.suppress(errors.Error):
            torch_files.read(written(tmp_path / "x.pt", bytes(damaged), data=b"\0" * 64))
