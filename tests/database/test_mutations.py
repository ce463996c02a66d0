"""Damaged databases are refused by name or answer rightly: none is wrong, hangs, crashes or loses tracks in silence."""

import shutil

import pytest

from benchmarks import fuzz_databases
from nafp import errors
from nafp.database import catalogue, catalogue_files, network_file
from tests import databases

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return fuzz_databases.Asked(tmp_path_factory.mktemp("mutations"))


def check(asked, memory, numbers):
    cases = {number: fuzz_databases.case(asked, number, 0, memory / "case") for number in numbers}
    assert {number: case for number, case in cases.items() if case[0] in fuzz_databases.BAD} == {}


def test_some_damaged_databases(asked, memory):
    check(asked, memory, range(20))


@pytest.mark.slow
def test_many_damaged_databases(asked, memory):
    """The fast test is test_some_damaged_databases."""
    check(asked, memory, range(2000))


def flipped(path, bits):
    """Yields a file with each of these bits changed, alone."""
    whole = path.read_bytes()
    for bit in bits:
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        yield bit
    path.write_bytes(whole)


def test_every_bit_of_a_calibration_is_checked(asked, memory):
    shutil.copytree(asked.folders["float16"], memory / "db")
    with catalogue.Catalogue(memory / "db") as book:
        written = book.about()["files"]
    path = memory / "db" / network_file.CONFIDENCE
    assert network_file.calibration(path.parent, written=written) is not None
    for _ in flipped(path, range(8 * path.stat().st_size)):
        with pytest.raises(errors.Invalid, match="is damaged"):
            network_file.calibration(path.parent, written=written)


def test_a_changed_bit_anywhere_in_the_catalogue_or_its_copy_is_seen(asked, memory):
    shutil.copytree(asked.folders["pq2"], memory / "db")
    path, copy = memory / "db" / catalogue.FILE, memory / "db" / catalogue.COPY
    whole = catalogue_files.checksum(path.read_bytes())
    n_bytes = path.stat().st_size
    unstamped = {byte for place in catalogue_files._UNSTAMPED for byte in range(place.start, place.stop)}
    for bit in flipped(path, range(0, 8 * n_bytes, 401)):
        assert (catalogue_files.checksum(path.read_bytes()) != whole) == (bit // 8 not in unstamped)
    free = unstamped - set(range(60, 64))
    for bit in flipped(copy, range(0, 8 * n_bytes, 401)):
        assert bool(catalogue_files.copy_complaint(copy)) == (bit // 8 not in free)


def answers_of(folder):
    """Returns what a catalogue says, or why it is refused."""
    try:
        with catalogue.Catalogue(folder) as book:
            return [book.places(), book.segments(), book.about()["storage"]]
    except errors.Invalid as error:
        return str(error)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 67])
def test_any_changed_byte_of_the_catalogue_or_its_copy_is_refused_or_changes_nothing(memory, every):
    databases.filled(memory / "db", 32, seal_rows=640).close()
    right = answers_of(memory / "db")
    for name in (catalogue.FILE, catalogue.COPY):
        path = memory / "db" / name
        whole = path.read_bytes()
        head, rest = range(0, 100, max(1, every // 20)), range(100, len(whole), every * (1 if every == 1 else 7))
        for place in (*head, *rest):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
            said = answers_of(memory / "db")
            assert said == right or "is damaged" in said, (name, place)
        path.write_bytes(whole)


@pytest.mark.parametrize("storage", fuzz_databases.STORAGES)
def test_a_changed_bit_in_the_middle_of_the_catalogue_makes_the_copy_answer(asked, memory, storage):
    shutil.copytree(asked.folders[storage], memory / "db")
    path = memory / "db" / catalogue.FILE
    for _ in flipped(path, range(8 * 4096 + 3, 8 * path.stat().st_size, 8 * 1021)):
        with catalogue.Catalogue(memory / "db") as book:
            assert "its copy is read" in book.trouble
            assert len(book.places()) == 40
        with pytest.raises(errors.Invalid, match=r"nafp verify .* --repair"):
            catalogue.Catalogue(memory / "db", write=True)


@pytest.mark.parametrize(
    "change, words",
    [
        ("update tracks set first_row = first_row + 3 where id = 4", "share rows"),
        ("update tracks set n_rows = 900000 where id = 4", "rows of a track"),
        ("update tracks set n_rows = 0 where id = 4", "rows of a track"),
        ("update tracks set seconds = 'x' where id = 4", "seconds of a track"),
        ("update segments set file = '../../precious'", "an index file"),
        ("update segments set n_rows = 5000", "its last row"),
        ("""update about set value = '{"../x": [1, 2]}' where key = 'files'""", "a file cannot be '../x'"),
        ("update about set value = '{' where key = 'network'", "Expecting"),
        ("update about set value = '-1' where key = 'generation'", "generation"),
        ("update about set value = '1e999' where key = 'hop_s'", "hop_s"),
        ("update about set value = '\"pq9\"' where key = 'storage'", "storage"),
        ("delete from about where key = 'dim'", "number of dimensions"),
        ("insert or replace into about values ('changes', '\"x\"')", "number of changes"),
    ],
)
def test_a_catalogue_that_says_something_impossible_is_refused(memory, change, words):
    databases.filled(memory / "db", 32, seal_rows=640).close()
    (memory / "db" / catalogue.COPY).unlink()
    connection = catalogue_files._connect(f"file:{memory / 'db' / catalogue.FILE}?mode=rw")
    connection.execute(change)
    connection.close()
    with pytest.raises(errors.Invalid, match=words):
        catalogue.Catalogue(memory / "db")


def test_files_elsewhere_are_neither_read_nor_removed(memory):
    databases.filled(memory / "db", 32, seal_rows=640).close()
    (memory / "precious.faiss").write_text("precious")
    connection = catalogue_files._connect(f"file:{memory / 'db' / catalogue.FILE}?mode=rw")
    connection.execute("update segments set file = '../precious.faiss'")
    connection.close()
    for name in (catalogue.FILE, catalogue.COPY):  # As a stranger would send it.
        (memory / "db" / catalogue.COPY).unlink(missing_ok=True)
        with pytest.raises(errors.Invalid, match="an index file cannot be"):
            catalogue.Catalogue(memory / "db", write=name == catalogue.FILE)
    assert (memory / "precious.faiss").read_text() == "precious"


@pytest.mark.parametrize("name", ["writer.lock", "fingerprints-0000.log", catalogue.FILE, f"{catalogue.FILE}-wal"])
def test_no_link_is_written_through(memory, name):
    opened = databases.filled(memory / "db", 3)
    opened.close()
    (memory / "precious").write_text("precious")
    (memory / "db" / name).unlink(missing_ok=True)
    (memory / "db" / name).symlink_to(memory / "precious")
    with pytest.raises(errors.Invalid):
        opened.writer()
    assert (memory / "precious").read_text() == "precious"


def test_a_changed_bit_of_the_stamp_costs_nothing_and_the_same_damage_in_both_files_is_seen(asked, memory):
    shutil.copytree(asked.folders["float16"], memory / "db")
    path, copy = memory / "db" / catalogue.FILE, memory / "db" / catalogue.COPY
    for _ in flipped(copy, range(8 * 60, 8 * 64)):
        with catalogue.Catalogue(memory / "db") as book:
            assert book.trouble == ""
    data = bytearray(copy.read_bytes())
    data[-700:] = bytes(700)
    copy.write_bytes(data)
    path.write_bytes(data)
    with pytest.raises(errors.Invalid, match="and so is its copy"):
        catalogue.Catalogue(memory / "db")
