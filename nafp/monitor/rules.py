"""When a line through a track counts as that track being played: every threshold of the timeline."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Rules:
    """When a line is a track. Evidence is measured in seconds of contrast 1 above a floor."""

    window_s: float = 8.0  # Rows that are looked at together.
    step_s: float = 4.0  # From one window to the next.
    lookback_s: float = 32.0  # How far back the start of a new line is looked for.
    proposals: int = 12  # New lines that are fitted in each step, at each speed.
    opens: float = 1.2  # Evidence that a new line needs.
    open_floor: float = 0.2  # Contrast that counts as no evidence for a new line.
    tempo_costs: float = 2.0  # Contrast per change of tempo: a line at 5 % more than its speed must be 0.1 better.
    floor: float = 0.05  # Contrast that counts as no evidence for an open line.
    resumes: float = 0.4  # Evidence that an open line needs to go on after it was lost.
    hold_s: float = 15.0  # How long a track may be drowned out and still go on.
    leads: float = -0.08  # Least contrast above any other recording; a track below it is dropped.
    adds: float = 0.1  # Least contrast above what overlapping tracks explain; a track below it is dropped at its end.
    shortest_s: float = 3.0  # A shorter track is dropped.
    bonus: float = 0.05  # Contrast that a line that is being played is ahead of new ones.
    follows: float = 0.3  # Mean contrast from which a line is fitted anew.
    explained: float = 0.5  # Mean contrast of a played line from which no other speed is tried.
    same_s: float = 1.5  # Lines of a track closer than this are one.
    tempo: float = 0.06  # Largest change of tempo that leaves the pitch alone.
    twin: float = 0.6  # Mean cosine of two places that hold one recording.
