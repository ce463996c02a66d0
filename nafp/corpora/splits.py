"""Filters tracks by length, and deals them out to splits of given sizes, group by group.

A group (an album, an artist, a column, recordings found to be duplicates) goes into one split as a whole, so that no
test is made with what was trained on. The order of the tracks decides nothing: groups are taken in the order of a hash
of seed and name.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nafp import errors
from nafp.corpora import manifest
from nafp.corpora.kinds import KINDS, known_split

REST = "rest"


class Size(NamedTuple):
    """The size of a split. unit: "%" of the tracks, "h" hours, "" tracks, REST all that the other splits leave."""

    split: str
    amount: float
    unit: str


def read_sizes(text: str) -> list[Size]:
    """Reads "train=80%,val=10%,test=10%", "train=10000,test=500,dummy=rest" or "test=2.5h".

    Raises errors.Invalid for sizes that cannot be right.
    """
    sizes = [_size(part.strip()) for part in text.split(",") if part.strip()]
    splits = [size.split for size in sizes]
    if not sizes or len(set(splits)) < len(splits):
        raise errors.Invalid(f"sizes {text!r}: name each split once, as in train=80%,val=10%,test=10%")
    percent = sum(size.amount for size in sizes if size.unit == "%")
    if percent > 100 + 1e-6:
        raise errors.Invalid(f"sizes {text!r}: {percent:g} % altogether")
    if sum(size.unit == REST for size in sizes) > 1:
        raise errors.Invalid(f"sizes {text!r}: only one split can have the rest")
    return sizes


def by_length(
    tracks: Sequence[manifest.Track], *, shortest_s: float = 0.0, longest_s: float = float("inf")
) -> list[manifest.Track]:
    """Returns the tracks of shortest_s to longest_s seconds, both included.

    Raises errors.Invalid if the length of a track is unknown (`manifest.fill` reads lengths).
    """
    if not 0 <= shortest_s <= longest_s:
        given = f"shortest_s {shortest_s:g} and longest_s {longest_s:g} given"
        raise errors.Invalid(f"{given}; need 0 <= shortest_s <= longest_s")
    unknown = [track.path for track in tracks if not track.seconds]
    if unknown:
        raise errors.Invalid(
            f"{unknown[0]}: its length is not known ({len(unknown)} such tracks); nafp corpus scan reads lengths"
        )
    return [track for track in tracks if shortest_s <= track.seconds <= longest_s]


def group_names(tracks: Sequence[manifest.Track], by: str, *, together: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Returns the name of the group of each track. A track without a group is a group by itself.

    by: what makes a group. "" is each track for itself, "group" that column, "folder" the file's folder (an album),
    "artist" the folder above it, "top" the first folder below the one that holds all files of the kind
    (packages/music/NAME/...: NAME), any other word a column of the manifest. together: pairs of paths that belong into
    one group too, such as duplicates. Raises errors.Invalid if no track has such a column.
    """
    homes = _homes(tracks) if by == "top" else {}
    names = [_group(track, by, homes) or track.path for track in tracks]
    if by and names == [track.path for track in tracks]:
        columns = sorted({name for track in tracks for name, _ in track.extra})
        raise errors.Invalid(
            f"by {by!r}: no track has it; there are group, folder, artist, top"
            + (f" and the columns {', '.join(columns)}" if columns else "")
        )
    return _joined(tracks, names, together)


def split(
    tracks: Sequence[manifest.Track],
    sizes: Sequence[Size],
    *,
    by: str = "",
    together: Iterable[tuple[str, str]] = (),
    kinds: Sequence[str] = ("music",),
    seed: int = 0,
    again: bool = False,
) -> list[manifest.Track]:
    """Returns the tracks with splits for these kinds, each kind by itself, each group as a whole.

    A share is exceeded by less than the largest group. Numbers and hours are never exceeded. Numbers are met exactly if
    each group is one track. Tracks that are left over have no split. A track that has a split keeps it, and the rest
    of its group gets the same one. again: forgets the splits of these kinds first. Raises errors.Invalid if there are
    fewer tracks than the sizes need, or if a group is in two splits already.
    """
    _check_kinds(kinds, sizes)
    wanted = [i for i, track in enumerate(tracks) if track.kind in kinds]
    present = {track.kind for track in tracks}
    if missing := set(kinds) - present:
        there_are = ", ".join(sorted(present))
        raise errors.Invalid(f"kinds {','.join(kinds)!r}: no track is {min(missing)}; there are {there_are}")
    done = list(tracks)
    if again:
        for i in wanted:
            done[i] = done[i]._replace(split="")
    names = group_names(tracks, by, together=together)
    splits = _taken(done, names)
    for kind in kinds:
        here = [i for i in wanted if tracks[i].kind == kind]
        free = defaultdict(list)
        for i in here:
            if names[i] not in splits:
                free[names[i]].append(tracks[i])
        splits |= _drawn(free, sizes, seed)
    for i in wanted:
        done[i] = done[i]._replace(split=done[i].split or splits.get(names[i], ""))
    return done


def leaks(tracks: Sequence[manifest.Track], names: Sequence[str]) -> list[tuple[manifest.Track, manifest.Track]]:
    """Returns, for each group that is in two splits, a pair of its tracks that shows it."""
    first: dict[str, manifest.Track] = {}
    pairs: dict[str, tuple[manifest.Track, manifest.Track]] = {}
    for track, name in zip(tracks, names):
        if track.split and first.setdefault(name, track).split != track.split:
            pairs.setdefault(name, (first[name], track))
    return list(pairs.values())


def _size(part: str) -> Size:
    name, _, amount = part.partition("=")
    split_name = known_split(name)
    if not split_name:
        raise errors.Invalid(f"sizes: {name!r} is no split; train, val, test or dummy")
    if amount == REST:
        return Size(split_name, 0.0, REST)
    unit = amount[-1:] if amount[-1:] in ("%", "h") else ""
    try:
        number = float(amount.removesuffix(unit)) if unit else int(amount)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        raise errors.Invalid(f"sizes: {part!r}; allowed are train=80%, train=10000, train=30h, train=rest")
    return Size(split_name, number, unit)


def _homes(tracks: Sequence[manifest.Track]) -> dict[str, str]:
    """Returns for each kind the folder that holds all its files."""
    folders = defaultdict(set)
    for track in tracks:
        folders[track.kind].add(os.path.dirname(track.path))
    return {kind: os.path.commonpath(places) for kind, places in folders.items()}


def _group(track: manifest.Track, by: str, homes: dict[str, str]) -> str:
    folder = os.path.dirname(track.path)
    if by == "top":
        first = os.path.relpath(folder, homes[track.kind]).split(os.sep)[0]
        return "" if first == os.curdir else f"{homes[track.kind]}/{first}"
    known = {
        "": "",
        "group": track.group,
        "folder": folder,
        "artist": os.path.dirname(folder),
        "kind": track.kind,
    }
    return known[by] if by in known else dict(track.extra).get(by, "")


def _joined(tracks: Sequence[manifest.Track], names: list[str], together: Iterable[tuple[str, str]]) -> list[str]:
    """Makes one group of the groups of each pair. Its name is the least of theirs."""
    place = {track.path: i for i, track in enumerate(tracks)}
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while name in parents:
            parents[name] = parents.get(parents[name], parents[name])  # Chains stay short.
            name = parents[name]
        return name

    for first, second in together:
        if first in place and second in place:
            low, high = sorted((root(names[place[first]]), root(names[place[second]])))
            if low != high:
                parents[high] = low
    return [root(name) for name in names]


def require_kinds(kinds: Sequence[str]) -> None:
    """Raises errors.Invalid unless there are kinds, and each is one of KINDS."""
    if not kinds or not set(kinds) <= set(KINDS):
        raise errors.Invalid(f"kinds {','.join(kinds)!r}: allowed are {', '.join(KINDS)}")


def _check_kinds(kinds: Sequence[str], sizes: Sequence[Size]) -> None:
    require_kinds(kinds)
    if len(kinds) > 1 and any(size.unit not in ("%", REST) for size in sizes):
        raise errors.Invalid("numbers and hours are for one kind at a time; give shares, or one kind")


def _taken(tracks: Sequence[manifest.Track], names: Sequence[str]) -> dict[str, str]:
    """Returns the splits of the groups that have one. Raises errors.Invalid for a group that has two."""
    torn = leaks(tracks, names)
    if torn:
        first, second = torn[0]
        raise errors.Invalid(
            f"{first.path} ({first.split}) and {second.path} ({second.split}) belong together, and "
            f"{len(torn)} such groups are in two splits already; split again, or choose other groups"
        )
    return {name: track.split for track, name in zip(tracks, names) if track.split}


def _drawn(groups: dict[str, list[manifest.Track]], sizes: Sequence[Size], seed: int) -> dict[str, str]:
    """Deals groups out to the splits. Returns the split of each group that got one."""
    sizes = sorted(sizes, key=lambda size: size.unit == REST)  # The rest comes last.
    order = sorted(groups, key=lambda name: _hash(seed, name))
    in_hours = any(size.unit == "h" for size in sizes)
    if in_hours and not all(size.unit in ("h", REST) for size in sizes):
        raise errors.Invalid("sizes: give hours for all splits, or for none")
    weights = {
        name: sum(track.seconds for track in groups[name]) / 3600 if in_hours else len(groups[name]) for name in order
    }
    total = sum(weights.values())
    shares = all(size.unit in ("%", REST) for size in sizes)
    goals = [size.amount / 100 * total if size.unit == "%" else size.amount for size in sizes]
    if sum(goals) > total * (1 + 1e-9) + 1e-9:
        unit = "h" if in_hours else "tracks"
        raise errors.Invalid(f"sizes: {sum(goals):g} {unit} asked for, there are {total:g}")
    if sizes[-1].unit == REST:
        goals[-1] = total - sum(goals) if shares else float("inf")
    deal = _by_share if shares else _by_number
    dealt = deal(order, weights, goals)
    return {name: sizes[i].split for name, i in dealt.items()}


def _by_share(order: list[str], weights: dict[str, float], goals: list[float]) -> dict[str, int]:
    """Assigns each group to the split that lacks most. A group that no split lacks is left over.

    Groups so large that they nearly fill a split come first, while there is room for them.
    """
    dealt, room, left = {}, list(goals), sum(weights.values())
    large = min((goal for goal in goals if goal), default=0.0) / 2
    for name in sorted(order, key=lambda name: -weights[name] if weights[name] > large else 0.0):
        split = max(range(len(room)), key=lambda i: room[i])
        everything_goes = sum(room) >= left - 1e-9
        left -= weights[name]
        if everything_goes or room[split] >= weights[name] / 2:
            dealt[name] = split
            room[split] -= weights[name]
    return dealt


def _by_number(order: list[str], weights: dict[str, float], goals: list[float]) -> dict[str, int]:
    """Assigns each group to the first split that has room for all of it."""
    dealt, room = {}, list(goals)
    for name in order:
        split = next((i for i, left in enumerate(room) if weights[name] <= left + 1e-9), None)
        if split is not None:
            dealt[name] = split
            room[split] -= weights[name]
    return dealt


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
