"""Every error that the package raises on purpose.

Error
├── Invalid (ValueError)                 a value, a file or a command that cannot be right
│   ├── Undecodable                      a file that gives no audio
│   ├── Silent                           silence where a ratio of powers needs sound
│   ├── MicrophoneUnavailable            no microphone, or one that cannot be opened
│   ├── Locked                           another process is writing to the database
│   ├── Unwritable                       the disk is full, or the folder is read-only
│   └── OtherProcessFailed               this process did its part of a shared job, another did not
├── NotFound (FileNotFoundError)         a file or folder that is not there
├── AlreadyExists (FileExistsError)      a file or folder that would be overwritten
├── UnknownTrack (KeyError)              a track that the collection does not hold
├── NotFinite (FloatingPointError)       a training loss that is not a number
├── StartAgain                           a job that was told to end, or lost a host; it goes on when started again
├── EngineFailed                         the search engine of a database is out of reach, or lacks what it should hold
└── FfmpegFailed                         ffmpeg found no audio; `Undecodable` names the file

The `nafp` command prints an error of this tree as one line and exits with its `code`, which is 2 but for `StartAgain`.
Any other exception is a defect of the package and shows its trace.
"""

from typing import ClassVar


class Error(Exception):
    """The root of the tree: `except nafp.Error` catches whatever the package raises on purpose."""

    code: ClassVar[int] = 2  # The exit code of the command.


class Invalid(Error, ValueError):
    """A value, a file or a command that cannot be right. The message says what is allowed."""


class Undecodable(Invalid):
    """A file that gives no audio.

    path: the file. reason: why, in words. tool_missing: whether installing ffmpeg or PyAV might help.
    """

    def __init__(self, path: str, reason: str, tool_missing: bool = False):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason, self.tool_missing = path, reason, tool_missing

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.reason, self.tool_missing)


class Silent(Invalid):
    """Silence where a ratio of powers, or a response, needs sound."""


class MicrophoneUnavailable(Invalid):
    """No microphone, or one that cannot be opened."""


class Locked(Invalid):
    """Another process is writing to the database."""


class Unwritable(Invalid):
    """The disk is full, or the folder is read-only. What was acknowledged before is safe."""


class OtherProcessFailed(Invalid):
    """This process did its part of a shared job, another did not."""


class NotFound(Error, FileNotFoundError):
    """A file or folder that is not there."""


class AlreadyExists(Error, FileExistsError):
    """A file or folder that would be overwritten."""


class UnknownTrack(Error, KeyError):
    """A track that the collection does not hold."""

    def __str__(self) -> str:  # KeyError's own would put the message in quotes.
        return str(self.args[0]) if self.args else ""


class NotFinite(Error, FloatingPointError):
    """A training loss that is not a number. The message names the step."""


class StartAgain(Error):
    """A job that was told to end by SIGTERM, or lost one of its hosts. The same command goes on where it was."""

    code = 75  # EX_TEMPFAIL of sysexits.h: "a failure that will be gone if the command is tried again".


class FfmpegFailed(Error):
    """ffmpeg found no audio in a file, or broke off."""


class EngineFailed(Error):
    """The search engine of a database is out of reach, or does not hold what it should. The database is whole."""
