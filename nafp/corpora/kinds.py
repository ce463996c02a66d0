"""The kind, split and group of a file, guessed from its path: the original authors' tree, and folders by kind.

    music/train-10k-30s                          music, train
    music/val-query-db-500-30s/{db,query}        music, val, in the group db or query
    music/test-query-db-500-30s/{db,query}       music, test, in the group db or query
    music/test-dummy-db-100k-full                music, dummy
    aug/bg/{tr,ts}                               noise, train or test
    aug/ir/{tr,ts}                               room, or microphone where the path says so
    aug/speech/{train,dev,test}                  speech, train, val or test

These are the folder names of github.com/mimbres/neural-audio-fp. Other sizes than 10k, 500 and 30s are known too.
song_mine has folders of other names:

    online_data/{train,val}/{train,val}_set                  music, train or val
    online_data/{train,val}/{train,val}_background_noises    noise, train or val
    online_data/{train,val}/{train,val}_impulse_responses    room, or microphone where the path says so
"""

import itertools
import re
from typing import NamedTuple

KINDS = ("music", "noise", "speech", "room", "microphone")
SPLITS = ("train", "val", "test", "dummy", "")

# Kinds and splits by the names that other datasets use.
FOREIGN_KINDS = {
    "music-tracker": "music",
    "music-midi": "music",
    "music-ai": "music",
    "noise-sfx": "noise",
    "bg": "noise",
    "ir": "room",
    "rir": "room",
    "ir-sim": "room",
    "ir-hrir": "room",
    "ir-cab": "microphone",
    "mic": "microphone",
}
FOREIGN_SPLITS = {
    "tr": "train",
    "training": "train",
    "dev": "val",
    "valid": "val",
    "validation": "val",
    "ts": "test",
}

_MUSIC = (
    (re.compile(r"train-\w+-\w+"), "train"),
    (re.compile(r"val-query-db-\w+-\w+"), "val"),
    (re.compile(r"test-query-db-\w+-\w+"), "test"),
    (re.compile(r"test-dummy-db-\w+-\w+"), "dummy"),
)
_MICROPHONE = re.compile(r"(?<![a-z])(microphone|mic)s?(?![a-z]|[ _-]?\d)")  # mic_2 is a position.
_SONG_MINE = re.compile(r"(train|val)_(set|background_noises|impulse_responses)")
_SONG_MINE_KINDS = {"set": "music", "background_noises": "bg", "impulse_responses": "ir"}


class Place(NamedTuple):
    """What the path of a file tells about it."""

    kind: str
    split: str
    group: str


def known_kind(name: str, path: str = "") -> str:
    """Returns the kind for one of our names or a foreign one, "" for any other. path: may tell a microphone."""
    kind = FOREIGN_KINDS.get(name, name if name in KINDS else "")
    return "microphone" if name == "ir" and says_microphone(path) else kind


def known_split(name: str) -> str:
    """Returns the split for one of our names or a foreign one, "" for any other."""
    return FOREIGN_SPLITS.get(name, name if name in SPLITS else "")


def says_microphone(path: str) -> bool:
    """Returns whether a path names a microphone."""
    return bool(_MICROPHONE.search(path.lower()))


def place(path: str, inside: str) -> Place:
    """Guesses kind, split and group from a path. inside: the part of the path below the scanned folder.

    Outside the original tree and song_mine's, the first folder may name the kind, and the first or second folder the
    split. The group is the folder of the file (its album, its package).
    """
    folders = path.replace("\\", "/").split("/")[:-1]
    return (
        _original(folders, path)
        or _song_mine(folders, path)
        or _by_folders(inside.replace("\\", "/").split("/")[:-1], path)
    )


def is_original(path: str) -> bool:
    """Returns whether a path lies in the original authors' tree."""
    return _original(path.replace("\\", "/").split("/")[:-1], path) is not None


def _original(folders: list[str], path: str) -> Place | None:
    for i, folder in enumerate(folders):
        following = folders[i + 1 : i + 3]
        for pattern, split in _MUSIC:
            if pattern.fullmatch(folder) and "music" in folders[:i]:
                group = following[0] if following[:1] in (["db"], ["query"]) else split
                return Place("music", split, group)
        if folder == "aug" and following[:1] in (["bg"], ["ir"], ["speech"]):
            split = known_split("".join(following[1:]))
            return Place(known_kind(following[0], path), split, following[0])
    return None


def _song_mine(folders: list[str], path: str) -> Place | None:
    for above, folder in itertools.pairwise(folders):
        match = _SONG_MINE.fullmatch(folder)
        if match and above == match[1]:
            return Place(known_kind(_SONG_MINE_KINDS[match[2]], path) or "music", match[1], folder)
    return None


def _by_folders(folders: list[str], path: str) -> Place:
    first = folders[0].lower() if folders else ""
    kind = known_kind(first, path)
    names = [folder.lower() for folder in folders[:2]]
    split = next((known_split(name) for name in names if known_split(name)), "")
    return Place(kind or "music", split, "/".join(folders))
