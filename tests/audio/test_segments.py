import numpy as np
import pytest

from nafp.audio import segments


def test_seconds_round_to_the_nearest_sample():
    assert segments.to_samples(0.5, 8000) == 4000
    assert segments.to_samples(0.00006, 8000) == 0
    assert segments.to_samples(0.00007, 8000) == 1
    assert segments.to_seconds(segments.to_samples(12.3, 8000), 8000) == pytest.approx(12.3)


@pytest.mark.parametrize("n_samples", [0, 1, 7, 8, 9, 11, 12, 13, 100])
@pytest.mark.parametrize("hop", [1, 4, 8, 11])
def test_rows_are_the_slices_one_would_cut_by_hand(n_samples, hop):
    samples = np.arange(n_samples)
    by_hand = [samples[at : at + 8] for at in range(0, n_samples, hop) if at + 8 <= n_samples]
    assert segments.count(n_samples, segment=8, hop=hop) == len(by_hand)
    rows = segments.frame(samples, segment=8, hop=hop)
    assert rows.shape == (len(by_hand), 8)
    np.testing.assert_array_equal(rows, np.array(by_hand).reshape(-1, 8))


def test_a_last_short_piece_is_dropped():
    assert segments.count(8000 + 3999, segment=8000, hop=4000) == 1
    assert segments.count(8000 + 4000, segment=8000, hop=4000) == 2


def test_thirty_seconds_are_fifty_nine_rows():
    assert segments.count(30 * 8000, segment=8000, hop=4000) == 59


def test_framing_copies_nothing():
    samples = np.zeros(100)
    assert np.shares_memory(segments.frame(samples, segment=10, hop=5), samples)


@pytest.mark.parametrize("hop", [3, 8, 20])
@pytest.mark.parametrize("seed", range(5))
def test_rows_of_a_stream_are_the_rows_of_the_whole(hop, seed):
    rng = np.random.default_rng(seed)
    samples = np.arange(rng.integers(0, 200))
    cuts = np.sort(rng.integers(0, len(samples) + 1, rng.integers(0, 12)))
    streamed = list(segments.frame_blocks(np.split(samples, cuts), segment=8, hop=hop))
    whole = segments.frame(samples, segment=8, hop=hop)
    np.testing.assert_array_equal(np.concatenate([whole[:0], *streamed]), whole)
    assert all(len(rows) for rows in streamed)


def test_rows_and_seconds_are_inverses():
    for row in range(10):
        assert segments.row_of(segments.start_s(row, hop_s=0.5), hop_s=0.5) == row
    assert segments.row_of(0.75, hop_s=0.5) == 1.5


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        segments.count(100, segment=8000, hop=0)
    with pytest.raises(ValueError, match="one channel"):
        segments.frame(np.zeros((10, 2)), segment=2, hop=1)
