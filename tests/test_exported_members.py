"""The public names: few, listed, and free until they are used."""

import subprocess
import sys

import pytest

import nafp


def test_there_are_few_public_names():
    assert len(nafp.__all__) <= 9
    assert dir(nafp) == sorted(nafp.__all__)


@pytest.mark.parametrize("name", nafp.__all__)
def test_a_public_name_is_there(name):
    assert getattr(nafp, name) is not None


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, nafp; print(*{'jax', 'faiss', 'numpy', 'soundfile'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_a_wrong_name_is_answered_with_the_right_ones():
    with pytest.raises(AttributeError, match="it has Answer, Corpus"):
        nafp.corpse  # noqa: B018
