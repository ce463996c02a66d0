"""How many processors this process may use: what the system grants it, less than the machine has in many containers."""

from __future__ import annotations

import math
import os
from pathlib import Path

_GROUP = Path("/proc/self/cgroup")  # Linux: the control group of this process, on the line that begins with "0::".
_GROUPS = Path("/sys/fs/cgroup")  # The folder of version 2 of control groups, as `docker run --cpus=2` sets them.


def count() -> int:
    """Returns the number of processors that this process may use, at least 1.

    A process may be bound to some processors, and its control group may allow it a share of their time. A share of 1.5
    processors counts as 2.
    """
    bound_to = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound_to, math.ceil(min(bound_to, _allowed()))))


def _allowed() -> float:
    """Returns how many processors' time the control group of this process and those above it allow, inf for any."""
    try:
        lines = _GROUP.read_text().splitlines()
    except OSError:  # Not Linux.
        return math.inf
    inside = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    group = _GROUPS / inside
    return min(_quota(folder / "cpu.max") for folder in (group, *group.parents) if folder.is_relative_to(_GROUPS))


def _quota(path: Path) -> float:
    """Reads "QUOTA PERIOD" in microseconds. Returns inf for "max PERIOD", and for a group that states none."""
    try:
        quota, period = path.read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
