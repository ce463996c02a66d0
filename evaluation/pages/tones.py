"""The colours of pictures, each with a name, for light and for dark paper.

On either paper each tone has a contrast of 3 to 1 at least, as WCAG 2.2 asks of graphics (1.4.11).
"""

from typing import NamedTuple

PAPER = ("#ffffff", "#182221")  # What pictures lie on: `--card` of page.css.


class Tone(NamedTuple):
    """One colour, as it is on light and on dark paper."""

    light: str
    dark: str


# Steps like those of the colour map viridis, which stay in order for colour-blind eyes.
_STEPS = (
    Tone("#440154", "#8f7be0"),
    Tone("#433e85", "#6f93e8"),
    Tone("#31688e", "#4fb0d6"),
    Tone("#24818e", "#35c3ae"),
    Tone("#1f8f6f", "#74d366"),
    Tone("#5f8a1e", "#dce03a"),
)
MOST_STEPS = len(_STEPS)
# The others are those of Okabe and Ito, darker or lighter where the paper needs it.
TONES = {
    "right": Tone("#0072b2", "#57aefc"),
    "wrong": Tone("#c4561a", "#ffa04d"),
    "unknown": Tone("#5b6766", "#a3b3b1"),
    "series-0": Tone("#0072b2", "#57aefc"),
    "series-1": Tone("#c4561a", "#ffa04d"),
    "series-2": Tone("#00805c", "#3fd0a4"),
    "series-3": Tone("#a8497e", "#e79fc6"),
    "series-4": Tone("#8a6500", "#e8c04a"),
    **{f"step-{i}": tone for i, tone in enumerate(_STEPS)},
}


def steps(n: int) -> list[str]:
    """Returns the names of n tones of one scale, for things in an order, such as lengths. n: at most MOST_STEPS."""
    return [f"step-{round(i * (MOST_STEPS - 1) / max(1, n - 1))}" for i in range(n)]


def style_sheet() -> str:
    """Returns CSS that gives each class `tone-NAME` its colour as `--tone`, by the reader's colour scheme."""
    light = "\n".join(f".tone-{name} {{ --tone: {tone.light}; }}" for name, tone in TONES.items())
    dark = "\n".join(f"  .tone-{name} {{ --tone: {tone.dark}; }}" for name, tone in TONES.items())
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"
