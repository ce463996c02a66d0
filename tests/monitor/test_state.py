"""A state of a monitor answers for every byte of itself."""

import numpy as np
import pytest

from nafp import errors
from nafp.audio import decode, live
from nafp.monitor import state

SETTINGS = {"searched": "abc", "max_speed": 4.0, "unknown": True, "format": "json"}


@pytest.fixture
def recording(tmp_path):
    decode.write_wav(tmp_path / "a.wav", np.zeros(8000, np.float32), sample_rate_hz=8000)
    return live.opened(str(tmp_path / "a.wav"))


def journal(tmp_path):
    return state.MonitorJournal(str(tmp_path / "state"), SETTINGS, out=str(tmp_path / "out"))


def test_any_changed_byte_of_a_state_is_refused_or_changes_nothing(tmp_path, recording):
    monitor = {"timeline": {"heard": 12, "playing": [], "ended": []}, "known_until_s": 3.5, "waiting": []}
    first = journal(tmp_path)
    first.begin(recording)
    first.write("a line")
    first.save(recording, monitor=monitor, n_found=1, is_done=False)
    first.close()
    path = tmp_path / "state"
    whole, lines = path.read_bytes(), (tmp_path / "out").read_bytes()
    n_refused = 0
    for place in range(len(whole)):
        for value in {whole[place] ^ 1, ord("9")} - {whole[place]}:
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                again = journal(tmp_path)
            except errors.Invalid:
                n_refused += 1
                assert (tmp_path / "out").read_bytes() == lines
                continue
            saved = again.begin(recording)
            again.close()
            assert saved["monitor"] == monitor
            assert saved["n_found"] == 1
            assert (tmp_path / "out").read_bytes() == lines
    assert n_refused > 1.5 * len(whole)
