"""A StableHLO file holds the whole network, for CPUs, CUDA and TPUs, and for any number of segments."""

import numpy as np
import pytest
from jax import export as jax_export

from nafp import errors
from nafp.jobs import outputs
from nafp.verbs import export
from nafp.weights import files, stablehlo_files, trained
from tests import networks

pytest.importorskip("flatbuffers", reason="no flatbuffers: pip install 'nafp[onnx]'")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A file, and the network in numpy."""
    c = networks.config(**{"audio.segment_s": 0.25, "spectrogram.n_mels": 8})
    with c.unlocked():
        c.model.channels, c.model.time_strides = (4, 16), (4, 4)  # Compiles fast.
    folder = tmp_path_factory.mktemp("stablehlo")
    files.write(folder / "a.npz", networks.trained_variables(c), c, step=7)
    export.run(folder / "a.stablehlo", checkpoint=f"{folder}/a.npz")
    return folder / "a.stablehlo", files.load(folder / "a.npz")


def test_the_file_takes_any_number_of_segments_on_every_platform(exported):
    program = jax_export.deserialize(bytearray(exported[0].read_bytes()))
    assert tuple(program.platforms) == stablehlo_files.PLATFORMS
    assert str(program.in_avals[0].shape[0]) == str(program.out_avals[0].shape[0]) == "n"
    assert (program.in_avals[0].shape[1], program.out_avals[0].shape[1]) == (2000, 16)
    outputs.require(exported[0], verb="nafp export", is_former=export._is_network)  # It may be replaced.


@pytest.mark.slow
def test_the_file_computes_what_numpy_does(exported, waveforms):
    path, run = exported
    program = jax_export.deserialize(bytearray(path.read_bytes()))
    for n in (1, 5):
        segments = waveforms[:n, : run.segment]
        np.testing.assert_allclose(program.call(segments), run(segments), atol=2e-5)


def test_a_front_end_that_sees_the_batch_is_refused():
    c = networks.config(**{"spectrogram.front_end": "original"})
    with pytest.raises(errors.Invalid, match="would depend on the other segments"):
        stablehlo_files.serialised(trained.Trained(networks.variables(c), c, 1, "a"))
