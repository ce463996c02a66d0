"""Pictures change nothing outside of them."""

import subprocess
import sys


def test_drawing_leaves_the_backend_of_matplotlib_alone():
    code = (
        "import sys, matplotlib; before = dict.__getitem__(matplotlib.rcParams, 'backend')\n"
        "from evaluation.pages import images, panels\n"
        "axis = panels.Axis('', 0, 1, [(0, '0')])\n"
        "panel = panels.Panel('', '', '', axis, axis, lines=[panels.Line([(0, 0), (1, 1)], 'right')])\n"
        "assert images.png([panel]).startswith(b'\\x89PNG')\n"
        "assert dict.__getitem__(matplotlib.rcParams, 'backend') is before\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
