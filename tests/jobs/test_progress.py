import fcntl
import io
import os
import pty
import struct
import termios

from nafp.jobs import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def counted(out, clock, *, total=100, **settings):
    return progress.Progress(total, "files", out=out, clock=clock, **settings)


def test_a_log_gets_a_line_every_ten_seconds():
    out, clock = io.StringIO(), Clock()
    with counted(out, clock, label="scan") as shown:
        for _ in range(100):
            clock.now += 0.5
            shown.add()
    lines = out.getvalue().splitlines()
    assert lines[0] == "scan: 20/100 files, 20 %, 2 files/s, 40 s left"
    assert lines[-1] == "scan: 100 files in 50 s, 2 files/s"
    assert len(lines) == 6


def test_a_terminal_gets_one_line_that_changes():
    out, clock = Terminal(), Clock()
    shown = counted(out, clock)
    for _ in range(3):
        clock.now += 1
        shown.add(status="loss 1.25")
    assert "\n" not in out.getvalue()
    assert out.getvalue().split("\r")[-1].startswith("3/100 files, 3 %, 1 files/s, 1 min 37 s left")
    assert out.getvalue().rstrip().endswith("loss 1.25")
    shown.close()
    assert out.getvalue().endswith("3 of 100 files in 3 s, 1 files/s\n")


def test_what_an_earlier_run_did_counts_for_the_share_but_not_for_the_rate():
    out, clock = io.StringIO(), Clock()
    shown = counted(out, clock, done=50)
    clock.now += 10
    shown.add(10)
    assert out.getvalue() == "60/100 files, 60 %, 1 files/s, 40 s left\n"


def test_without_a_total_no_time_left_is_claimed():
    out, clock = io.StringIO(), Clock()
    shown = counted(out, clock, total=None)
    clock.now += 10
    shown.add(5)
    assert out.getvalue() == "5 files, 0.50 files/s\n"


def test_a_note_stands_on_its_own_line():
    out, clock = Terminal(), Clock()
    shown = counted(out, clock)
    clock.now += 1
    shown.add()
    shown.note("a.mp3 is empty")
    assert out.getvalue().endswith("\ra.mp3 is empty\n")


def test_silence_is_silent():
    out, clock = io.StringIO(), Clock()
    with counted(out, clock, show=False) as shown:
        clock.now += 100
        shown.add()
        shown.note("nothing")
    assert out.getvalue() == ""


def test_closing_twice_prints_once():
    out = io.StringIO()
    with counted(out, Clock()) as shown:
        shown.close()
    assert out.getvalue().count("\n") == 1


def test_times_are_said_as_people_say_them():
    assert progress.duration(8.4) == "8 s"
    assert progress.duration(200) == "3 min 20 s"
    assert progress.duration(7500) == "2 h 05 min"


def test_a_line_that_is_longer_than_the_terminal_is_cut_off():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with open(theirs, "w") as terminal:
        bar = progress.Progress(10, "files", label="/a/long/folder/of/music", out=terminal, every_s=0)
        bar.add(status="another long folder")
        shown = os.read(ours, 1000).decode()
    os.close(ours)
    assert shown.startswith("\r/a/long/folder/of/music: 1/10 files")
    assert len(shown.strip("\r")) == 39
