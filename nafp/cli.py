"""The `nafp` command: runs the launcher of a verb. Nothing heavy loads before the verb is known."""

import contextlib
import difflib
import errno
import importlib.util
import io
import os
import pathlib
import runpy
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

import nafp
from nafp import errors
from nafp.jobs import endings, shown

# Verb -> what it does. `nafp VERB ARGUMENTS` runs the launcher of that name with these arguments.
VERBS = {
    "corpus": "list, filter, split, convert and pack audio; find duplicates",
    "train": "train a network on a corpus; resumes",
    "extract": "turn recordings into a store of fingerprints; resumes",
    "index": "write a faiss index of fingerprints as a file of its own",
    "evaluate": "score queries against stores: hit rates with intervals",
    "compare": "put several results side by side",
    "queries": "render noisy, reverberant, coded... queries with ground truth",
    "add": "put recordings into a database; resumes",
    "identify": "say which recording a clip comes from, and where in it",
    "monitor": "say what is played in a long recording or a stream, and when",
    "serve": "answer over HTTP: identify, monitor, list, add",
    "page": "write a web page that identifies in the browser, without a server",
    "list": "list the tracks of a database",
    "info": "say how large a database is, and what is in it",
    "remove": "take tracks out of a database",
    "merge": "put databases together",
    "verify": "check every file of a database",
    "compact": "give the space of removed tracks back",
    "engine": "choose what searches a database: files of its own, or Milvus",
    "amg": "train and search with one vector for many fingerprints",
    "export": "write the parameters of a checkpoint for use without JAX",
}
_WHOLE = "pip install nafp    (an image of requirements-serve.txt lacks it)"
# Outside module -> the line that installs it, for modules that an extra brings, or an image without JAX lacks.
EXTRAS = {
    **dict.fromkeys(("jax", "flax", "optax", "orbax", "grain", "librosa", "jinja2", "tensorboardX", "etils"), _WHOLE),
    "faiss": "pip install 'nafp[cpu]'    (with an NVIDIA GPU: pip install 'nafp[cuda12]')",
    "matplotlib": "pip install 'nafp[plots]'",
    "PIL": "pip install 'nafp[plots]'",
    "torch": "pip install 'nafp[bench]'",
    "av": "pip install 'nafp[containers]'",
    "sounddevice": "pip install 'nafp[mic]'",
    "sklearn": "pip install 'nafp[ensemble]'",
    "h11": "pip install 'nafp[serve]'",
    "prometheus_client": "pip install 'nafp[serve]'",
    "python_multipart": "pip install 'nafp[serve]'",
    "starlette": "pip install 'nafp[serve]'",
    "uvicorn": "pip install 'nafp[serve]'",
    "websockets": "pip install 'nafp[serve]'",
}
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a machine refuses. A file that is missing is not among them: whoever opens it says so in words of its own.
_REFUSALS = (
    *_FULL_DISK,
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR),
    *(errno.EEXIST, errno.EISDIR, errno.EMFILE, errno.ENFILE, errno.ENXIO, errno.ENODEV, errno.EBUSY, errno.ETXTBSY),
)


def main() -> None:
    """Runs `nafp VERB ARGUMENTS`."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _say(_usage())
    elif arguments[0] in ("-V", "--version"):
        _say(f"nafp {nafp.__version__}")
    else:
        _run(*arguments)


def _say(text: str) -> None:
    """Prints a text, of which its reader, perhaps `head`, may have seen enough before its end."""
    with contextlib.suppress(BrokenPipeError):
        try:
            print(text)
        finally:
            _finish()


def _usage() -> str:
    verbs = "\n".join(f"  {verb:10}{VERBS[verb]}" for verb in available())
    return (
        "Which recording does this short, noisy clip come from, and where in it?\n\n"
        f"usage: nafp VERB [ARGUMENTS]\n\n{verbs}\n\n"
        "nafp VERB --help lists the arguments of a verb; nafp --version the version."
    )


def available() -> list[str]:
    """Returns the verbs whose launchers exist, in the order of a day's work."""
    folder = _launchers()
    return [verb for verb in VERBS if importlib.util.find_spec(f"{folder}.{verb}")]


def _launchers() -> str:
    """Returns the package of the launchers: `launch` beside the library in a checkout, else the one inside it.

    Another package called `launch` on the path does not count: only a neighbour of the library does.
    """
    spec = importlib.util.find_spec("launch")
    home = pathlib.Path(__file__).parent.parent
    if spec and spec.origin and pathlib.Path(spec.origin).parent.parent == home:
        return "launch"
    return f"{nafp.__name__}.launch"


def _run(verb: str, *arguments: str) -> None:
    if verb not in available():
        _refuse(verb)
    for stream in (sys.stdout, sys.stderr):  # Names are bytes, and a terminal need not know their letters.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # The launcher runs as __main__, because absl's --help lists the flags of that module.
    sys.argv = [f"nafp {verb}", *("--help" if word == "-h" else word for word in arguments)]
    with ended(f"nafp {verb}"):
        runpy.run_module(f"{_launchers()}.{verb}", run_name="__main__", alter_sys=True)


@contextlib.contextmanager
def ended(command: str) -> Iterator[None]:
    """Ends the process as a command ends if the work within fails: one line and exit code 2, a defect with its trace.

    command: the words that the line begins with, such as `nafp add`.
    """
    try:
        try:
            yield
        finally:
            _finish()
    except SystemExit:
        if "--help" not in sys.argv:  # absl exits with 1 after its help.
            raise
    except BrokenPipeError:  # The reader of the output, perhaps `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        _fail(f"{command}: interrupted", code=130)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        _fail(f"{command}: {module} is not installed: {EXTRAS[module]}")
    except Exception as error:
        words = _in_words(error)
        if not words or os.environ.get("NAFP_TRACEBACK"):
            if endings.is_at_once():
                traceback.print_exc()
                endings.leave(1)
            raise
        _fail(f"{command}: {words}", code=error.code if isinstance(error, errors.Error) else 2)


def _finish() -> None:
    """Writes what standard output still holds, so that an error of the disk is one like any other."""
    try:
        sys.stdout.flush()
    except OSError:
        # What could not be written would be tried again, and complained of, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _in_words(error: Exception) -> str:
    """Returns what is wrong on one line, "" for a defect of the package, which shows its trace.

    The only place that decides which is which: errors of the package, and what the machine refuses, are no defects.
    """
    if isinstance(error, errors.Error):
        return str(error)
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        where = error.filename if isinstance(error.filename, str) else "the output"
        if error.errno in _FULL_DISK:
            return f"{where}: cannot be written: the disk is full"
        return f"{where}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"there is not enough memory{f': {error}' if str(error) else ''}"
    return ""


def _refuse(verb: str) -> None:
    meant = difflib.get_close_matches(verb, available(), n=1, cutoff=0.5)
    hint = f"did you mean {meant[0]}?" if meant else f"verbs: {', '.join(available())}"
    _fail(f"nafp: no verb {verb!r}; {hint}  (nafp --help lists the verbs)")


def _fail(text: str, *, code: int = 2) -> NoReturn:
    """Prints one line and ends with exit code 2, the code of every verb that cannot work. 1 means nothing found."""
    print(shown.plain(text), file=sys.stderr)
    endings.leave(code)
