"""Files of a stranger's folder are read as what they are, or refused in one line."""

import numpy as np
import pytest

from nafp import errors
from nafp.jobs import plain_files


@pytest.mark.parametrize("is_mapped", [True, False])
def test_an_array_is_one_array(tmp_path, is_mapped):
    np.save(tmp_path / "a.npy", np.arange(3))
    np.testing.assert_array_equal(plain_files.array(tmp_path / "a.npy", is_mapped=is_mapped), np.arange(3))
    with open(tmp_path / "b.npy", "wb") as file:
        np.savez(file, a=np.arange(3))
    with pytest.raises(errors.Invalid, match=r"b\.npy: is an archive of arrays, not a single array"):
        plain_files.array(tmp_path / "b.npy", is_mapped=is_mapped)
    (tmp_path / "c.npy").write_bytes(b"")
    with pytest.raises(errors.Invalid, match=r"c\.npy: is not an array"):
        plain_files.array(tmp_path / "c.npy", is_mapped=is_mapped)
