"""Finds audio and packs it for training and extraction.

nafp corpus scan DIR... --out=tracks.csv        lists the audio files below these folders
nafp corpus build --manifest=tracks.csv --out=CORPUS
                                                decodes them into one folder; resumes, updates
"""

import sys

from absl import app, flags

_OUT = flags.DEFINE_string("out", None, "Where to write: the manifest, or the corpus folder.")
_MANIFEST = flags.DEFINE_string("manifest", None, "build: the CSV of tracks, as scan writes it.")
_RATE = flags.DEFINE_integer("sample_rate_hz", 8000, "build: the model's sample rate.")
_KIND = flags.DEFINE_string(
    "kind", "", "scan: what the files are: music, noise, speech, room or microphone."
)
_SPLIT = flags.DEFINE_string("split", "", "scan: train, val, test or dummy, for all files.")
_VAL = flags.DEFINE_float("val_share", 0.0, "scan: part of the music without split that is val.")
_TEST = flags.DEFINE_float("test_share", 0.0, "scan: part of the music without split that is test.")
_JOBS = flags.DEFINE_integer("jobs", None, "Threads of scan, processes of build; all by default.")


def _scan(folders: list[str]) -> None:
    from nafp.audio import decode, manifest

    with decode.hushed():
        tracks, failures = manifest.scan(
            folders, kind=_KIND.value, split=_SPLIT.value, jobs=_JOBS.value or 0, show=True
        )
    if _VAL.value or _TEST.value:
        tracks = manifest.assign_splits(tracks, val=_VAL.value, test=_TEST.value)
    manifest.write(_OUT.value, tracks)
    print(manifest.report(failures, "skipped"), end="")
    print(f"{_OUT.value}: {manifest.summary((t.kind, t.split, t.seconds) for t in tracks)}")


def _build() -> None:
    from nafp.audio import corpus, manifest

    if not _MANIFEST.value:
        raise ValueError("build needs --manifest=tracks.csv; nafp corpus scan writes one")
    tracks = manifest.read(_MANIFEST.value)
    built = corpus.build(
        tracks, _OUT.value, sample_rate_hz=_RATE.value, jobs=_JOBS.value, progress=True
    )
    print(manifest.report(built.damaged, "damaged, the rest kept"), end="")
    print(manifest.report(built.failures, "skipped"), end="")
    print(f"{_OUT.value}: {built.summary()}")


def main(argv: list[str]) -> None:
    """Runs the verb; what a person can mend is said in one line."""
    verb, folders = (argv[1:2] or [""])[0], argv[2:]
    try:
        if verb not in ("scan", "build") or (verb == "scan") != bool(folders) or not _OUT.value:
            raise ValueError(
                f"scan DIR... --out=FILE or build --manifest=FILE --out=DIR\n{__doc__}"
            )
        _scan(folders) if verb == "scan" else _build()
    except ValueError as error:
        sys.exit(f"nafp corpus: {error}")
    except KeyboardInterrupt:
        sys.exit("\nnafp corpus: stopped; build goes on from here when given again")


if __name__ == "__main__":
    app.run(main)
