"""What `nafp corpus` does: folders become manifests, manifests are filtered, split, converted, packed.

Each verb is a function of the same name: sources first, settings as keywords with their defaults.
Reports go to standard output; the exit code is returned: 0 done, 1 when nothing is left.
"""

from __future__ import annotations

import csv
import difflib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nafp import errors
from nafp.audio import decode
from nafp.corpora import corpus, lists, manifest, row_ids, splits
from nafp.corpora import kinds as original_tree
from nafp.datasets import audioset, registry

_MOST_LINES = 20  # Of a report; the file that is written has them all.


def run(verb: str, sources: Sequence[str], settings: Mapping[str, Any]) -> int:
    """Runs a verb with the settings that were given; raises ValueError for those it does not take."""
    if verb not in VERBS:
        meant = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(VERBS)}"
        raise errors.Invalid(f"corpus: no {verb!r}; {hint}" if verb else f"corpus what? {hint}")
    function = VERBS[verb]
    takes = inspect.signature(function).parameters
    strange = [name for name in settings if name not in takes]
    if strange:
        known = ", ".join(f"--{name}" for name in list(takes)[1:])
        raise errors.Invalid(f"corpus {verb} takes no --{strange[0]}; it takes {known or 'nothing'}")
    needed = [
        name
        for name, about in takes.items()
        if about.kind is about.KEYWORD_ONLY and about.default is about.empty and not settings.get(name)
    ]
    if needed:
        raise errors.Invalid(f"corpus {verb} needs --{' and --'.join(needed)}")
    folder = os.path.dirname(os.path.abspath(settings.get("out") or ""))
    makes_folder = verb == "build"  # As every verb does whose --out is a folder.
    if not makes_folder and not os.path.isdir(folder):  # Said before hours of work, not after.
        raise errors.Invalid(f"--out={settings['out']}: there is no folder {folder}")
    return function(list(sources), **settings) or 0


def scan(
    folders: list[str],
    *,
    out: str,
    kind: str = "",
    split: str = "",
    val_share: float = 0.0,
    test_share: float = 0.0,
    dataset: str = "",
    metadata: str = "",
    labels: Sequence[str] = (),
    converted: str = "",
    wanted: str = "",
    verify: bool = False,
    jobs: int = 0,
) -> int:
    """Lists audio files, or a public dataset, into a manifest."""
    if not folders:
        raise errors.Invalid("corpus scan needs a folder: nafp corpus scan DIR... --out=tracks.csv")
    if dataset:
        options = registry.Options(
            metadata,
            tuple(label for label in labels if not label.startswith("-")),
            tuple(label[1:] for label in labels if label.startswith("-")),
            converted or os.path.splitext(out)[0] + "_wav",
            jobs,
            show=True,
        )
        tracks, failures = _dataset(folders, dataset, options, wanted, verify)
        tracks = [t._replace(kind=kind or t.kind, split=split or t.split) for t in tracks]
    else:
        with decode.hushed():
            tracks, failures = manifest.scan(folders, kind=kind, split=split, jobs=jobs, show=True)
    if val_share or test_share:
        tracks = manifest.assign_splits(tracks, val=val_share, test=test_share)
    print(_report(failures, "skipped"), end="")
    return _write(out, tracks)


def show_datasets(sources: list[str]) -> int:
    """Says what the public datasets are called, what they are, and where to get them."""
    for name in sources or registry.DATASETS:
        known = registry.find(name)
        print(f"{name}\n  {known.about}\n  {known.get}")
    return 0


def build(
    sources: list[str],
    *,
    manifest: str,
    out: str,
    sample_rate_hz: int = 8000,
    jobs: int | None = None,
) -> int:
    """Decodes the tracks of a manifest into one corpus folder; resumes."""
    _no_sources("build", sources)
    built = corpus.build(lists.read(manifest), out, sample_rate_hz=sample_rate_hz, jobs=jobs, progress=True)
    print(_report(built.damaged, "damaged, the rest kept"), end="")
    print(_report(built.failures, "skipped"), end="")
    print(f"{out}: {built.summary()}")
    return 0


def filter_tracks(
    sources: list[str],
    *,
    manifest: str,
    out: str,
    shortest_s: float = 0.0,
    longest_s: float = float("inf"),
    without: str = "",
    kind: str = "music",
    only: str = "",
    jobs: int = 0,
) -> int:
    """Keeps these kinds and splits, what is neither too short nor too long, and no duplicates.

    Lengths are about the tracks of `kind`: responses are short, and stay.
    """
    _no_sources("filter", sources)
    listed = lists.read(manifest)
    tracks, before = _chosen(listed, only), len(listed)
    if shortest_s or longest_s < float("inf"):
        tracks, failures = _filled(tracks, jobs)
        print(_report(failures, "skipped"), end="")
        measured = [track for track in tracks if track.kind in kind.split(",")]
        kept = splits.by_length(measured, shortest_s=shortest_s, longest_s=longest_s)
        dropped = {track.path for track in measured} - {track.path for track in kept}
        tracks = [track for track in tracks if track.path not in dropped]
    if without:
        tracks = _without(tracks, _duplicates(without))
    print(f"{len(tracks):,} of {before:,} tracks are kept")
    return _write(out, tracks)


def split(
    sources: list[str],
    *,
    manifest: str,
    out: str,
    sizes: str,
    by: str = "",
    together: str = "",
    kind: str = "music",
    seed: int = 0,
    again: bool = False,
) -> int:
    """Gives tracks a split, by number or share, each group as a whole."""
    _no_sources("split", sources)
    tracks = lists.read(manifest)
    asked = splits.read_sizes(sizes)
    if any(size.unit == "h" for size in asked):
        tracks, failures = _filled(tracks, 0)
        print(_report(failures, "skipped"), end="")
    pairs = [row[:2] for row in _duplicates(together)] if together else []
    kinds = [name for name in kind.split(",") if name]
    how = dict(by=by, together=pairs, kinds=kinds)
    done = splits.split(tracks, asked, seed=seed, again=again, **how)
    left = sum(not track.split for track in done if track.kind in kinds)
    if left:
        print(f"{left:,} tracks are left over, without a split")
    return _write(out, done)


def convert(
    sources: list[str],
    *,
    out: str,
    form: str = "",
    root: str = "",
    manifest: str = "",
    kind: str = "",
    split: str = "",
    only: str = "",
) -> int:
    """Turns lists of other systems into manifests and back; test ids into a table and back."""
    if not sources:
        raise errors.Invalid("corpus convert needs a list: nafp corpus convert LIST... --out=FILE")
    if manifest:
        return _convert_ids(sources, out, manifest, only)
    tracks: dict[str, Any] = {}
    for source in sources:
        for track in lists.read(source, root=root):
            told = lists.is_list(source) and not source.lower().endswith(".csv")
            known = track._replace(split=track.split or split, kind=kind if kind and told else track.kind)
            tracks.setdefault(track.path, known)
    chosen = _chosen(list(tracks.values()), only)
    if form == "pfann":
        chosen, failures = _filled(chosen, 0)
        print(_report(failures, "skipped"), end="")
    return _write(out, chosen, form=form, root=root)


def dedup(
    sources: list[str],
    *,
    out: str,
    store: str = "",
    name: str = "db",
    checkpoint: str = "small",
    manifest: str = "",
    score: float = 0.0,
    seconds: float = 0.0,
) -> int:
    """Finds recordings that are there twice, within and across splits, by their fingerprints."""
    from nafp.verbs import dedup as deduplication

    if not sources and not store:
        raise errors.Invalid("corpus dedup needs --store=STORE, or a corpus, manifest or folder")
    given = dict(score=score, seconds=seconds)
    found = deduplication.find(
        sources,
        store=store or os.path.splitext(out)[0] + "_store",
        name=name,
        checkpoint=checkpoint,
        manifest=manifest,
        **{key: value for key, value in given.items() if value},
    )
    deduplication.write(out, found)
    print(deduplication.describe(found, most=_MOST_LINES))
    print(f"{out}: pairs {len(found.rows):,}")
    return 0


VERBS: dict[str, Callable[..., int | None]] = {
    "scan": scan,
    "datasets": show_datasets,
    "filter": filter_tracks,
    "split": split,
    "convert": convert,
    "dedup": dedup,
    "build": build,
}


def _dataset(folders: list[str], name: str, options: registry.Options, wanted: str, verify: bool) -> registry.Found:
    known = registry.find(name)
    if verify and known.verify is None:
        raise errors.Invalid(f"--dataset={name}: its authors publish no checksums")
    if wanted:
        if name != "audioset":
            raise errors.Invalid("--wanted lists clips of AudioSet: it goes with --dataset=audioset")
        clips, _ = audioset.wanted(options.metadata or folders[0], keep=options.keep, drop=options.drop)
        audioset.write_wanted(wanted, clips)
        print(f"{wanted}: {len(clips):,} clips")
    tracks, failures = [], []
    for folder in folders:
        failures += known.verify(folder) if verify and known.verify else []
        with decode.hushed():
            good, bad = known.scan(folder, options)
        tracks, failures = tracks + good, failures + bad
    if known.n_tracks and len(tracks) != known.n_tracks:
        print(f"{name}: {len(tracks):,} tracks; the whole dataset has {known.n_tracks:,}")
    return tracks, failures


def _convert_ids(sources: list[str], out: str, listed: str, only: str) -> int:
    """Turns test ids into a table of places, or such a table into test ids."""
    if len(sources) != 1:
        raise errors.Invalid("with --manifest, give one file of test ids (.npy, .pkl), or one table")
    tracks, failures = _filled(_chosen(lists.read(listed), only), 0)
    print(_report(failures, "skipped: the ids may shift"), end="")
    if not sources[0].endswith(".csv"):
        ids = row_ids.read(sources[0])
        if out.endswith(".npy"):
            row_ids.write(out, ids)
        else:
            row_ids.write_places(out, row_ids.places(ids, tracks))
    else:
        ids = row_ids.ids_of(row_ids.read_places(sources[0]), tracks)
        row_ids.write(out, ids)
    print(f"{out}: {len(ids):,} test ids over {len(tracks):,} files")
    return 0


def _no_sources(verb: str, sources: list[str]) -> None:
    if sources:
        raise errors.Invalid(f"corpus {verb}: {sources[0]!r} is too much; say --manifest={sources[0]}")


def _chosen(tracks: list[manifest.Track], only: str) -> list[manifest.Track]:
    """Keeps the kinds and splits that are named, commas between; of what is not named, all."""
    asked = [name for name in only.split(",") if name]
    kinds = [name for name in asked if name in original_tree.KINDS]
    wanted = [name for name in asked if name in original_tree.SPLITS]
    if len(kinds) + len(wanted) < len(asked):
        known = ", ".join((*original_tree.KINDS, *filter(None, original_tree.SPLITS)))
        raise errors.Invalid(f"--only={only}: kinds and splits are {known}")
    return [track for track in tracks if (not kinds or track.kind in kinds) and (not wanted or track.split in wanted)]


def _filled(tracks: list[manifest.Track], jobs: int) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    unknown = any(not track.seconds for track in tracks)
    with decode.hushed():
        return manifest.fill(tracks, jobs=jobs, show=unknown)


def _duplicates(path: str) -> list[tuple[str, str]]:
    """Reads the pairs of whole duplicates that `dedup` found: (path, duplicate_of)."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            if not {"path", "duplicate_of"} <= set(rows.fieldnames or ()):
                raise errors.Invalid(f"{path}: columns path and duplicate_of are needed")
            whole = [row for row in rows if row.get("how", "whole") != "part"]
    except OSError as error:
        raise errors.Invalid(f"{path}: {error.strerror}; nafp corpus dedup writes it") from None
    both = [(row["path"], row["duplicate_of"]) for row in whole]
    return [tuple(os.path.normpath(os.path.join(folder, each)) for each in pair) for pair in both]


def _without(tracks: list[manifest.Track], pairs: Sequence[tuple[str, str]]) -> list[manifest.Track]:
    """Drops the first of each pair where the second is there, too."""
    there = {track.path for track in tracks}
    dropped = {path for path, other in pairs if other in there}
    return [track for track in tracks if track.path not in dropped]


def _report(failures: Sequence[manifest.Failure], what: str) -> str:
    some = manifest.report(failures[:_MOST_LINES], what)
    if len(failures) <= _MOST_LINES:
        return some
    first = f"{len(failures):,} files {what}, among them\n"
    return first + some.partition("\n")[2]


def _write(out: str, tracks: list[manifest.Track], *, form: str = "", root: str = "") -> int:
    if not tracks:
        print(f"{out}: not written, nothing is left")
        return 1
    lists.write(out, tracks, form=form, root=root)
    print(f"{out}: {manifest.summary((t.kind, t.split, t.seconds) for t in tracks)}")
    return 0
