"""A long job hears of a signal, ends its work, and stops at once when it is asked twice."""

import os
import signal

import pytest

from nafp.jobs import interrupts


def told(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number, terminated", [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_the_first_signal_asks_and_the_second_stops(number, terminated):
    before = signal.getsignal(number)
    with interrupts.Interrupt() as interrupt:
        assert not interrupt.asked
        told(number)
        assert (interrupt.asked, interrupt.terminated) == (True, terminated)
        with pytest.raises(KeyboardInterrupt):
            told(number)
    assert signal.getsignal(number) == before


def test_a_patient_job_takes_further_notices_of_a_scheduler_for_one():
    with interrupts.Interrupt(patient=True) as interrupt:
        for _ in range(3):
            told(signal.SIGTERM)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):  # A person is not to wait.
            told(signal.SIGINT)
