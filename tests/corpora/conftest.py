"""A small corpus of tunes, for all tests of this room."""

import pathlib

import pytest

from nafp.corpora import corpus, manifest
from tests import tunes

FILES = ("samples.i16", "tracks.csv", "loudness.npy", "corpus.json")


def scanned(folder):
    return manifest.scan(str(folder))[0]


def content(folder):
    return {name: (pathlib.Path(folder) / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    return tunes.collection(tmp_path_factory.mktemp("audio"))


@pytest.fixture(scope="module")
def built(audio, tmp_path_factory):
    return corpus.build(scanned(audio), tmp_path_factory.mktemp("corpora") / "C", jobs=0)


@pytest.fixture
def bad_files(tmp_path):
    return tunes.troubles(tmp_path / "audio")
