"""Plain data is read out of a pickle, and a hostile pickle is refused quickly, in little memory, and runs nothing."""

import collections
import datetime
import json
import os
import pathlib
import pickle
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from nafp.corpora import lists, pickles

DATA = [
    ["a", "b\n", "\u00e9\udcff"],
    ("x", 1, -(2**70), 2.5, None, True),
    {"a": [1, 2], 10: {19: [3]}},
    collections.OrderedDict(a=1),
    b"bytes",
    [],
]
ARRAYS = [
    np.arange(5),
    np.array([[1.5, 2], [3, 4]], order="F"),
    np.array(["ab", "c"]),
    np.arange(3, dtype=">i4"),
    np.array(True),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_reads_as_pythons_own_reader_reads_it(tmp_path, protocol):
    path = tmp_path / "data.pkl"
    for value in DATA:
        path.write_bytes(pickle.dumps(value, protocol))
        assert pickles.read(path) == pickle.loads(path.read_bytes())
    for values in ARRAYS:
        path.write_bytes(pickle.dumps({"ids": values}, protocol))
        found = pickles.read(path)["ids"]
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)
    path.write_bytes(pickle.dumps([pathlib.Path("/a/b"), np.int64(3), {1}, {np.int64(3): 4}], protocol))
    assert pickles.read(path) == ["/a/b", 3, [1], {3: 4}]


@pytest.mark.parametrize(
    "data, value",
    [
        (b"(lp1\nS'a.wav'\np2\naS'b.wav'\np3\na.", ["a.wav", "b.wav"]),
        (b"\x80\x02]q\x01(U\x05\xe9.wavq\x02U\x05b.wavq\x03e.", ["\xe9.wav", "b.wav"]),
        (b"]2(I1\nI2\ne0N0.", [1, 2]),
    ],
)
def test_lists_of_python_2_are_read(tmp_path, data, value):
    # It numbers what it remembers from 1 on, and keeps text as bytes. DUP and POP are allowed as well.
    (tmp_path / "old.pkl").write_bytes(data)
    assert pickles.read(tmp_path / "old.pkl") == value


class Runs:
    """Runs a command when Python's own reader reads it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path, protocol):
    proof = tmp_path / "proof"
    for bad in (
        Runs(os.system, f"touch {proof}"),
        Runs(eval, f"open({str(proof)!r}, 'w')"),
        Runs(os.mkdir, str(proof)),
        Runs(getattr, "text", "upper"),
    ):
        (tmp_path / "bad.pkl").write_bytes(pickle.dumps(["a.wav", bad], protocol))
        with pytest.raises(ValueError, match=r"asks to run .* was not run"):
            lists.read(tmp_path / "bad.pkl")
    assert not proof.exists()
    (tmp_path / "bad.pkl").write_bytes(b"cos\nsystem\n(S'touch " + bytes(proof) + b"'\ntR.")
    with pytest.raises(ValueError, match=r"os.system; it was not run"):
        pickles.read(tmp_path / "bad.pkl")
    assert not proof.exists()


@pytest.mark.parametrize("value", [datetime.date(2020, 1, 1), len, np.array([None, "x"], object), pathlib.Path])
def test_whatever_is_no_data_is_refused(tmp_path, value):
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match="not a pickle of plain data"):
        pickles.read(tmp_path / "v.pkl")


def test_what_contains_itself_is_refused_and_what_is_shared_is_read_once(tmp_path):
    circle = []
    circle.append(circle)
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(circle))
    with pytest.raises(ValueError, match="contains itself"):
        pickles.read(tmp_path / "c.pkl")
    nested = ["x"]
    for _ in range(200):  # 2 to the 200 strings, if each were read by itself.
        nested = [nested, nested]
    (tmp_path / "n.pkl").write_bytes(pickle.dumps(nested))
    assert len(pickles.read(tmp_path / "n.pkl")) == 2


def test_damage_gives_a_reason_or_data_and_never_anything_else(tmp_path):
    rng = random.Random(0)
    whole = [
        pickle.dumps(value, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        for value in ([f"/data/{i}.wav" for i in range(9)], {"a": np.arange(4)})
    ]
    refused = 0
    for _ in range(1500):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "d.pkl").write_bytes(data[: rng.randint(1, len(data) + 1)])
        try:
            pickles.read(tmp_path / "d.pkl")
        except ValueError as error:
            refused += "not a pickle of plain data" in str(error)
    assert refused > 1000


def text(value, size=4):
    """The instruction that puts a text on the stack."""
    data = value.encode()
    return (b"X" if size == 4 else b"\x8c") + len(data).to_bytes(size, "little") + data


MEGABYTES = text("x" * 8_000_000)
KEY_OF = b"}%bNs."  # {value: None}
NUMPY = b"cnumpy._core.multiarray\n"

# Name: (the pickle, the reason of the refusal).
HOSTILE = {
    "tuples nested as a key": (KEY_OF % (b")" + b"\x85" * 100_000), "nested too deeply"),
    "thirty million tuples": (b")" + b"\x85" * 30_000_000 + b".", "nested too deeply"),
    "thirty million marks": (b"(" * 30_000_000 + b".", "nested too deeply"),
    "a tuple of shared tuples as a key": (KEY_OF % (b")" + b"2\x86" * 60), "a key that is a tuple"),
    "a tuple as a key after an empty APPENDS": (KEY_OF % (b")" + b"2\x86" * 60 + b"(e"), "a key that is a tuple"),
    "a tuple as a key after an empty BUILD": (KEY_OF % (b")" + b"2\x86" * 60 + b"Nb"), "a key that is a tuple"),
    "a remembered tuple as a key": (KEY_OF % (b")" + b"2\x86" * 60 + b"q\x000h\x00"), "a key that is a tuple"),
    "a frozenset as a key": (b"\x80\x04" + KEY_OF % b"(K\x01\x91", "a key that is a tuple or a set"),
    "a tuple in a set": (b"\x80\x04\x8f()\x85\x90.", "a key that is a tuple"),
    "a tuple as a key of DICT": (b"()\x85Nd.", "a key that is a tuple"),
    "a number of the memo": (b"]r\xff\xff\xff\xff.", "numbers one 4294967295"),
    "a number of the memo in text": (b"]p99999999999\n.", "numbers one 99999999999"),
    "many calls of encode": (
        MEGABYTES + b"q\x000" + b"".join([b"c_codecs\nencode\n(h\x00", text("latin1"), b"tR"]) * 100 + b".",
        "makes more than 268435456 bytes",
    ),
    "many calls of list": (
        b"](" + b"N" * 100_000 + b"eq\x00" + b"cbuiltins\nlist\nh\x00\x85R" * 1000 + b".",
        "makes more than 268435456 bytes",
    ),
    "many calls of Path": (
        MEGABYTES + b"q\x00" + b"cpathlib\nPosixPath\nh\x00\x85R" * 100 + b".",
        "makes more than 268435456 bytes",
    ),
    "a list of characters": (b"cbuiltins\nlist\n" + MEGABYTES + b"\x85R.", "makes a list of a str"),
    "millions of sets": (b"\x8f" * 1_500_000 + b".", "makes more than 268435456 bytes"),
    "a class that is not listed": (b"cdatetime\ndate\n.", "asks to run datetime.date; it was not run"),
    "a call of what is no name": (text("a") + b")R.", "not callable"),
    "an array of objects": (b"cnumpy\ndtype\n" + text("O8") + b"\x85R.", "not numbers or text"),
    "a dtype of a list": (b"cnumpy\ndtype\n]\x85R.", "not numbers or text"),
    "a text of gigabytes": (
        NUMPY + b"scalar\n(cnumpy\ndtype\n" + text("U999999999") + b"\x85RC\x01xtR.",
        "buffer size|not a pickle",
    ),
    "a shape of exabytes": (
        NUMPY
        + b"_frombuffer\n(C\x01xcnumpy\ndtype\n"
        + text("S1")
        + b"\x85R(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft"
        + text("C")
        + b"tR.",
        "reshape|not a pickle",
    ),
    "a compressed text": (b"c_codecs\nencode\n(" + text("x") + text("zlib") + b"tR.", "encodes something else"),
    "a state for a name": (b"cbuiltins\nlist\n}" + text("a") + b"NsbK\x01.", "changes what is no array"),
    "a persistent id": (b"Pabc\n.", "uses PERSID"),
    "a binary persistent id": (b"NQ.", "uses BINPERSID"),
    "a new object": (b"cbuiltins\nlist\n)\x81.", "uses NEWOBJ"),
    "an extension": (b"\x82\x01.", "uses EXT1"),
    "a huge frame": (b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"N.", "truncated|exhausted"),
    "a huge text": (b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"x.", "only|exceeds|expected"),
    "a huge bytearray": (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.", "only|exceeds|expected"),
    "a huge integer": (b"\x80\x02\x8b\x00\x00\x10\x00" + bytes(1 << 20) + b".", "uses LONG4"),
}

# Reads each file in a child with 500 MB to spare, because a crash or a full memory is a result, too.
READS = """
import json, os, re, resource, sys, time
from nafp.corpora import pickles

used = 1024 * int(re.search(r"VmSize:\\s*(\\d+)", open("/proc/self/status").read())[1])

def read(path):
    resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    try:
        pickles.read(path)
        return "nothing is refused"
    except ValueError as error:
        return str(error)

for path in sys.argv[1:]:
    started, (receiving, sending) = time.monotonic(), os.pipe()
    child = os.fork()
    if not child:
        os.write(sending, read(path).encode()[:1000])
        os._exit(0)
    os.close(sending)
    message = os.read(receiving, 1000).decode()
    _, status, usage = os.wait4(child, 0)
    print(json.dumps([message or f"the reader dies with status {status}", usage.ru_utime + usage.ru_stime]))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc")
    folder = tmp_path_factory.mktemp("hostile")
    for number, (data, _) in enumerate(HOSTILE.values()):
        (folder / f"{number}.pkl").write_bytes(data)
    paths = [str(folder / f"{number}.pkl") for number in range(len(HOSTILE))]
    command = [sys.executable, "-W", "ignore", "-c", READS, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(zip(HOSTILE, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_by_name_in_little_time_and_memory(refusals, name):
    message, cpu_s = refusals[name]
    assert "not a pickle of plain data: " in message
    assert re.search(HOSTILE[name][1], message), message
    assert cpu_s < 5  # Each takes less than a second alone on a machine.
