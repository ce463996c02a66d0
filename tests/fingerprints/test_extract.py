"""Extraction takes any source, loses nothing to a kill, and survives bad files."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
import soundfile

from nafp.audio import decode
from nafp.corpora import corpus, manifest
from nafp.fingerprints import extract, hosts
from nafp.search import store
from tests import networks, tunes

ROOT = pathlib.Path(__file__).parents[2]
RECORDINGS = ROOT / "tests" / "recordings" / "RECORDINGS.csv"
IDENTITY = {"sha256": "a1b2", "source": "run@10", "step": 10, "dtype": "float32"}


@pytest.fixture(scope="module")
def network():
    """A network on one device, so that other processes compute the same bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        return networks.extractor(networks.few_blocks(), seed=10, batch_size=16, identity=IDENTITY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run and ten short pieces of the shipped recordings."""
    made = tmp_path_factory.mktemp("extract")
    networks.write_run(made / "run", networks.few_blocks(), {10: 0.5})
    music = [track for track in manifest.read(RECORDINGS) if track.kind == "music"]
    (made / "music").mkdir()
    for i, track in enumerate(music[:10]):
        samples = decode.load(track.path, sample_rate_hz=16000, seconds=1.2 + i / 2)
        soundfile.write(made / f"music/{i}.{('wav', 'flac', 'ogg')[i % 3]}", samples, 16000)
    return made


def run(network, source, out, *, name="db", **settings):
    return extract.extract(network, str(source), str(out), name=name, **settings)


def command(folder, source, out, *more):
    flags = {"checkpoint": folder / "run", "source": source, "out": out, "batch_size": 16}
    given = (f"--{name}={value}" for name, value in flags.items())
    return [sys.executable, "-m", "nafp", "extract", *given, *more]


def environment(folder):
    cache = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "NAFP_CACHE": str(folder / "cache")}
    return {**os.environ, **cache}


def nafp(folder, source, out, *more):
    line = command(folder, source, out, *more)
    return subprocess.run(line, cwd=ROOT, env=environment(folder), capture_output=True, text=True)


def files_of(out, name="db"):
    endings = (".mm", "_shape.npy", "_tracks.csv", ".json")
    return {ending: (out / f"{name}{ending}").read_bytes() for ending in endings}


def test_a_store_holds_the_fingerprints_of_every_file_in_order(network, folder, tmp_path):
    report = run(network, folder / "music", tmp_path)
    opened = store.Store.open(tmp_path, "db")
    paths = sorted(str(path) for path in (folder / "music").iterdir())
    assert [track.track for track in opened.tracks] == paths
    assert (report.n_tracks, report.n_rows, report.failures) == (10, len(opened), [])
    for track in opened.tracks:
        audio = decode.load(track.track, sample_rate_hz=8000)
        rows = opened.vectors[track.first_row : track.first_row + track.n_rows]
        np.testing.assert_array_equal(rows, network.track(audio))
        assert track.seconds == len(audio) / 8000


def test_every_kind_of_source_gives_the_same_fingerprints(network, folder, tmp_path):
    paths = sorted((folder / "music").iterdir())
    (tmp_path / "list.txt").write_text("\n".join(str(path) for path in paths))
    tracks, _ = manifest.scan([folder / "music"])
    manifest.write(tmp_path / "tracks.csv", tracks)
    corpus.build(tracks, tmp_path / "corpus", jobs=0)
    run(network, folder / "music", tmp_path)
    expected = store.Store.open(tmp_path, "db")
    for source in ("list.txt", "tracks.csv", "corpus"):
        run(network, tmp_path / source, tmp_path, name=source)
        opened = store.Store.open(tmp_path, source)
        tolerance = 2e-2 if source == "corpus" else 0  # A corpus has rounded to 16 bits.
        np.testing.assert_allclose(opened.vectors, expected.vectors, atol=tolerance)
        assert [track.n_rows for track in opened.tracks] == [t.n_rows for t in expected.tracks]
    run(network, paths[4], tmp_path, name="one")
    first, n_rows = expected.tracks[4].first_row, expected.tracks[4].n_rows
    one = store.Store.open(tmp_path, "one").vectors
    np.testing.assert_array_equal(one, expected.vectors[first : first + n_rows])


def test_a_split_of_a_corpus_is_a_store_of_its_own(network, folder, tmp_path):
    tracks, _ = manifest.scan([folder / "music"])
    splits = [track._replace(split="test" if i < 3 else "train") for i, track in enumerate(tracks)]
    built = corpus.build(splits, tmp_path / "corpus", jobs=0)
    for name, split in (("query", "test"), ("dummy_db", "train")):
        run(network, built.folder, tmp_path, name=name, split=split)
    assert store.names(tmp_path) == ["dummy_db", "query"]
    assert len(store.Store.open(tmp_path, "query").tracks) == 3
    with pytest.raises(ValueError, match=r"no track with .*split 'val'.*music test 3"):
        run(network, built.folder, tmp_path, name="val", split="val")


def test_the_original_reads_a_store_and_we_what_made_it(network, folder, tmp_path):
    run(network, folder / "music", tmp_path, name="dummy_db")
    shape = np.load(tmp_path / "dummy_db_shape.npy")
    rows = np.memmap(tmp_path / "dummy_db.mm", "float32", "r", shape=(shape[0], shape[1]))
    assert shape[1] == 16
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    meta = store.Store.open(tmp_path, "dummy_db").meta
    assert meta["model"] == IDENTITY
    assert meta["config"] == json.loads(json.dumps(network.config.to_dict()))
    assert (meta["sample_rate_hz"], meta["segment_s"], meta["hop_s"]) == (8000, 1.0, 0.5)


def test_a_track_listed_twice_is_fingerprinted_once(network, folder, tmp_path, capsys):
    path = folder / "music/0.wav"
    (tmp_path / "party.m3u").write_text(f"#EXTM3U\n{path}\n{path}\n")
    assert run(network, tmp_path / "party.m3u", tmp_path).n_tracks == 1
    assert "1 of 2 tracks are repetitions" in capsys.readouterr().out


def test_a_finished_store_is_only_overwritten_when_told(network, folder, tmp_path):
    run(network, folder / "music/0.wav", tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(FileExistsError, match="--overwrite"):
        run(network, folder / "music/1.flac", tmp_path)
    assert files_of(tmp_path) == before
    run(network, folder / "music/1.flac", tmp_path, overwrite=True)
    assert [track.track for track in store.Store.open(tmp_path, "db").tracks] == [str(folder / "music/1.flac")]


def begin(network, source, out, *, identity=IDENTITY):
    """Writes an unfinished store with one track in it."""
    meta = extract.store_meta(network.config, identity)
    with store.Writer(out, "db", dim=network.dim, meta=meta) as writer:
        writer.append(str(source), 1.0, np.full((1, network.dim), 0.25, np.float32))


@pytest.mark.parametrize("other", [{"sha256": "c3d4"}, {"dtype": "bfloat16"}])
def test_the_unfinished_store_of_another_network_is_refused(network, folder, tmp_path, other):
    begin(network, folder / "music/0.wav", tmp_path, identity={**IDENTITY, **other})
    with pytest.raises(ValueError, match=r"begun with other settings \(model: .*--overwrite"):
        run(network, folder / "music", tmp_path)
    assert run(network, folder / "music", tmp_path, overwrite=True).n_tracks == 10


def test_an_unfinished_store_of_another_source_is_refused(network, folder, tmp_path):
    begin(network, folder / "elsewhere.wav", tmp_path)
    with pytest.raises(ValueError, match=r"another source: 1 of its tracks.*elsewhere.wav"):
        run(network, folder / "music", tmp_path)


def test_what_is_there_is_not_done_again(network, folder, tmp_path, capsys):
    begin(network, folder / "music/0.wav", tmp_path)
    report = run(network, folder / "music", tmp_path)
    assert report.n_tracks == 9
    assert "10 tracks, " in extract.describe(report, tmp_path, "db", wall_s=1.0)
    assert ", 9 tracks now" in extract.describe(report, tmp_path, "db", wall_s=1.0)
    assert "goes on; 1 of 10 tracks" in capsys.readouterr().out
    assert (store.Store.open(tmp_path, "db").vectors[0] == 0.25).all()


def test_bad_files_are_named_skipped_and_counted(network, tmp_path, capsys):
    audio = tunes.troubles(tmp_path / "audio")
    tunes.write(audio / "short.wav", tunes.tune(0.9))
    report = run(network, audio, tmp_path)
    good = {pathlib.Path(t.track).stem for t in store.Store.open(tmp_path, "db").tracks}
    assert good == {"good", "silent", "hiss", "cut"}
    reasons = {pathlib.Path(path).stem: reason for path, reason in report.failures}
    assert set(reasons) == {"nan", "empty", "text", "zero", "stub", "short"}
    assert "NaN" in reasons["nan"]
    assert "0 bytes" in reasons["empty"]
    assert "0.90 s, shorter than one segment" in reasons["short"]
    ((damaged, why),) = report.damaged
    assert pathlib.Path(damaged).stem == "cut"
    assert "5.0 s decoded of 10.0 s promised" in why
    printed = capsys.readouterr().err
    assert all(f"skipped {path}: {reason}" in printed for path, reason in report.failures)
    closing = extract.describe(report, tmp_path, "db", wall_s=2.0)
    assert "4 tracks" in closing
    assert "6 skipped:" in closing
    assert "1 damaged:" in closing


def test_nothing_usable_says_what_was_looked_for_and_where(network, tmp_path):
    audio = tunes.troubles(tmp_path / "audio")
    for path in audio.iterdir():
        if path.stem not in ("text", "empty"):
            path.unlink()
    with pytest.raises(ValueError, match=r"audio: none of its 2 tracks.*(empty|text).*(empty|text)"):
        run(network, audio, tmp_path)
    assert store.names(tmp_path) == []
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match=r"no audio files below .*nothing; looked for .*\.flac"):
        run(network, tmp_path / "nothing", tmp_path)
    with pytest.raises(ValueError, match="nowhere: no such corpus, folder, list or audio file"):
        run(network, tmp_path / "nowhere", tmp_path)


KILLING = """
    import os, signal, sys
    real, left = os.fsync, int(sys.argv.pop(1))
    def fsync(handle):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)
    os.fsync = fsync
    from nafp import cli
    sys.argv = ["nafp", *sys.argv[1:]]
    cli.main()
"""


def killing(line, n_syncs):
    """Returns the same command, in a process that kills itself when it syncs to the disk for the nth time."""
    return [sys.executable, "-c", textwrap.dedent(KILLING), str(n_syncs), *line[3:]]


def tracks_in(journal):
    return len(journal.read_bytes().splitlines()) - 1


class Killed(BaseException):
    """Ends an extraction as a kill does: nothing catches it."""


def run_until_sync(n_syncs, *args, **settings):
    """Extracts until the nth time that a file is synced to the disk, and ends there."""
    real, left = os.fsync, n_syncs

    def fsync(handle):
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        real(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        run(*args, **settings)


def test_ended_at_several_moments_it_resumes_to_the_same_bytes(network, folder, tmp_path, capsys):
    run(network, folder / "music", tmp_path / "whole")
    finished = []
    for n_syncs in (8, 9, 8):  # In a track, in the next, in the finish.
        with pytest.raises(Killed):
            run_until_sync(n_syncs, network, folder / "music", tmp_path / "killed")
        finished.append(tracks_in(tmp_path / "killed/db.journal"))
    assert finished == [3, 7, 10]  # No track twice, none lost.
    run(network, folder / "music", tmp_path / "killed")
    assert "goes on; 10 of 10 tracks" in capsys.readouterr().out
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


@pytest.mark.slow
def test_killed_at_several_moments_it_resumes_to_the_same_bytes(folder, tmp_path):
    """The fast test is test_ended_at_several_moments_it_resumes_to_the_same_bytes."""
    whole = nafp(folder, folder / "music", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    line = command(folder, folder / "music", tmp_path / "killed")
    finished = [0]
    for n_syncs in (8, 9, 8, 100):  # In a track, in the next, in the finish, never.
        last = subprocess.run(
            killing(line, n_syncs),
            cwd=ROOT,
            env=environment(folder),
            capture_output=True,
            text=True,
        )
        if last.returncode == 0:
            break
        assert last.returncode == -signal.SIGKILL, last.stderr
        finished.append(tracks_in(tmp_path / "killed/db.journal"))
    assert finished == [0, 3, 7, 10]  # No track twice, none lost.
    assert "goes on; 10 of 10 tracks" in last.stdout
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_shares_of_several_processes_make_the_store_of_one(network, folder, tmp_path, monkeypatch):
    audio = shutil.copytree(folder / "music", tmp_path / "audio")
    (audio / "3.txt.wav").write_text("words")  # In the share of process 1.
    run(network, audio, tmp_path / "one")
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    for i in (1, 2, 0):
        monkeypatch.setattr(jax, "process_index", lambda i=i: i)
        report = run(network, audio, tmp_path / "three")
    assert (report.n_tracks, len(report.failures)) == (10, 1)
    assert files_of(tmp_path / "three") == files_of(tmp_path / "one")
    assert not (tmp_path / "three/db.parts").exists()


def test_what_goes_wrong_together_is_raised_where_it_happens():
    with hosts.together("nothing"):
        pass
    with pytest.raises(KeyError), hosts.together("mischief"):
        raise KeyError


def together(lines, folder):
    """Runs each line in a process of its own. Returns the exit codes and what was printed."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    started = []
    for i, line in enumerate(lines):
        place = [f"--coordinator={address}", f"--processes={len(lines)}", f"--process={i}"]
        line = [*line, *place]
        process = subprocess.Popen(
            line, cwd=ROOT, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
    try:
        printed = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    codes = [process.returncode for process in started]
    return codes, [out for out, _ in printed], [err for _, err in printed]


@pytest.mark.slow
def test_two_processes_killed_and_resumed_make_the_store_of_one(folder, tmp_path):
    """The fast test is test_shares_of_several_processes_make_the_store_of_one."""
    audio = shutil.copytree(folder / "music", tmp_path / "audio")
    (audio / "2.txt.wav").write_text("words")  # In the share of process 1.
    assert nafp(folder, audio, tmp_path / "one").returncode == 0
    line, parts = command(folder, audio, tmp_path / "two"), tmp_path / "two/db.parts"
    codes, *_ = together([killing(line, 6), killing(line, 7)], folder)
    assert codes[0] == -signal.SIGKILL
    assert codes[1] in (-signal.SIGKILL, -signal.SIGABRT)  # A process that misses the other gives up.
    before = [tracks_in(parts / f"{i}-of-2.journal") for i in (0, 1)]
    assert before[0] == 2
    codes, out, err = together([line, line], folder)
    assert codes == [0, 0], err
    for n_tracks, text in zip(before, out):
        assert f"goes on; {n_tracks} of" in text or not n_tracks
    assert "10 tracks" in out[0]  # The closing lines speak for all, once.
    assert "1 skipped:" in out[0]
    assert "skipped" not in out[1]
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    codes, _, err = together([line, line], folder)
    assert codes == [1, 1]
    assert "is a finished store" in err[0]
    assert "process 0 failed: " in err[1]
    assert "is a finished store" in err[1]
    assert "Traceback" not in "".join(err)


def test_help_shows_an_example_and_loads_nothing_heavy():
    code = """
        import sys
        from nafp import cli
        sys.argv = ["nafp", "extract", "--help"]
        cli.main()
        print({"jax", "numpy", "orbax"} & set(sys.modules))
    """
    printed = subprocess.check_output([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, text=True)
    assert "nafp extract --checkpoint=RUN@best --source=CORPUS --name=db --out=STORE" in printed
    assert printed.endswith("set()\n")
