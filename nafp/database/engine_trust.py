"""Which engines the user of this machine has agreed to.

A catalogue names the address of its engine and where the token for it is. A database may come from a stranger, who must
not make us send a file of ours, or the fingerprints of clips, to an address of his. So both count only if they were
agreed to here: by `nafp engine DB milvus` or `nafp engine DB trust`, which note them in a file of the user's, or by
the variable NAFP_ENGINES.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from nafp import errors
from nafp.database.engine_facts import Engine
from nafp.jobs import whole_files

VARIABLE = "NAFP_ENGINES"  # Entries as `entry` writes them, with blanks between.
_NAME = "engines.txt"


def file() -> Path:
    """Returns the file in which engines are noted, an entry a line."""
    return Path(platformdirs.user_config_dir("nafp")) / _NAME


def entry(engine: Engine) -> str:
    """Writes address and token as ADDRESS, ADDRESS|FILE or ADDRESS|$VARIABLE."""
    token = engine.token_file or (f"${engine.token_env}" if engine.token_env else "")
    return f"{engine.uri}|{token}" if token else engine.uri


def require(engine: Engine) -> None:
    """Raises errors.EngineFailed unless an engine was agreed to."""
    own = entry(engine)
    if own not in os.environ.get(VARIABLE, "").split() and own not in _noted():
        raise errors.EngineFailed(
            f"the database asks for Milvus at {own}, to which nobody has agreed on this machine: nafp engine DB trust "
            f"agrees, and so does {VARIABLE}='{own}'"
        )


def agree(engine: Engine) -> None:
    """Notes that an engine was agreed to. Raises errors.Unwritable if that cannot be noted."""
    noted, path = _noted(), file()
    if entry(engine) in noted:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.Unwritable(f"{path}: cannot be written: {error.strerror}; {VARIABLE} does as well") from error
    with whole_files.opened(path, encoding="utf-8") as out:
        out.write("".join(f"{line}\n" for line in [*noted, entry(engine)]))


def _noted() -> list[str]:
    try:
        return file().read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []
