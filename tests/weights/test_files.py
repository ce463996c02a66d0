"""An exported network is the trained one: in its file, under JAX, and in numpy without JAX."""

import contextlib
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from nafp import errors
from nafp.audio import decode
from nafp.fingerprints import extract
from nafp.identify import identifier
from nafp.models import filterbank, identities, network, numpy_spectrogram
from nafp.weights import files, sources
from tests import commands, networks

ROOT = pathlib.Path(__file__).parents[2]
MUSIC = sorted((ROOT / "tests" / "recordings" / "music").glob("*.opus"))[:2]
ABOUT = {"format", "config", "step", "sha256", "source", "spectrogram_sha256", "config_sha256"}
BANK = ("spectrogram/filters", "spectrogram/window")


def assert_same_tree(found, wanted):
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


# The file


@pytest.mark.parametrize("format", files.FORMATS)
@pytest.mark.parametrize("norm", ["layer_norm2d", "batch_norm"])
def test_what_is_read_is_what_was_written(tmp_path, norm, format):
    c = networks.config(**{"model.norm": norm, "audio.hop_s": 0.25})
    variables = networks.trained_variables(c)
    path = tmp_path / "new" / "a.bin"
    written = files.write(path, variables, c, step=7, source="run@7", format=format)
    found, found_config, step = files.read(path)
    assert_same_tree(found, variables)
    assert (found_config.to_dict(), step) == (c.to_dict(), 7)
    assert written.n_bytes == path.stat().st_size
    assert written.n_parameters == sum(x.size for x in jax.tree.leaves(variables["params"]))
    assert written.sha256 == identities.sha256(variables)
    before = identities.sha256_before(variables)
    identity = {"sha256": written.sha256, "sha256_before": before, "source": "a.bin", "step": 7}
    identity["settings"] = identities.settings_sha256(c)
    assert files.load(path).identity == identity


@pytest.mark.parametrize("format", files.FORMATS)
def test_a_configuration_that_was_changed_in_the_file_is_damage(tmp_path, small, format, monkeypatch):
    save = getattr(files, f"_save_{format}")

    def save_with_another(file, arrays, about):
        save(file, arrays, about | {"config": about["config"].replace('"low_hz": 300.0', '"low_hz": 308.0')})

    monkeypatch.setattr(files, f"_save_{format}", save_with_another)
    files.write(tmp_path / "a", *small[:2], step=3, format=format)
    for read in (files.read, files.load):
        with pytest.raises(errors.Invalid, match="its configuration is not the one it was written with"):
            read(tmp_path / "a")


@pytest.mark.parametrize("format", files.FORMATS)
def test_whatever_is_wrong_with_a_file_is_said_in_one_line(tmp_path, small, format):
    path = tmp_path / "a"
    files.write(path, *small[:2], step=3, format=format)
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    for place in [*range(0, 40, 3), *draw.integers(0, len(whole), 12).tolist(), *range(-60, 0, 4)]:
        harmed = bytearray(whole)
        harmed[place] ^= 1 << int(draw.integers(8))
        for data in (harmed, whole[:place], whole[:place] + bytes(40) + whole[place + 40 :]):
            path.write_bytes(data)
            for read in (files.read, files.load):
                with contextlib.suppress(errors.Invalid):
                    read(path)


def test_entries_have_names_to_read(tmp_path, small):
    files.write(tmp_path / "a.npz", *small[:2], step=3, source="run@3")
    with np.load(tmp_path / "a.npz") as file:
        assert file["params/block1_time/kernel"].shape == (1, 3, 1, 4)
        assert file["params/head/output_bias"].shape == (16,)
        assert {name for name in file.files if "/" not in name} == ABOUT
        assert json.loads(file["config"].item())["model"]["dim"] == 16
        assert (file["step"].item(), file["source"].item()) == (3, "run@3")


@pytest.mark.parametrize("format", files.FORMATS)
def test_float16_halves_the_file_and_keeps_the_fingerprints(tmp_path, small, waveforms, format):
    variables, c, run = small
    whole = files.write(tmp_path / "whole", variables, c, step=0, format=format)
    half = files.write(tmp_path / "half", variables, c, step=0, format=format, dtype="float16")
    assert whole.n_bytes - half.n_bytes == pytest.approx(2 * whole.n_parameters, abs=200)
    cosines = np.sum(files.load(tmp_path / "half")(waveforms) * run(waveforms), axis=1)
    assert cosines.min() > 0.999
    assert half.sha256 != whole.sha256  # Another network: its fingerprints differ a little.
    read = files.read(tmp_path / "half")[0]
    assert half.sha256 == identities.sha256(read)


def test_running_statistics_stay_float32(tmp_path):
    c = networks.config(**{"model.norm": "batch_norm"})
    variables = networks.trained_variables(c)
    variables["batch_stats"]["block1_time_mean"][...] = 1e6
    files.write(tmp_path / "a.npz", variables, c, step=0, dtype="float16")
    assert_same_tree(files.read(tmp_path / "a.npz")[0]["batch_stats"], variables["batch_stats"])


def test_a_parameter_too_large_for_float16_is_refused(tmp_path, small):
    variables = jax.tree.map(np.copy, small[0])
    variables["params"]["block2_time"]["bias"][0] = 1e5
    with pytest.raises(ValueError, match=r"params/block2_time/bias has values beyond 65504.*float32"):
        files.write(tmp_path / "a.npz", variables, small[1], step=0, dtype="float16")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", files.FORMATS)
def test_the_same_network_is_the_same_bytes(tmp_path, small, format):
    for name in "ab":
        files.write(tmp_path / name, *small[:2], step=3, format=format)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("format", files.FORMATS)
def test_a_file_brings_its_mel_filters_and_window(tmp_path, small, waveforms, format):
    variables, c, run = small
    files.write(tmp_path / "a", variables, c, step=3, format=format, dtype="float16")
    entries = dict(np.load(tmp_path / "a")) if format == "npz" else safetensors.numpy.load_file(tmp_path / "a")
    bank = filterbank.by_librosa(**files.bank_settings(c))
    np.testing.assert_array_equal(entries[BANK[0]], bank.filters)
    np.testing.assert_array_equal(entries[BANK[1]], bank.window)
    np.testing.assert_allclose(files.load(tmp_path / "a")(waveforms), run(waveforms), atol=0.05)


def test_a_network_runs_with_the_mel_filters_it_is_given(small, waveforms, tmp_path, monkeypatch):
    variables, c, run = small
    bank = filterbank.by_librosa(**files.bank_settings(c))
    upside_down = filterbank.MelBank(bank.filters[:, ::-1], bank.window)
    monkeypatch.setattr(filterbank, "by_librosa", lambda **_: upside_down)
    files.write(tmp_path / "a.npz", variables, c, step=3)
    other = files.load(tmp_path / "a.npz")(waveforms[:1])
    assert np.abs(other - run(waveforms[:1])).max() > 0.01
    mel = numpy_spectrogram.log_mel(waveforms, **network.mel_settings(c), bank=upside_down)
    upright = numpy_spectrogram.log_mel(waveforms, **network.mel_settings(c))
    np.testing.assert_allclose(mel[:, ::-1], upright, atol=1e-5)


@pytest.mark.parametrize("format", files.FORMATS)
def test_a_file_of_version_0_2_has_no_mel_filters_and_is_read(tmp_path, small, waveforms, format, monkeypatch):
    variables, c, run = small
    save = getattr(files, f"_save_{format}")

    def save_as_before(file, arrays, about):
        parameters = {name: array for name, array in arrays.items() if name not in BANK}
        save(file, parameters, {key: value for key, value in about.items() if key != "spectrogram_sha256"})

    monkeypatch.setattr(files, f"_save_{format}", save_as_before)
    files.write(tmp_path / "a", variables, c, step=3, format=format)
    np.testing.assert_array_equal(files.load(tmp_path / "a")(waveforms), run(waveforms))


@pytest.mark.parametrize("lost", [*BANK, "last row"])
def test_mel_filters_that_are_lost_or_cut_are_damage(tmp_path, small, lost):
    files.write(tmp_path / "a.npz", *small[:2], step=3)
    entries = dict(np.load(tmp_path / "a.npz"))
    if lost == "last row":
        entries[BANK[0]] = entries[BANK[0]][:-1]
    else:
        del entries[lost]
    np.savez(tmp_path / "a.npz", **entries)
    with pytest.raises(errors.Invalid, match=r"a.npz is damaged: its mel filters.*nafp export"):
        files.load(tmp_path / "a.npz")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, small, monkeypatch):
    path = tmp_path / "a.npz"
    files.write(path, *small[:2], step=3)

    def fail(file, **entries):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write(path, *small[:2], step=4)
    assert files.read(path)[2] == 3
    assert list(tmp_path.iterdir()) == [path]


def test_safetensors_is_what_its_own_library_reads(tmp_path, small):
    files.write(tmp_path / "a.safetensors", *small[:2], step=3, format="safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert set(file.metadata()) == ABOUT
        bias = file.get_tensor("params/block8_time/norm_bias")
        assert len(list(file.keys())) == len(jax.tree.leaves(small[0])) + len(BANK)
    np.testing.assert_array_equal(bias, small[0]["params"]["block8_time"]["norm_bias"])


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such exported network.*nafp export"):
        files.read(tmp_path / "a.npz")


def test_another_npz_is_told_what_it_lacks(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3), step=1)
    with pytest.raises(ValueError, match=r"no exported network: format, config, sha256.*nafp export"):
        files.read(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"hello, world; this is no network", b"\xff" * 64])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.npz is damaged, or no exported network.*nafp export"):
        files.read(tmp_path / "a.npz")


@pytest.mark.parametrize("format", files.FORMATS)
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_file_is_refused(tmp_path, small, format, damage):
    path = tmp_path / "a"
    files.write(path, *small[:2], step=3, format=format)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"is damaged.*nafp export"):
        files.load(path)


def test_a_bit_flipped_anywhere_in_a_safetensors_is_found(tmp_path, small):
    path = tmp_path / "a.safetensors"
    files.write(path, *small[:2], step=3, format="safetensors")
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for at in np.linspace(start, len(data) - 1, 20).astype(int):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        with pytest.raises(errors.Invalid, match=r"is damaged.*nafp export"):
            files.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"more",
        lambda data: (2**60).to_bytes(8, "little") + data[8:],
        lambda data: (2**24).to_bytes(8, "little") + data[8:],
        lambda data: data[:5],
        lambda data: data.replace(b'"F32"', b'"I32"'),
        lambda data: data.replace(b'"F32"', b'"F99"', 1),
    ],
    ids=["trailing bytes", "absurd header", "header beyond the end", "no header", "integers", "unknown type"],
)
def test_a_safetensors_that_cannot_be_right_is_refused(tmp_path, small, change):
    path = tmp_path / "a.safetensors"
    files.write(path, *small[:2], step=3, format="safetensors")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(errors.Invalid, match=r"(is damaged|no exported network).*nafp export"):
        files.read(path)


@pytest.mark.parametrize("format", files.FORMATS)
def test_a_source_may_have_any_name_that_a_file_has(tmp_path, small, format):
    files.write(tmp_path / "a", *small[:2], step=3, source="Übung\udcff 東京@3", format=format)
    assert files.read(tmp_path / "a")[2] == 3


def test_a_file_of_a_later_format_is_refused(tmp_path, small, monkeypatch):
    monkeypatch.setattr(files, "_FORMAT", "nafp network 2")
    files.write(tmp_path / "a.npz", *small[:2], step=3)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="format 'nafp network 2', this nafp reads"):
        files.read(tmp_path / "a.npz")


@pytest.mark.parametrize("setting", [{"dtype": "int8"}, {"format": "torch"}])
def test_a_wrong_setting_is_told_the_right_ones(tmp_path, small, setting):
    with pytest.raises(ValueError, match=r"allowed are (float32, float16|npz, safetensors)"):
        files.write(tmp_path / "a.npz", *small[:2], step=3, **setting)


# The verbs, and life without JAX


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports the best of a run by the command: (folder, what it said)."""
    folder = tmp_path_factory.mktemp("export")
    networks.write_run(folder / "run", networks.few_blocks(), {10: 0.5, 20: 0.25})
    done = commands.nafp("export", f"--checkpoint={folder}/run@best", f"--out={folder}/small.npz")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_command_says_what_it_wrote(exported):
    folder, said = exported
    variables, c, step, _ = sources.read(f"{folder}/run@10")
    found, found_config, found_step = files.read(folder / "small.npz")
    assert_same_tree(found, variables)
    assert (found_config.to_dict(), found_step) == (c.to_dict(), step)
    n_parameters = sum(x.size for x in jax.tree.leaves(variables["params"]))
    assert said.startswith(f"run@10  →  {folder}/small.npz: {n_parameters:,} parameters as float32")
    assert f"{(folder / 'small.npz').stat().st_size:,} bytes" in said


def test_a_folder_as_the_file_is_refused_before_work(exported):
    done = commands.nafp("export", f"--checkpoint={exported[0]}/run", f"--out={exported[0]}")
    assert done.returncode == 2
    assert "is a folder: name the file" in done.stderr


def test_the_file_serves_where_the_run_does_and_numpy_finds_what_jax_stored(exported):
    folder, _ = exported
    extractor = sources.open_extractor(str(folder / "small.npz"), batch_size=32)
    identity, of_run = extractor.identity, sources.open_extractor(f"{folder}/run@10", batch_size=32).identity
    assert identity["sha256"] == of_run["sha256"]
    (folder / "list.txt").write_text("".join(f"{path}\n" for path in MUSIC))
    store = folder / "store"
    extract.extract(extractor, str(folder / "list.txt"), str(store), name="db")
    in_numpy = files.load(folder / "small.npz")
    clip = decode.load(MUSIC[1], sample_rate_hz=8000)[24000:64000]
    np.testing.assert_allclose(in_numpy.track(clip), extractor.track(clip), atol=1e-4)
    best = identifier.Identifier.open(in_numpy, store).identify(clip, sample_rate_hz=8000)[0]
    assert (pathlib.Path(best.track), best.start_s) == (MUSIC[1], 3.0)


def test_reading_and_running_needs_no_jax(exported, waveforms):
    folder, _ = exported
    np.save(folder / "waveforms.npy", waveforms)
    code = """
import sys
for name in ("jax", "jaxlib", "flax", "scipy", "librosa"):
    sys.modules[name] = None
import numpy
from nafp.identify import identifier
from nafp.weights import files
folder = sys.argv[1]
network = files.load(f"{folder}/small.npz")
numpy.save(f"{folder}/found.npy", network(numpy.load(f"{folder}/waveforms.npy")))
files.load(sys.argv[2])  # Of version 0.2, without mel filters.
assert not [name for name in sys.modules if name.startswith(("jax.", "flax.", "orbax"))]
"""
    command = [sys.executable, "-c", code, str(folder), str(sources.weights_file("small"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here = files.load(folder / "small.npz")(waveforms)
    np.testing.assert_allclose(np.load(folder / "found.npy"), here, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["npz", "safetensors"])
def test_any_changed_byte_of_a_network_is_refused_or_changes_nothing(tmp_path, small, format):
    """The fast tests are those of a damaged file and of a flipped bit above."""
    path = tmp_path / "a"
    files.write(path, *small[:2], step=3, format=format)
    whole, right = path.read_bytes(), files.load(path)
    head = 8 + int.from_bytes(whole[:8], "little") if format == "safetensors" else 2000
    tail = 2000 if format == "npz" else 200  # A zip's table of contents is at its end.
    places = [*range(head), *range(head, len(whole) - tail, 97), *range(len(whole) - tail, len(whole))]
    n_refused = 0
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            network = files.load(path)
        except errors.Error:
            n_refused += 1
            continue
        assert network.config.to_dict() == right.config.to_dict()
        told = {"source", "step"}  # What the file is called changes no fingerprint.
        same = {key: value for key, value in right.identity.items() if key not in told}
        assert {key: network.identity.get(key) for key in same} == same
    assert n_refused > len(places) / 2


def test_a_file_that_one_may_not_read_is_not_called_damaged(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.npz").write_bytes(b"x")
    monkeypatch.setattr(files.plain_files, "opened", refuse)
    with pytest.raises(errors.Invalid, match=r"a\.npz: cannot be read: Permission denied$"):
        files.read(tmp_path / "a.npz")
