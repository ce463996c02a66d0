"""An ONNX file is a network like any other: read, run by ONNX Runtime alone, and refused where it was changed."""

import hashlib
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import nafp
from nafp import errors
from nafp.audio import decode
from nafp.database import database
from nafp.fingerprints import extract
from nafp.models import identities, numpy_network
from nafp.verbs import export
from nafp.weights import files, onnx_files, onnx_wire, sources
from tests import networks

onnx = pytest.importorskip("onnx", reason="no onnx: pip install 'nafp[onnx]'")
pytest.importorskip("onnxruntime", reason="no onnxruntime: pip install 'nafp[onnx]'")

ROOT = pathlib.Path(__file__).parents[2]
MUSIC = sorted((ROOT / "tests" / "recordings" / "music").glob("*.opus"))[:2]


@pytest.fixture(scope="module")
def written(tmp_path_factory, small):
    path = tmp_path_factory.mktemp("onnx") / "a.onnx"
    files.write(path, *small[:2], step=7, source="run@7", format="onnx")
    return path


def sealed(model):
    """Returns the bytes of a changed model as `nafp export` would end them."""
    kept = [(entry.key, entry.value) for entry in model.metadata_props if entry.key != "file_sha256"]
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(kept))
    data = model.SerializeToString()
    return data + onnx_files._entry("file_sha256", hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("norm", ["layer_norm2d", "batch_norm"])
@pytest.mark.parametrize("dtype", files.DTYPES)
def test_what_is_read_is_what_was_written(tmp_path, norm, dtype):
    c = networks.config(**{"model.norm": norm, "audio.hop_s": 0.25})
    for format in ("onnx", "npz"):
        variables = networks.trained_variables(c)
        files.write(tmp_path / f"a.{format}", variables, c, step=7, source="run@7", format=format, dtype=dtype)
    found, wanted = files.read(tmp_path / "a.onnx"), files.read(tmp_path / "a.npz")
    jax.tree.map(np.testing.assert_array_equal, found[0], wanted[0])
    assert (found[1].to_dict(), found[2]) == (c.to_dict(), 7)


def test_the_same_network_is_the_same_bytes(written, small, tmp_path):
    files.write(tmp_path / "b.onnx", *small[:2], step=7, source="run@7", format="onnx")
    assert (tmp_path / "b.onnx").read_bytes() == written.read_bytes()


def test_other_programs_are_told_what_the_network_is(written):
    model = onnx.load(written)
    onnx.checker.check_model(model, full_check=True)
    about = {entry.key: entry.value for entry in model.metadata_props}
    sizes = {key: int(about[key]) for key in ("sample_rate_hz", "segment", "hop", "dim", "step")}
    assert sizes == {"sample_rate_hz": 8000, "segment": 8000, "hop": 4000, "dim": 16, "step": 7}
    assert json.loads(about["identity"]) == {**files.load(written).identity, "source": "run@7"}
    assert {opset.domain for opset in model.opset_import} == {""}
    assert {node.op_type for node in model.graph.node} <= onnx_wire._OPERATORS


def test_every_runtime_opens_the_file(written, small, waveforms):
    wanted = small[2](waveforms)
    for runtime in ("auto", "numpy", "onnx"):
        network = nafp.load(str(written), runtime=runtime)
        np.testing.assert_allclose(network(waveforms), wanted, atol=2e-5)
        assert network.identity["sha256"] == files.load(written).identity["sha256"]
    assert type(nafp.load(str(written))).__name__ == "OnnxNetwork"


def test_the_shipped_network_hears_a_recording_alike_in_both_runtimes(tmp_path):
    samples = decode.load(MUSIC[1], sample_rate_hz=8000)[: 12 * 8000]
    found, wanted = (nafp.load("small", runtime=runtime) for runtime in ("onnx", "numpy"))
    assert found.identity == wanted.identity
    assert (found.sample_rate_hz, found.segment, found.hop, found.dim) == (8000, 8000, 4000, 128)
    np.testing.assert_allclose(found.track(samples), wanted.track(samples), atol=2e-5)
    assert found(np.zeros((0, 8000))).shape == (0, 128)
    assert found.at_hop(8000).track(samples).shape == (12, 128)
    assert found.start(np.zeros((found.batch_size, 8000), np.float32)).shape == (found.batch_size, 128)
    with pytest.raises(errors.Invalid, match="need"):
        found(np.zeros((2, 7999)))
    with pytest.raises(errors.Invalid, match="NaN"):
        found.track(np.full(9000, np.nan))


def test_a_run_is_converted_when_it_is_opened(tmp_path, waveforms):
    networks.write_run(tmp_path / "run", networks.config(), {10: 0.5})
    network = nafp.load(f"{tmp_path}/run", runtime="onnx")
    assert (network.identity["source"], network.identity["step"]) == ("run@10", 10)
    variables, c, *_ = sources.read(f"{tmp_path}/run")
    assert network.identity["sha256"] == identities.sha256(variables)
    by_numpy = numpy_network.NumpyNetwork(variables, c, identity={})
    np.testing.assert_allclose(network(waveforms), by_numpy(waveforms), atol=2e-5)


@pytest.mark.parametrize("place", [0.01, 0.5, 0.9, 0.999])
def test_a_changed_byte_is_damage_in_every_runtime(written, tmp_path, place):
    data = bytearray(written.read_bytes())
    data[int(len(data) * place)] ^= 1
    (tmp_path / "b.onnx").write_bytes(data)
    for runtime in ("numpy", "onnx"):
        with pytest.raises(errors.Invalid, match=r"b.onnx is damaged"):
            nafp.load(str(tmp_path / "b.onnx"), runtime=runtime)


@pytest.mark.parametrize("n_bytes", [8, 80, 1000])
def test_a_file_that_was_cut_off_is_damage(written, tmp_path, n_bytes):
    (tmp_path / "b.onnx").write_bytes(written.read_bytes()[:-n_bytes])
    with pytest.raises(errors.Invalid, match=r"b.onnx is damaged"):
        nafp.load(str(tmp_path / "b.onnx"), runtime="onnx")


def with_external_data(model):
    constant = model.graph.initializer[0]
    constant.ClearField("raw_data")
    constant.data_location = onnx.TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="/etc/passwd")


def with_control_flow(model):
    branch = onnx.helper.make_graph([], "g", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))


def with_an_operator_of_its_own(model):
    model.graph.node[3].op_type = "RandomNormal"


def with_another_domain(model):
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))


def with_a_huge_constant(model):
    model.graph.initializer[0].dims[:] = [2**40, 2**40]


def with_a_function(model):
    model.functions.add(name="f")


@pytest.mark.parametrize(
    "change, said",
    [
        (with_external_data, "a constant has a field"),
        (with_control_flow, "operator 'If'"),
        (with_an_operator_of_its_own, "operator 'RandomNormal'"),
        (with_another_domain, "another domain"),
        (with_a_huge_constant, "another size"),
        (with_a_function, "the model has a field"),
    ],
)
def test_a_hostile_file_is_refused_before_onnx_runtime_sees_it(written, tmp_path, change, said, monkeypatch):
    model = onnx.load(written)
    change(model)
    (tmp_path / "b.onnx").write_bytes(sealed(model))
    monkeypatch.setattr("nafp.models.onnx_network._opened", None)
    with pytest.raises(errors.Invalid, match=said):
        nafp.load(str(tmp_path / "b.onnx"), runtime="onnx")


def test_a_file_of_more_fields_than_a_network_has_is_refused_early():
    with pytest.raises(ValueError, match="more of them"):
        onnx_wire.read(b"\x08\x08" * 600_000)


def test_a_graph_of_other_sizes_than_its_configuration_is_refused(written, tmp_path):
    model = onnx.load(written)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7000
    (tmp_path / "b.onnx").write_bytes(sealed(model))
    with pytest.raises(errors.Invalid, match=r"ONNX Runtime cannot run|not those of its configuration"):
        nafp.load(str(tmp_path / "b.onnx"), runtime="onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_its_installation(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(errors.Invalid, match=r"pip install 'nafp\[onnx\]'"):
        nafp.load("small", runtime="onnx")


WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from nafp import cli
sys.argv = ["nafp", *sys.argv[2:]]
cli.main()
"""
JAX = "jax,jaxlib,flax,optax,orbax,grain,librosa"


def nafp_without(modules, *arguments):
    command = [sys.executable, "-c", WITHOUT, modules, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    decode.write_wav(path, decode.load(MUSIC[1], sample_rate_hz=8000)[24000:64000], sample_rate_hz=8000)
    return path


@pytest.mark.slow
def test_a_database_is_filled_and_asked_by_onnx_runtime_without_jax(written, clip, tmp_path):
    database.Database.create(tmp_path / "DB", network=str(written)).close()
    for arguments in (["add", tmp_path / "DB", *MUSIC], ["identify", tmp_path / "DB", clip]):
        said = nafp_without(JAX, *arguments, "--runtime=onnx")
    assert MUSIC[1].stem in said


def test_onnx_runtime_and_numpy_alone_identify_with_the_file(written, clip, tmp_path):
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in MUSIC))
    network = nafp.load(str(written))
    extract.extract(network, str(tmp_path / "list.txt"), str(tmp_path / "store"), name="db")
    asked = ["identify", f"--store={tmp_path}/store", f"--checkpoint={written}", clip]
    assert MUSIC[1].stem in nafp_without(f"{JAX},onnx,safetensors", *asked)


@pytest.fixture(scope="module")
def in_integers(tmp_path_factory, small):
    folder = tmp_path_factory.mktemp("int8")
    files.write(folder / "a.npz", *small[:2], step=7)
    (folder / "list.txt").write_text("".join(f"{path}\n" for path in MUSIC))
    given = {"checkpoint": f"{folder}/a.npz", "dtype": "int8", "calibrate": f"{folder}/list.txt"}
    export.run(folder / "a.onnx", **given)
    return folder / "a.onnx"


def test_integers_give_nearly_the_same_fingerprints_in_every_batch(in_integers, small):
    samples = decode.load(MUSIC[0], sample_rate_hz=8000)[: 12 * 8000]
    network = nafp.load(str(in_integers))
    found, wanted = network.track(samples), small[2].track(samples)
    assert (found * wanted).sum(axis=1).min() > 0.9
    assert np.abs(found - wanted).max() > 1e-4  # They are computed in integers.
    np.testing.assert_allclose(network(samples[None, :8000])[0], found[0], atol=1e-6)
    assert network.identity["dtype"] == "int8"
    assert identities.same_network(network.identity, files.load(in_integers.with_suffix(".npz")).identity)


def test_a_file_of_integers_holds_no_parameters_for_other_runtimes(in_integers):
    for runtime in ("numpy", "jax"):
        with pytest.raises(errors.Invalid, match="--runtime=onnx"):
            nafp.load(str(in_integers), runtime=runtime)


@pytest.mark.parametrize("given", [{"dtype": "int8"}, {"calibrate": "music"}, {"dtype": "int8", "format": "npz"}])
def test_integers_are_for_onnx_and_need_recordings(tmp_path, given):
    with pytest.raises(errors.Invalid, match=r"--dtype=int8 goes with --format=onnx and --calibrate"):
        export.run(tmp_path / "a.onnx", checkpoint="small", **given)
