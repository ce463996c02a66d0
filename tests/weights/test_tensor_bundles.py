"""TensorFlow's checkpoints are read without TensorFlow, and a damaged byte is noticed."""

import pathlib
import shutil

import numpy as np
import pytest

from nafp import errors
from nafp.weights import checksums, tensor_bundles

# Written by TensorFlow 2.15: the original's network, small.
ORIGINAL = pathlib.Path(__file__).parents[1] / "vectors" / "original"
NAME = "model/front_conv/layer_with_weights-0/conv2d_1x3/kernel/.ATTRIBUTES/VARIABLE_VALUE"


def test_the_checksum_is_castagnolis():
    assert checksums.crc32c(b"") == 0
    assert checksums.crc32c(b"123456789") == 0xE3069283
    assert checksums.crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize("n_bytes", [1023, 1024, 1025, 5000])
def test_the_checksum_of_long_data_is_that_of_its_bytes_one_by_one(n_bytes):
    data, state = np.random.default_rng(n_bytes).bytes(n_bytes), 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    assert checksums.crc32c(data) == state ^ 0xFFFFFFFF


def test_arrays_are_read_by_their_names():
    arrays = tensor_bundles.read(ORIGINAL / "ckpt-1")
    assert arrays[NAME].shape == (1, 3, 1, 4)
    assert arrays["save_counter/.ATTRIBUTES/VARIABLE_VALUE"] == 1
    model = tensor_bundles.read(ORIGINAL / "ckpt-1", under=("model/",))
    assert set(model) == {name for name in arrays if name.startswith("model/")}


def test_a_folder_an_index_and_a_prefix_name_one_checkpoint():
    for path in (ORIGINAL, ORIGINAL / "ckpt-1.index", ORIGINAL / "ckpt-1"):
        assert tensor_bundles.latest(path) == ORIGINAL / "ckpt-1"
    assert tensor_bundles.latest(ORIGINAL.parent) is None


def copied(folder: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(ORIGINAL, folder, dirs_exist_ok=True))


def test_a_changed_byte_and_a_missing_end_are_noticed(tmp_path):
    data, index = "ckpt-1.data-00000-of-00001", "ckpt-1.index"
    for name, at in ((data, 300), (index, 100), (index, -4), (index, 3000)):
        folder = copied(tmp_path)
        changed = bytearray((folder / name).read_bytes())
        changed[at] ^= 1
        (folder / name).write_bytes(changed)
        with pytest.raises(errors.Invalid, match="damaged"):
            tensor_bundles.read(folder / "ckpt-1")
    for name in (data, index):
        folder = copied(tmp_path)
        (folder / name).write_bytes((folder / name).read_bytes()[:-20000])
        with pytest.raises(errors.Invalid, match="damaged"):
            tensor_bundles.read(folder / "ckpt-1")


def test_a_number_of_files_that_cannot_be_costs_no_memory():
    place = tensor_bundles._Entry(dtype=1, shape=(1,), shard=0, offset=0, size=4, crc32c=0)
    with pytest.raises(errors.NotFound, match=r"ckpt-1\.data-00000-of-1180591620717411303424"):
        tensor_bundles._arrays(ORIGINAL / "ckpt-1", {"a": place}, n_shards=2**70)
    with pytest.raises(ValueError, match="an array in file 5 of 1"):
        tensor_bundles._arrays(ORIGINAL / "ckpt-1", {"a": place._replace(shard=5)}, n_shards=1)


def test_a_missing_file_of_a_checkpoint_is_named(tmp_path):
    (copied(tmp_path) / "ckpt-1.data-00000-of-00001").unlink()
    with pytest.raises(errors.NotFound, match=r"ckpt-1\.data-00000-of-00001"):
        tensor_bundles.read(tmp_path / "ckpt-1")
