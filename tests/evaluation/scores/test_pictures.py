"""Pictures change nothing outside of them."""

import subprocess
import sys


def test_drawing_leaves_the_backend_of_matplotlib_alone():
    code = (
        "import sys, matplotlib; before = dict.__getitem__(matplotlib.rcParams, 'backend')\n"
        "from evaluation.scores import pictures\n"
        "figure = pictures._alone(lambda axes: axes.plot([0, 1]))\n"
        "assert pictures.as_png(figure).startswith(b'\\x89PNG')\n"
        "assert dict.__getitem__(matplotlib.rcParams, 'backend') is before\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
