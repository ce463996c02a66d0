"""Each index is compared with the obvious search, and the list-by-list walk with faiss."""

import errno
import functools
import os
import subprocess
import sys
import threading
from typing import Any

import faiss
import numpy as np
import pytest

from nafp import errors
from nafp.jobs import memory, threads
from nafp.search import collection, index, list_major
from tests import disks


def unit(n_rows, *, dim=16, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n_rows, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


VECTORS = unit(3000)
QUERIES = (VECTORS[:300] + 0.5 * unit(300, seed=1)) / 1.1
QUERIES /= np.linalg.norm(QUERIES, axis=1, keepdims=True)
ROWS = collection.Collection([VECTORS[:2500], VECTORS[2500:]])


def obvious(queries, k):
    cosines = queries @ VECTORS.T
    rows = np.argsort(-cosines, axis=1)[:, :k]
    return np.take_along_axis(cosines, rows, axis=1), rows


@functools.cache
def trained(kind):
    """Builds each kind once: training is most of what these tests cost."""
    return index.build(ROWS, index.plan(kind, n_rows=len(ROWS), dim=16))._cpu


def made(kind, **settings):
    return index.Index(trained(kind), index.plan(kind, n_rows=len(ROWS), dim=16, **settings))


@pytest.mark.parametrize("n", [5, 300])
@pytest.mark.parametrize("kind", ["l2", "auto"])
def test_exact_kinds_equal_the_obvious_search(kind, n):
    cosines, rows = made(kind).search(QUERIES[:n], 10)
    expected_cosines, expected = obvious(QUERIES[:n], 10)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(cosines, expected_cosines, atol=1e-6)


@pytest.mark.parametrize(
    "kind, least",
    [
        ("IVF16,Flat", 1.0),
        ("IVF16,PQ8", 0.5),
        ("HNSW16", 0.9),
        ("IVF16,PQ8x4fs", 0.2),
        ("ivf", 0.4),
    ],
)
def test_recall_is_that_of_the_kind(kind, least):
    built = made(kind, n_probe=40)
    _, nearest = built.search(QUERIES, 10)
    _, expected = obvious(QUERIES, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(nearest, expected)])
    assert recall >= least
    assert len(built) == 3000
    assert built.n_bytes > 3000


@pytest.mark.parametrize("kind", ["IVF16,PQ8", "IVF16,Flat", "IVF16,PQ4"])
@pytest.mark.parametrize("k", [1, 20, 700])
def test_walking_the_lists_equals_faiss(kind, k):
    built = made(kind, n_probe=5)
    assert built._walkable() is not None
    assert len(QUERIES) * 5 / 16 >= index.LIST_MAJOR_FROM
    cosines, rows = built.search(QUERIES, k)
    distances, expected = built._cpu.search(QUERIES, k)
    np.testing.assert_allclose(1 - cosines, distances / 2, atol=1e-6)
    for row in range(len(QUERIES)):  # Equal distances may come in any order.
        assert_same_but_ties(rows[row], expected[row], distances[row])


def assert_same_but_ties(rows, expected, distances):
    differ = np.flatnonzero(rows != expected)
    for place in differ:
        near = np.flatnonzero(np.abs(distances - distances[place]) < 1e-6)
        at_the_edge = place in near and len(distances) - 1 in near
        assert rows[place] in expected[near] or at_the_edge


def test_small_blocks_change_nothing(monkeypatch):
    built = made("IVF16,PQ8", n_probe=7)
    expected = built.search(QUERIES, 20)
    monkeypatch.setattr(list_major, "QUERY_BLOCK", 13)
    monkeypatch.setattr(list_major, "VECTOR_BLOCK", 50)
    in_small_blocks = built.search(QUERIES, 20)
    np.testing.assert_array_equal(in_small_blocks[1], expected[1])


def test_a_query_with_few_neighbours_gets_what_there_is():
    plan = index.plan("IVF64,Flat", n_rows=400, dim=16, n_probe=1)
    built = index.build(collection.Collection([VECTORS[:400]]), plan)
    cosines, rows = built.search(QUERIES, 100)
    assert (rows == -1).any()
    assert np.isneginf(cosines[rows == -1]).all()
    assert (rows[:, 0] >= 0).all()


def test_training_reads_the_rows_faiss_would_draw():
    chosen = index.plan("IVF8,Flat", n_rows=3000, dim=16)._replace(train_rows=256 * 8)
    assert chosen.train_rows < len(ROWS)
    ours: Any = index.build(ROWS, chosen)._cpu
    theirs: Any = faiss.index_factory(16, "IVF8,Flat")
    theirs.train(VECTORS)
    np.testing.assert_array_equal(ours.quantizer.reconstruct_n(0, 8), theirs.quantizer.reconstruct_n(0, 8))


@pytest.mark.parametrize("kind", ["IVF16,PQ8np", "IVF16,Flat", "IVF16,SQ8"])
def test_sized_lists_hold_what_faiss_would_put_there(kind):
    chosen = index.plan(kind, n_rows=3000, dim=16)
    ours: Any = index.build(ROWS, chosen)._cpu
    theirs: Any = faiss.clone_index(ours)
    theirs.reset()
    theirs.add(VECTORS)
    for number in range(16):
        n = ours.invlists.list_size(number)
        assert n == theirs.invlists.list_size(number)
        for read, width in (("get_ids", 1), ("get_codes", ours.code_size)):
            a, b = (faiss.rev_swig_ptr(getattr(lists.invlists, read)(number), n * width) for lists in (ours, theirs))
            np.testing.assert_array_equal(a, b)


def test_the_original_kinds_have_the_original_parameters():
    plans = {kind: index.plan(kind, n_rows=10**6, dim=128) for kind in index.KINDS[1:]}
    assert {plan.k for plan in plans.values()} == {20}
    assert plans["ivf"].factory == "IVF400,Flat"
    assert plans["ivfpq"] == index.Plan(
        "ivfpq", "IVF256,PQ64", n_probe=40, k=20, train_rows=65536, reason="as the original"
    )
    refined: Any = index._made(plans["ivfpq-rr"].factory, 128)
    assert (refined.refine_pq.M, refined.refine_pq.nbits) == (4, 4)


@pytest.mark.parametrize("n_dummy", [2500, 2000])  # At the edge of a part, and elsewhere.
def test_a_graph_is_built_in_the_calls_of_the_original(n_dummy, monkeypatch):
    monkeypatch.setattr(collection.Collection.blocks, "__defaults__", (700,))
    chosen = index.as_original(index.plan("HNSW", n_rows=3000, dim=16), n_dummy=n_dummy, n_rows=3000)
    theirs = faiss.IndexHNSWFlat(16, 16)
    theirs.hnsw.efConstruction = 80
    theirs.add(VECTORS[:n_dummy])
    theirs.add(VECTORS[n_dummy:])
    _, expected = theirs.search(QUERIES, 20)
    _, rows = index.build(ROWS, chosen).search(QUERIES)
    np.testing.assert_array_equal(rows, expected)
    _, in_blocks = index.build(ROWS, chosen._replace(add_rows=())).search(QUERIES)
    assert (in_blocks != expected).any()


@pytest.mark.parametrize("kind", index.KINDS)
def test_a_kind_may_be_written_in_capitals(kind):
    plan = index.plan(kind, n_rows=10**6, dim=128)
    assert index.plan(kind.upper(), n_rows=10**6, dim=128) == plan
    assert index.plan("IVF8,Flat", n_rows=10**6, dim=128).factory == "IVF8,Flat"


def test_an_index_says_how_many_rows_it_was_trained_on():
    chosen = index.plan("IVF8,Flat", n_rows=3000, dim=16)
    few = collection.Collection([VECTORS[:900]])
    trained_rows = [
        index.build(ROWS, plan, train_on=train_on).about["trained_rows"]
        for plan, train_on in (
            (chosen, None),
            (chosen, few),
            (chosen._replace(train_rows=400), few),
            (index.plan("l2", n_rows=3000, dim=16), few),
        )
    ]
    assert trained_rows == [3000, 900, 400, 0]


def test_auto_probes_a_sixth_of_the_lists_and_says_why():
    few = index.plan("auto", n_rows=999_999, dim=128)
    many = index.plan("auto", n_rows=5_000_000, dim=128)
    assert few.factory == "Flat"
    assert many.factory == "IVF1024,PQ64x4fs"
    assert many.n_probe >= 0.16 * 1024
    assert "5000000 rows" in many.reason
    overruled = index.plan("auto", n_rows=5_000_000, dim=128, n_probe=3, k=7)
    assert (overruled.n_probe, overruled.k) == (3, 7)


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(ValueError, match="one of auto, l2, ivf, ivfpq"):
        made("ivfqp")
    with pytest.raises(ValueError, match="only 100 rows"):
        index.plan("ivfpq", n_rows=100, dim=128)
    with pytest.raises(ValueError, match="multiple of 64"):
        index.plan("ivfpq", n_rows=10**6, dim=96)


def test_a_saved_index_is_a_plain_faiss_file(tmp_path):
    built = made("IVF16,PQ8", n_probe=5)
    built.save(tmp_path / "db.faiss")
    assert [path.name for path in tmp_path.iterdir()] == ["db.faiss"]
    assert faiss.read_index(str(tmp_path / "db.faiss")).ntotal == 3000
    again = index.Index.load(tmp_path / "db.faiss", built.plan)
    np.testing.assert_array_equal(again.search(QUERIES)[1], built.search(QUERIES)[1])


def test_an_index_that_cannot_be_written_leaves_nothing(tmp_path):
    built = made("IVF16,PQ8")
    with pytest.raises(OSError, match="nowhere"):
        built.save(tmp_path / "nowhere" / "db.faiss")
    (tmp_path / "db.faiss").mkdir()
    with pytest.raises(OSError, match=r"db\.faiss"):
        built.save(tmp_path / "db.faiss")
    assert [path.name for path in tmp_path.iterdir()] == ["db.faiss"]


def test_a_full_disk_raises_its_errno_and_leaves_nothing(tmp_path):
    built = made("l2")
    assert built.n_bytes > 2**16
    with disks.full(tmp_path / "small", n_bytes=2**16) as folder:
        (folder / "db.faiss").write_text("before")
        with pytest.raises(errors.Unwritable, match=r"db\.faiss: cannot be written: the disk is full") as raised:
            built.save(folder / "db.faiss")
        assert isinstance(raised.value.__cause__, OSError)
        assert raised.value.__cause__.errno == errno.ENOSPC
        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("db.faiss", "before")]


@pytest.fixture
def of_the_process():
    """Sets what faiss keeps for the whole process to odd values, and restores them."""
    usual = faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()
    faiss.cvar.distance_compute_blas_threshold = 4321
    faiss.omp_set_num_threads(3)
    yield lambda: (faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads())
    faiss.cvar.distance_compute_blas_threshold = usual[0]
    faiss.omp_set_num_threads(usual[1])


def test_the_settings_of_faiss_are_as_before_after_every_call(of_the_process):
    built = index.build(ROWS, index.plan("IVF16,Flat", n_rows=3000, dim=16))
    built.search(QUERIES[:5], 10)
    built.search(QUERIES, 10)
    index.exact(ROWS, QUERIES[:5], k=10)
    with pytest.raises(ValueError, match="neither one of"):
        index.build(ROWS, index.plan("ivfqp", n_rows=3000, dim=16))
    assert of_the_process() == (4321, 3)


def test_matrices_are_multiplied_until_the_last_of_several_callers_is_done(of_the_process):
    with index._matrix_products:
        with index._matrix_products:
            pass
        assert of_the_process()[0] == index._MATRICES_FROM
    callers = [threading.Thread(target=made("l2").search, args=(QUERIES, 10)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert of_the_process()[0] == 4321


def test_one_thread_or_many_give_the_same_rows(monkeypatch):
    for kind in ("l2", "IVF16,PQ8"):
        built = made(kind, n_probe=5)
        monkeypatch.setenv("NAFP_THREADS", "1")
        one = built.search(QUERIES, 20)
        monkeypatch.delenv("NAFP_THREADS")
        monkeypatch.setattr(threads, "n_threads", lambda: 3)
        three = built.search(QUERIES, 20)
        np.testing.assert_array_equal(one[1], three[1])
        monkeypatch.undo()


def test_shares_cover_everything_once():
    for n_items in (0, 1, 7, 1000):
        shares = threads.shares(n_items, n=4, smallest=5)
        assert [i for share in shares for i in range(n_items)[share]] == list(range(n_items))
        assert len(shares) <= 4


class GpuOptions:
    """A double of faiss.GpuMultipleClonerOptions: its fields (faiss 1.8 to 1.15), and no others."""

    __slots__ = (
        "allowCpuCoarseQuantizer",
        "common_ivf_quantizer",
        "indicesOptions",
        "reserveVecs",
        "shard",
        "shard_type",
        "storeTransposed",
        "useFloat16",
        "useFloat16CoarseQuantizer",
        "usePrecomputed",
        "use_cuvs",
        "verbose",
    )

    def __init__(self):
        self.useFloat16 = False


@pytest.fixture
def two_gpus(monkeypatch):
    """Stands in for a faiss with GPUs, and lists the options of each move to them."""
    moves = []

    def to_all_gpus(cpu, options):
        moves.append(options)
        return faiss.clone_index(cpu)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)
    monkeypatch.setattr(faiss, "GpuMultipleClonerOptions", GpuOptions, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", to_all_gpus, raising=False)
    return moves


def test_without_a_gpu_the_search_stays_on_the_cpu():
    assert "CPU" in made("l2").use_gpu()


def test_the_double_of_the_options_has_the_fields_of_faiss():
    real = getattr(faiss, "GpuMultipleClonerOptions", None)
    fields = set(GpuOptions.__slots__)
    if real is None:  # The CPU's faiss has no such class, but its stubs say what it is.
        stubs = os.path.join(os.path.dirname(faiss.__file__), "__init__.pyi")
        if not os.path.exists(stubs):
            pytest.skip("this faiss has neither GPUs nor stubs")
        with open(stubs) as file:
            text = file.read()
        declared = [
            text.split(f"class {name}", 1)[1].split("\nclass ")[0] for name in ("GpuClonerOptions", "GpuMultipleC")
        ]
        fields_of_faiss = {
            line.split(":")[0].strip() for body in declared for line in body.splitlines()[1:] if ":" in line
        }
        assert {name for name in fields_of_faiss if name.isidentifier()} <= fields
        assert "useFloat16" in fields_of_faiss
    else:
        assert {name for name in vars(real) | vars(real.__base__) if not name.startswith("_")} - {"thisown"} == fields


@pytest.mark.parametrize("kind, is_half", [("IVF16,PQ8", True), ("l2", False), ("IVF16,Flat", False)])
def test_a_gpu_is_used_when_faiss_sees_one(two_gpus, kind, is_half):
    built = made(kind, n_probe=5)
    few = QUERIES[:5]  # Searched by faiss itself on either side, in the same order of ties.
    expected = built.search(few)
    assert built.use_gpu() == "searching on 2 GPUs"
    assert [options.useFloat16 for options in two_gpus] == [is_half]  # Exact vectors stay exact.
    np.testing.assert_array_equal(built.search(few)[1], expected[1])


def test_an_index_that_no_gpu_holds_stays_on_the_cpu(two_gpus, monkeypatch):
    def refuse(cpu, options):
        raise RuntimeError("not implemented")

    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", refuse, raising=False)
    assert "cannot hold Flat on a GPU (not implemented)" in made("l2").use_gpu()


def test_memory_is_given_back_where_the_system_can(monkeypatch):
    """Nothing changes but what the process holds. Elsewhere than on glibc nothing happens."""
    held = np.ones(4_000_000)
    del held
    memory.give_back()
    monkeypatch.setattr(memory, "_function", lambda name: None)
    memory.give_back()
    with memory.growing():
        pass


def test_peak_memory_is_that_of_the_process_not_of_the_one_that_started_it():
    held = np.ones(30_000_000)  # 240 MB.
    asked = "from nafp.jobs import memory; print(memory.peak_mb())"
    peak_mb = float(subprocess.check_output([sys.executable, "-c", asked]))
    assert memory.peak_mb() > held.nbytes / 2**20 > peak_mb > 1
