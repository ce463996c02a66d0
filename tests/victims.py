"""Processes to be killed: each forks a child for every life, so that their modules are imported once."""

import os
import signal
import subprocess
import sys
import time


class Victim:
    """A process of `tests.killed_writer` or `tests.killed_verbs`, whose lives follow one another."""

    def __init__(self, module, *arguments):
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # faiss complains of so few rows.
            text=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._commands, self._answers = self._process.stdin, self._process.stdout

    def live(self, what, *, step=0, lines=0, then_s=0.0):
        """Lives once. Returns what was acknowledged, and whether the life ended before it was killed.

        what: what to do, as the module takes it. step: the step at which it kills itself, or the beginning of the
        file's name. With step 0 it is killed then_s after so many lines.
        """
        print(what, step, file=self._commands, flush=True)
        child = int(self._line().split()[1])
        answers = []
        while (line := self._line()) != "dead":
            if line:
                answers.append(line)
            if not step and len(answers) == lines:
                time.sleep(then_s)
                os.kill(child, signal.SIGKILL)
                lines = -1
        return answers, "done" in answers

    def _line(self):
        line = self._answers.readline()
        assert line, "the writer ended by itself"
        return line.rstrip("\n")

    def end(self):
        self._commands.close()
        self._answers.close()
        assert self._process.wait() == 0
