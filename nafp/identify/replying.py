"""The reply to a clip: which of its ranked tracks are answers, and what else a person should know of it.

`nafp identify` and `nafp serve` reply in the same words.
"""

from __future__ import annotations

import math

from nafp.identify import asking, identifier
from nafp.identify.answers import Reply

_SILENCE_DB = 20 * math.log10(asking.SILENCE)


def of(
    name: str,
    seconds: float,
    ranking: identifier.RankedClip,
    *,
    top: int = 1,
    least: float = asking.LEAST_PROBABLE,
) -> Reply:
    """Returns the reply to the clip `name` of `seconds`, whose tracks were ranked.

    top: answers at most. least: the probability below which a track is no answer. Rank at least two tracks, so that the
    reply can say that a clip holds several.
    """
    probable = [answer for answer in ranking.answers if identifier.is_answer(answer, least)]
    if not probable and ranking.lost:
        return Reply(name, seconds, error=identifier.lost_in_words(ranking.lost))
    remark = ""
    if ranking.says_nothing:
        remark = f"silent: there is nothing above {_SILENCE_DB:.0f} dB that could be compared"
    elif ranking.n_parts > top:
        remark = f"holds {ranking.n_parts} tracks or more; --top={ranking.n_parts} or nafp monitor names them"
    closest = ranking.answers[0] if ranking.answers and not probable else None
    return Reply(name, seconds, probable[:top], closest, remark=remark)
