"""A StableHLO file holds the whole network, for CPUs, CUDA and TPUs, and for any number of segments."""

import numpy as np
import pytest
from jax import export as jax_export

from nafp import errors
from nafp.verbs import export
from nafp.weights import files, stablehlo_files, trained
from tests import networks

pytest.importorskip("flatbuffers", reason="no flatbuffers: pip install 'nafp[onnx]'")


def test_the_file_computes_what_numpy_does_for_any_number_of_segments(waveforms, tmp_path, capsys):
    c = networks.config(**{"audio.segment_s": 0.25, "spectrogram.n_mels": 8})
    with c.unlocked():
        c.model.channels, c.model.time_strides = (4, 16), (4, 4)  # Compiles fast.
    files.write(tmp_path / "a.npz", networks.trained_variables(c), c, step=7)
    for _ in range(2):  # A former output is replaced.
        export.run(tmp_path / "a.stablehlo", checkpoint=f"{tmp_path}/a.npz")
    assert "StableHLO for cpu, cuda, tpu" in capsys.readouterr().out
    program = jax_export.deserialize(bytearray((tmp_path / "a.stablehlo").read_bytes()))
    assert tuple(program.platforms) == stablehlo_files.PLATFORMS
    run = files.load(tmp_path / "a.npz")
    for n in (1, 5):
        segments = waveforms[:n, : run.segment]
        np.testing.assert_allclose(program.call(segments), run(segments), atol=2e-5)


def test_a_front_end_that_sees_the_batch_is_refused():
    c = networks.config(**{"spectrogram.front_end": "original"})
    with pytest.raises(errors.Invalid, match="would depend on the other segments"):
        stablehlo_files.serialised(trained.Trained(networks.variables(c), c, 1, "a"))
