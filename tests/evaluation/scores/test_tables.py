"""Tables for the terminal and in Markdown, held to a plain loop over their cells."""

import random

import pytest

from evaluation.scores import tables

CELLS = (
    "87.4 (85.9-88.8)",
    "-",
    "",
    "12",
    "1.50",
    "0.10",
    "(none)",
    "50.0 ± 3.1 (n=3)",
    "a|b",
    "top-1 exact, n5",
    "1e5",
)


def lined_up(header, lines):
    """The exact twin: every cell padded to the widest of its column, two spaces between columns."""
    widths = [max(len(row[i]) for row in (header, *lines)) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *lines)
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_plain_table_is_lined_up_cell_by_cell(seed):
    draw = random.Random(seed)
    n_columns = draw.randint(1, 6)
    header, *lines = ([draw.choice(CELLS) for _ in range(n_columns)] for _ in range(draw.randint(1, 6)))
    assert tables.plain(header, lines) == lined_up(header, lines)


def test_a_markdown_table_escapes_bars_and_has_no_padding():
    table = tables.markdown_table(["%", "1 (1 s)"], [["a|b", "50.0"], ["longer\nname", "-"]])
    assert table == "| % | 1 (1 s) |\n| --- | ---: |\n| a\\|b | 50.0 |\n| longer name | - |"
