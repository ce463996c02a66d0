"""Answers under the field names that clients of ACRCloud know.

docs.acrcloud.com describes them: Identification API, Metadata / Music, and Error Codes.
"""

from __future__ import annotations

import hashlib
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from nafp.identify import answers

_NOTHING, _NO_FINGERPRINT, _WRONG, _BUSY, _FAILED = 1001, 2004, 3006, 3003, 3000
_BY_STATUS = {200: _NOTHING, 422: _NO_FINGERPRINT, 429: _BUSY, 503: _BUSY, 500: _FAILED}

# Returns seconds and metadata of a track by its name; ({}, 0.0) for one that was removed meanwhile.
Describe = Callable[[str], tuple[float, Mapping[str, str]]]


def reply(replied: answers.Reply, describe: Describe) -> dict[str, Any]:
    """Returns the reply to a clip: `status`, and with an answer `metadata.music`, best first."""
    if replied.error:
        return failure(422, replied.error)
    if not replied.answers:
        return failure(200, "No result")
    music = [_track(answer, replied.seconds, *describe(answer.track)) for answer in replied.answers]
    utc = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    return {
        "status": {"msg": "Success", "code": 0, "version": "1.0"},
        "metadata": {"music": music, "timestamp_utc": utc},
        "result_type": 0,
    }


def failure(status: int, text: str) -> dict[str, Any]:
    """Returns the reply that names no track. status: of HTTP. text: why."""
    return {"status": {"msg": text, "code": _BY_STATUS.get(status, _WRONG), "version": "1.0"}}


def _track(answer: answers.Answer, clip_s: float, track_s: float, metadata: Mapping[str, str]) -> dict[str, Any]:
    begin_ms, end_ms = (round(1000 * second) for second in (answer.start_s, answer.start_s + clip_s * answer.speed))
    duration_ms = round(1000 * track_s)
    end_ms = min(end_ms, duration_ms) if duration_ms else end_ms
    probability = answer.score if answer.probability is None else answer.probability
    return {
        "title": metadata.get("title") or pathlib.PurePath(answer.track).stem,
        "artists": [{"name": metadata.get("artist", "")}],
        "album": {"name": metadata.get("album", "")},
        "duration_ms": duration_ms,
        "play_offset_ms": max(0, end_ms),  # Where it plays when the clip ends.
        "db_begin_time_offset_ms": max(0, begin_ms),
        "db_end_time_offset_ms": max(0, end_ms),
        "sample_begin_time_offset_ms": max(0, -begin_ms),
        "sample_end_time_offset_ms": round(1000 * clip_s),
        "score": round(100 * min(1.0, max(0.0, probability))),
        "acrid": hashlib.sha256(answer.track.encode(errors="surrogateescape")).hexdigest()[:32],
    }
