"""`nafp corpus`: folders become manifests. Manifests are filtered, split, converted and packed.

Each verb is a function of its name. It takes the sources first, then its settings as keywords with their defaults. It
prints its report and returns the exit code: 0 when done, 1 when nothing is left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nafp import errors
from nafp.audio import decode
from nafp.corpora import corpus, kinds, list_text, lists, manifest, row_ids, splits
from nafp.datasets import audioset, registry
from nafp.jobs import choices, outputs
from nafp.verbs import subverbs

_MOST_LINES = 20  # A report prints this many; the file that is written has them all.


def run(verb: str, sources: Sequence[str], settings: Mapping[str, Any]) -> int:
    """Runs a verb and returns its exit code. Raises errors.Invalid for a verb or a setting that does not exist."""
    subverbs.require("corpus", verb, VERBS)
    _check(verb, settings)
    _require_outputs(verb, sources, settings)
    return VERBS[verb](list(sources), **settings)


def _require_outputs(verb: str, sources: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Raises errors.Invalid if a file that the verb writes is one of its inputs, or none of its former outputs."""
    read = (settings.get(name) for name in ("manifest", "without", "together"))
    inputs = [name for name in (*sources, *read) if name]
    if settings.get("out") and verb != "build":  # `build` looks after its folder itself.
        outputs.require(settings["out"], verb="nafp corpus", is_former=_is_former, inputs=inputs)
    if settings.get("wanted"):
        is_former = outputs.begins_with(audioset.WANTED_HEADER)
        outputs.require(
            settings["wanted"], verb="nafp corpus scan", is_former=is_former, inputs=inputs, flag="--wanted"
        )


def _is_former(head: bytes) -> bool:
    return lists.is_former(head) or row_ids.is_former(head) or head.startswith(b"path,duplicate_of,")


def _check(verb: str, settings: Mapping[str, Any]) -> None:
    """Raises errors.Invalid for settings that the verb does not take or lacks, before hours of work."""
    subverbs.check(f"corpus {verb}", VERBS[verb], settings)
    if verb == "scan":
        _check_shares(settings)
    if verb in ("scan", "convert"):  # Elsewhere they name several.
        for name, allowed in (("kind", kinds.KINDS), ("split", kinds.SPLITS)):
            choices.require(f"--{name}", settings.get(name) or allowed[0], tuple(filter(None, allowed)))
    if verb == "filter":
        splits.require_kinds(settings.get("kind", "music").split(","))
    _require_used(verb, settings)
    folder = os.path.dirname(os.path.abspath(settings.get("out") or ""))
    if verb != "build" and not os.path.isdir(folder):  # `build` makes the folder.
        raise errors.Invalid(f"--out={settings['out']}: there is no folder {folder}")


def _check_shares(settings: Mapping[str, Any]) -> None:
    """Raises errors.Invalid for shares of `scan` that cannot be, or have no effect."""
    val, test = (settings.get(f"{name}_share") or 0.0 for name in ("val", "test"))
    if (val or test) and settings.get("split"):
        raise errors.Invalid("--val_share and --test_share are of music without a split, and --split gives one to all")
    manifest.assign_splits([], val=val, test=test)


def _require_used(verb: str, settings: Mapping[str, Any]) -> None:
    """Raises errors.Invalid for settings that the verb would leave aside."""
    idle: Sequence[str] = ()
    if verb == "scan" and not settings.get("dataset"):
        idle, hint = ("metadata", "labels", "wanted", "converted", "verify"), "is for a public dataset: name --dataset"
    if verb == "convert" and settings.get("manifest"):
        idle, hint = ("form", "root", "kind", "split"), "is for lists of tracks; with --manifest, ids are converted"
    for name in idle:
        if name in settings:
            raise errors.Invalid(f"--{name} {hint}")


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
    """Writes a manifest of the audio files in folders, or of a public dataset."""
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
        tracks = [track._replace(kind=kind or track.kind, split=split or track.split) for track in tracks]
    else:
        with decode.hushed():
            tracks, failures = manifest.scan(folders, kind=kind, split=split, jobs=jobs, show=True)
    if val_share or test_share:
        tracks = manifest.assign_splits(tracks, val=val_share, test=test_share)
    print(_report(failures, "skipped"), end="")
    return _write(out, tracks)


def show_datasets(sources: list[str]) -> int:
    """Prints the names of the public datasets, what they are, and where to get them."""
    for name in sources or registry.DATASETS:
        dataset = registry.find(name)
        print(f"{name}\n  {dataset.about}\n  {dataset.get}")
    return 0


def build(
    sources: list[str],
    *,
    manifest: str,
    out: str,
    sample_rate_hz: int = 8000,
    jobs: int | None = None,
) -> int:
    """Decodes the tracks of a manifest into one corpus folder. Run again, it resumes."""
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
    """Keeps the tracks of some kinds and splits that are neither too short nor too long nor duplicates.

    Lengths apply to the tracks of `kind` only: responses are short, and stay.
    """
    _no_sources("filter", sources)
    listed = lists.read(manifest)
    tracks, before = _chosen(listed, only), len(listed)
    if shortest_s or longest_s < float("inf"):
        tracks, failures = _filled(tracks, jobs)
        print(_report(failures, "skipped"), end="")
        measured = [track for track in tracks if track.kind in kind.split(",")]
        fitting = splits.by_length(measured, shortest_s=shortest_s, longest_s=longest_s)
        dropped = {track.path for track in measured} - {track.path for track in fitting}
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
    """Assigns splits to tracks, by number or share. Tracks of one group get the same split."""
    _no_sources("split", sources)
    tracks = lists.read(manifest)
    wanted = splits.read_sizes(sizes)
    names = [name for name in kind.split(",") if name]
    before = sum(bool(track.split) for track in tracks if track.kind in names)
    if any(size.unit == "h" for size in wanted):
        tracks, failures = _filled(tracks, 0)
        print(_report(failures, "skipped"), end="")
    pairs = [row[:2] for row in _duplicates(together)] if together else []
    assigned = splits.split(tracks, wanted, seed=seed, again=again, by=by, together=pairs, kinds=names)
    n_left = sum(not track.split for track in assigned if track.kind in names)
    if n_left:
        print(f"{n_left:,} tracks are left over, without a split")
    if before and not again:
        print(f"{before:,} tracks had a split, and kept it; --again draws for them, too")
    present = {track.split for track in assigned if track.kind in names}
    why = "each group goes into one split as a whole" if by or together else "none was left for it"
    for size in wanted:
        if size.amount and size.split not in present:
            print(f"{size.split} got no track: {why}")
    return _write(out, assigned)


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
    """Turns lists of other systems into manifests and back, and test ids into a table and back."""
    if not sources:
        raise errors.Invalid("corpus convert needs a list: nafp corpus convert LIST... --out=FILE")
    if manifest:
        return _convert_ids(sources, out, manifest, only)
    chosen = _chosen(_listed(sources, root, kind, split), only)
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
    checkpoint: str = "",
    manifest: str = "",
    score: float = 0.0,
    seconds: float = 0.0,
) -> int:
    """Finds recordings that are there twice, within and across splits, by their fingerprints."""
    from nafp.verbs import duplicates_table

    if not sources and not store:
        raise errors.Invalid("corpus dedup needs --store=STORE, or a corpus, manifest or folder")
    table = duplicates_table.find(
        sources,
        folder=store or os.path.splitext(out)[0] + "_store",
        name=name,
        checkpoint=checkpoint,
        manifest=manifest,
        least_score=score,
        shortest_s=seconds,
    )
    duplicates_table.write(out, table)
    print(duplicates_table.describe(table, most=_MOST_LINES))
    print(f"{out}: pairs {len(table.rows):,}")
    return 0


VERBS: dict[str, Callable[..., int]] = {
    "scan": scan,
    "datasets": show_datasets,
    "filter": filter_tracks,
    "split": split,
    "convert": convert,
    "dedup": dedup,
    "build": build,
}


def _dataset(folders: list[str], name: str, options: registry.Options, wanted: str, verify: bool) -> registry.Found:
    dataset = registry.find(name)
    if verify and dataset.verify is None:
        raise errors.Invalid(f"--dataset={name}: its authors publish no checksums")
    if wanted:
        if name != "audioset":
            raise errors.Invalid("--wanted lists clips of AudioSet: it goes with --dataset=audioset")
        clips, _ = audioset.wanted(options.metadata or folders[0], keep=options.keep, drop=options.drop)
        audioset.write_wanted(wanted, clips)
        print(f"{wanted}: {len(clips):,} clips")
    tracks: list[manifest.Track] = []
    failures: list[manifest.Failure] = []
    for folder in folders:
        failures += dataset.verify(folder) if verify and dataset.verify else []
        with decode.hushed():
            tracks_there, failures_there = dataset.scan(folder, options)
        tracks, failures = tracks + tracks_there, failures + failures_there
    if dataset.n_tracks and len(tracks) != dataset.n_tracks:
        print(f"{name}: {len(tracks):,} tracks; the whole dataset has {dataset.n_tracks:,}")
    return tracks, failures


def _listed(sources: list[str], root: str, kind: str, split: str) -> list[manifest.Track]:
    """Reads several lists into one, each path once. kind, split: of all tracks, "" for those that the lists give."""
    tracks: dict[str, manifest.Track] = {}
    for source in sources:
        for track in lists.read(source, root=root):
            tracks.setdefault(track.path, track._replace(split=split or track.split, kind=kind or track.kind))
    return list(tracks.values())


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
        raise errors.Invalid(f"corpus {verb} takes no {sources[0]!r}; say --manifest={sources[0]}")


def _chosen(tracks: list[manifest.Track], only: str) -> list[manifest.Track]:
    """Keeps the tracks of the kinds and splits that `only` names, separated by commas.

    Without a kind in `only`, every kind is kept, and likewise every split.
    """
    names = [name for name in only.split(",") if name]
    some_kinds = [name for name in names if name in kinds.KINDS]
    some_splits = [name for name in names if name in kinds.SPLITS]
    if len(some_kinds) + len(some_splits) < len(names):
        allowed = ", ".join((*kinds.KINDS, *filter(None, kinds.SPLITS)))
        raise errors.Invalid(f"--only={only}: kinds and splits are {allowed}")
    return [
        track
        for track in tracks
        if (not some_kinds or track.kind in some_kinds) and (not some_splits or track.split in some_splits)
    ]


def _filled(tracks: list[manifest.Track], jobs: int) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    """Returns the tracks with their lengths, read from the files where they are missing, and the unreadable ones."""
    takes_long = any(not track.seconds for track in tracks)
    with decode.hushed():
        return manifest.fill(tracks, jobs=jobs, show=takes_long)


def _duplicates(path: str) -> list[tuple[str, str]]:
    """Reads the pairs of whole duplicates that `dedup` found: (path, duplicate_of)."""
    folder = os.path.dirname(os.path.abspath(path))
    rows = list_text.table(path, {"path", "duplicate_of"}, missing="; nafp corpus dedup writes such a table")
    whole = [row for row in rows if row.get("how", "whole") != "part"]
    return [(_path_in(folder, row["path"]), _path_in(folder, row["duplicate_of"])) for row in whole]


def _path_in(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, path))


def _without(tracks: list[manifest.Track], pairs: Sequence[tuple[str, str]]) -> list[manifest.Track]:
    """Drops the first track of each pair whose second track is in the list, too."""
    listed = {track.path for track in tracks}
    dropped = {path for path, other in pairs if other in listed}
    return [track for track in tracks if track.path not in dropped]


def _report(failures: Sequence[manifest.Failure], what: str) -> str:
    """Names the failures, the first ones if there are many. Returns "" without failures."""
    report = manifest.report(failures[:_MOST_LINES], what)
    if len(failures) <= _MOST_LINES:
        return report
    return f"{len(failures):,} files {what}, among them\n" + report.partition("\n")[2]


def _write(out: str, tracks: list[manifest.Track], *, form: str = "", root: str = "") -> int:
    """Writes the tracks and prints how many. Without tracks it writes nothing and returns 1."""
    if not tracks:
        print(f"{out}: not written, nothing is left")
        return 1
    lists.write(out, tracks, form=form, root=root)
    print(f"{out}: {manifest.summary((track.kind, track.split, track.seconds) for track in tracks)}")
    return 0
