"""Networks of other systems become ours: the numbers are those that the systems themselves computed."""

import json
import pathlib
import shutil
import struct
import zipfile

import numpy as np
import pytest

import nafp
from nafp import errors
from nafp.models import identities, network, numpy_fingerprinter, numpy_layers, numpy_network, numpy_spectrogram
from nafp.verbs import add, export
from nafp.weights import imports, sources, torch_files
from tests import tunes

VECTORS = pathlib.Path(__file__).parents[1] / "vectors"
ORIGINAL, PFANN = VECTORS / "original", VECTORS / "pfann" / "model.pt"
TOLERANCE = 1e-4  # Of a fingerprint's numbers.


@pytest.fixture(scope="module")
def systems():
    """The numbers of the systems, and the waveforms [4, 8000] that they are of."""
    files = [dict(np.load(VECTORS / f"{name}.npz")) for name in ("networks", "imports", "front_ends")]
    return files[0] | files[1] | {"waveforms": files[2]["waveforms"]}


def spectrograms(trained, waveforms, *, training: bool) -> np.ndarray:
    settings = {**network.mel_settings(trained.config), "training": training}
    return numpy_spectrogram.log_mel(waveforms, **settings)


def fingerprints(trained, mel: np.ndarray) -> np.ndarray:
    features = numpy_fingerprinter.Encoder(trained.variables, trained.config.model)(mel)
    return numpy_layers.encode(features, trained.variables["params"]["head"])


def assert_equal(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)
    assert (ours * theirs).sum(axis=1).min() > 0.99999


def test_the_originals_network_gives_the_originals_fingerprints(systems):
    trained = imports.read(ORIGINAL, front_end="original")
    assert (trained.step, trained.source) == (0, "ckpt-1")
    mel = spectrograms(trained, systems["waveforms"], training=False)
    # The system saw these four among ten segments, one of which had the loudest value.
    shift = systems["original_silence"] - mel[2]
    assert_equal(fingerprints(trained, mel + shift), systems["original_embedding"])


def test_a_segment_alone_is_the_originals_batch_of_one(systems):
    alone, batch = imports.read(ORIGINAL), imports.read(ORIGINAL / "ckpt-1", front_end="original")
    one = systems["waveforms"][:1]
    mels = [spectrograms(trained, one, training=False) for trained in (alone, batch)]
    np.testing.assert_allclose(*mels, atol=1e-6)


def test_pfanns_network_gives_pfanns_fingerprints(systems):
    trained = imports.read(PFANN)
    assert trained.config.model.time_strides == (2,) * 8
    mel = spectrograms(trained, systems["waveforms"], training=True)  # The system did not remove the means of these.
    assert_equal(fingerprints(trained, mel), systems["pfann_embedding"])
    centred = systems["waveforms"] - systems["waveforms"].mean(axis=1, keepdims=True)
    expected = fingerprints(trained, spectrograms(trained, centred, training=True))
    run = numpy_network.NumpyNetwork(trained.variables, trained.config, identity={})
    np.testing.assert_allclose(run(systems["waveforms"]), expected, atol=1e-5)


def test_an_imported_network_makes_databases_like_any_other(tmp_path, capsys):
    out = tmp_path / "pfann.safetensors"
    export.run(out, foreign=str(PFANN))
    assert "model.pt  →" in capsys.readouterr().out
    tunes.write(tmp_path / "a.wav", tunes.tune(3.0))
    database = str(tmp_path / "db")
    assert add.run(database, [str(tmp_path / "a.wav")], checkpoint=str(out), runtime="numpy") == 0
    assert nafp.Database.open(database).about["dim"] == 2


def test_a_training_checkpoint_is_its_model(tmp_path):
    whole = torch_files.read(PFANN)
    torch_file(tmp_path / "checkpoint7.ckpt", {"epoch": 7, "model": whole})
    trained = imports.read(tmp_path / "checkpoint7.ckpt", settings_file=PFANN.with_name("configs.json"))
    assert (trained.step, trained.source) == (7, "checkpoint7.ckpt")
    expected = imports.read(PFANN).variables["params"]["head"]["output_kernel"]
    np.testing.assert_array_equal(trained.variables["params"]["head"]["output_kernel"], expected)


def test_what_cannot_be_converted_is_one_line(tmp_path):
    with pytest.raises(errors.NotFound, match=r"no checkpoint of that name; need a checkpoint of TensorFlow"):
        imports.read(tmp_path / "missing.pt")
    alone = pathlib.Path(shutil.copy(PFANN, tmp_path / "alone.pt"))
    with pytest.raises(errors.NotFound, match=r"alone.json or .*configs.json; name it: --from_config"):
        imports.read(alone)
    settings = json.loads(PFANN.with_name("configs.json").read_text())
    alone.with_suffix(".json").write_text(json.dumps({**settings, "n_mels": 128}))
    with pytest.raises(errors.Invalid, match=r"alone.pt: params/block.* is of shape"):
        imports.read(alone)
    alone.with_suffix(".json").write_text(json.dumps({**settings, "model": {"strides": [[[2, 2], [2, 1]]] * 8}}))
    with pytest.raises(errors.Invalid, match="strides"):
        imports.read(alone)
    for wrong in ({"model": 3}, {"model": {"strides": [[]] * 8}}, {"sample_rate": None}, {"hop_size": "often"}):
        alone.with_suffix(".json").write_text(json.dumps({**settings, **wrong}))
        with pytest.raises(errors.Invalid, match=r"alone.pt: not a network that can be converted"):
            imports.read(alone)
    alone.with_suffix(".json").write_text("[1]")
    with pytest.raises(errors.Invalid, match=r"alone.json is damaged: an object is missing"):
        imports.read(alone)
    with pytest.raises(errors.Invalid, match=r"--from_front_end='song_mine': allowed are pfann"):
        imports.read(PFANN, front_end="song_mine")
    torch_file(tmp_path / "strange.pt", {"conv.weight": np.ones((2, 2), np.float32)})
    with pytest.raises(errors.Invalid, match=r"strange.pt: not a network that can be converted"):
        imports.read(tmp_path / "strange.pt")


def test_the_originals_configuration_says_how_the_network_sees_sound(tmp_path):
    given = tmp_path / "own.yaml"
    given.write_text("BSZ: {TR_BATCH_SZ: 120, TR_N_ANCHOR: 60}\nMODEL: {HOP: 0.25, F_MIN: 100.0}\n")
    config = imports.read(ORIGINAL, settings_file=given).config
    assert (config.audio.hop_s, config.spectrogram.low_hz, config.spectrogram.floor) == (0.25, 100.0, "fixed")


@pytest.mark.parametrize("path", [PFANN, ORIGINAL, ORIGINAL / "ckpt-1", ORIGINAL / "ckpt-1.index"])
def test_a_network_of_another_system_is_told_how_to_become_ours(path):
    for runtime in ("jax", "numpy"):
        with pytest.raises(errors.Invalid, match=r"of another system; make it ours: nafp export --from="):
            sources.load(str(path), runtime=runtime)


def test_one_network_must_be_named(tmp_path):
    for given in ({}, {"checkpoint": "small", "foreign": str(PFANN)}, {"checkpoint": "small", "front_end": "original"}):
        with pytest.raises(errors.Invalid, match="--from"):
            export.run(tmp_path / "out.npz", **given)


# Networks of the systems' own sizes, names and layouts, with parameters that a formula makes.


def test_pfanns_depthwise_network_of_its_own_size_gives_its_fingerprints(systems, tmp_path):
    channels = (64, 64, 128, 128, 256, 256, 1024, 1024)
    names: list[tuple[str, tuple[int, ...], str, int]] = []
    n_in, bins, frames = 1, 256, 32
    for i, n in enumerate(channels):
        frames, above = -(-frames // 2), f"f.convs.{i}"
        names += convolution(f"{above}.conv1", (n, n_in, 1, 3)) + norm(f"{above}.ln1", (n, bins, frames))
        bins, n_in = bins // 2, n
        names += convolution(f"{above}.conv2", (n, 1, 3, 1)) + norm(f"{above}.ln2", (n, bins, frames))
    names += convolution("g.linear1", (64 * 32, 16, 1)) + convolution("g.linear2", (64, 32, 1))
    arrays = {name: formula(shape, salt, kind, fan_in) for salt, (name, shape, kind, fan_in) in enumerate(names)}
    torch_file(tmp_path / "model.pt", arrays)
    settings = json.loads(PFANN.with_name("configs.json").read_text())
    (tmp_path / "configs.json").write_text(json.dumps({**settings, "model": {"fuller": False}}))
    trained = imports.read(tmp_path / "model.pt")
    assert n_parameters(trained) == 5_507_712
    mel = spectrograms(trained, systems["waveforms"][[0, 2, 3]], training=True)
    assert_equal(fingerprints(trained, mel), systems["pfann_n640d64"])


@pytest.mark.slow
def test_the_benchmarks_network_of_its_own_size_gives_its_fingerprints(systems, tmp_path):
    """The fast tests are that of pfann's network above, and tests/models/test_published_networks.py."""
    channels = (128, 128, 256, 256, 512, 512, 1024, 1024)
    arrays: dict[str, np.ndarray] = {}
    n_in, bins, frames = 1, 256, 32
    for i, n in enumerate(channels):
        frames, above = -(-frames // 2), f"encoder.encoder.{i}"
        names = convolution(f"{above}.separable_conv2d_1x3", (n, n_in, 1, 3))
        names += convolution(f"{above}.separable_conv2d_3x1", (n, n, 3, 1))
        names += norm(f"{above}.BN_1x3", (n, bins, frames)) + norm(f"{above}.BN_3x1", (n, bins // 2, frames))
        for j, (name, shape, kind, fan_in) in enumerate(names):  # Second names take eight more numbers of a block.
            arrays[name] = formula(shape, 16 * i + j, kind, fan_in)
        bins, n_in = bins // 2, n
    for i in range(128):
        above = f"div_enc_layer.split_fc_layers.{i}"
        names = [*convolution(f"{above}.0", (32, 8)), (f"{above}.2.weight", (32,), "gamma", 1)]
        names += [(f"{above}.2.bias", (32,), "bias", 1), *convolution(f"{above}.3", (1, 32))]
        for j, (name, shape, kind, fan_in) in enumerate(names):
            arrays[name] = formula(shape, 128 + 6 * i + j, kind, fan_in)
    torch_file(tmp_path / "fingerprinter.pt", arrays)
    trained = imports.read(tmp_path / "fingerprinter.pt")
    assert n_parameters(trained) == 16_922_624
    mel = spectrograms(trained, systems["waveforms"][[0, 2, 3]], training=False)
    by_jax = network.create(trained.config, dtype="float32").apply(trained.variables, mel)
    for ours in (fingerprints(trained, mel), np.asarray(by_jax)):
        assert_equal(ours, systems["bench_fingerprinter"])
    assert (
        imports.read(tmp_path / "fingerprinter.pt", front_end="song_mine").config.spectrogram.front_end == "song_mine"
    )


@pytest.mark.slow
def test_audsearch_of_its_own_size_gives_its_fingerprints(systems, tmp_path):
    """The fast tests are that of pfann's network above, and tests/models/test_published_networks.py."""
    names: list[tuple[str, tuple[int, ...], str, int]] = []

    def layer(convolution_name: str, norm_name: str, n: int, n_in: int) -> None:
        names.extend(convolution(convolution_name, (n, n_in, 3, 3)) + norm(norm_name, (n,)))
        names.extend([(f"{norm_name}.running_mean", (n,), "mean", 1), (f"{norm_name}.running_var", (n,), "gamma", 1)])

    above, n_in, bins, frames = "encoder.encoder", 32, 256, 32
    layer(f"{above}.frontend.0", f"{above}.frontend.1", 32, 1)
    for i, n in enumerate((32, 64, 128, 256, 512, 1024), 1):
        bins, frames = (bins, frames) if i == 1 else (bins // 2, -(-frames // 2))
        block = f"{above}.resblock{i}"
        for j, n_inputs in ((1, n_in), (2, n)):
            layer(f"{block}.conv{j}", f"{block}.bn{j}", n, n_inputs)
            if j == 2 and i > 1:
                names += convolution(f"{block}.identity_downsample", (n, n_in, 1, 1))
            names.append((f"{block}.attention{j}.Wtemp", (n, bins, 1), "weight", bins))
            names.append((f"{block}.attention{j}.Wspect", (n, frames, 1), "weight", frames))
        n_in = n
    names += convolution("head.linear1", (128 * 32, 64, 1)) + convolution("head.linear2", (128, 32, 1))
    arrays = {name: formula(shape, salt, kind, fan_in) for salt, (name, shape, kind, fan_in) in enumerate(names)}
    torch_file(tmp_path / "audsearch.pt", arrays)
    trained = imports.read(tmp_path / "audsearch.pt")
    assert (
        sum(array.size for name, array in identities.named(trained.variables).items() if "params" in name) == 19_968_256
    )
    network_ = numpy_network.NumpyNetwork(trained.variables, trained.config, identity={})
    assert_equal(network_(systems["waveforms"][[0, 2, 3]]), systems["bench_audsearch"])


def n_parameters(trained) -> int:
    return sum(array.size for array in identities.named(trained.variables).values())


def convolution(name: str, shape: tuple[int, ...]) -> list[tuple[str, tuple[int, ...], str, int]]:
    return [(f"{name}.weight", shape, "weight", int(np.prod(shape[1:]))), (f"{name}.bias", shape[:1], "bias", 1)]


def norm(name: str, shape: tuple[int, ...]) -> list[tuple[str, tuple[int, ...], str, int]]:
    return [(f"{name}.weight", shape, "gamma", 1), (f"{name}.bias", shape, "beta", 1)]


def formula(shape: tuple[int, ...], salt: int, kind: str, fan_in: int) -> np.ndarray:
    """Returns the numbers that the vectors' README of the systems gives for a tensor."""
    prime, n = 2**31 - 1, int(np.prod(shape))
    k = (np.arange(1, n + 1, dtype=np.int64) + 1000003 * salt) % prime
    h = 2 * (k * k % prime * 1103515245 % prime) / prime - 1
    values = {"weight": np.sqrt(3 / fan_in) * h, "gamma": 1 + h / 4}.get(kind, h / 10)
    return values.reshape(shape).astype(np.float32)


def torch_file(path: pathlib.Path, contents: dict) -> None:
    """Writes what torch.save writes for nested dicts of whole numbers and float32 arrays."""
    arrays: list[np.ndarray] = []
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + _program(contents, arrays) + b".")
        for i, array in enumerate(arrays):
            archive.writestr(f"x/data/{i}", array.astype("<f4").tobytes())


def _program(value, arrays: list[np.ndarray]) -> bytes:
    if isinstance(value, dict):
        items = b"".join(_program(key, arrays) + _program(item, arrays) for key, item in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value)) + value.encode()
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    arrays.append(np.ascontiguousarray(value))
    steps = np.array(arrays[-1].strides) // 4
    place = (_program(part, arrays) for part in (str(len(arrays) - 1), "cpu", value.size))
    storage = b"(" + _program("storage", arrays) + b"ctorch\nFloatStorage\n" + b"".join(place) + b"tQ"
    sizes = b"".join(b"(" + b"".join(_program(int(n), arrays) for n in of) + b"t" for of in (value.shape, steps))
    arguments = b"(" + storage + _program(0, arrays) + sizes + b"\x89ccollections\nOrderedDict\n)Rt"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
