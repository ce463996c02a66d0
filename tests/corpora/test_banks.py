import numpy as np
import pytest

from nafp.audio import decode
from nafp.corpora import banks, corpus, manifest
from tests import tunes

RATE = 8000


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Noise of three lengths, one with a silent middle, and responses of three kinds."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)

    def write(name, samples):
        tunes.write(folder / name, samples.astype(np.float32), RATE)

    street = 0.1 * rng.standard_normal(6 * RATE)
    street[2 * RATE : 4 * RATE] = 0
    write("noise/train/street.wav", street)
    write("noise/train/click.wav", 0.1 * rng.standard_normal(RATE // 4))
    write("noise/test/cafe.wav", 0.1 * rng.standard_normal(3 * RATE))
    for i, delay in enumerate((0, 3, 100)):
        tail = 0.3 * rng.uniform(-1, 1, 4000) * np.exp(-np.arange(4000) / 500)
        write(f"room/train/{i}.wav", np.concatenate([np.zeros(delay), [0.9 * (-1) ** i], tail]))
    write("microphone/train/phone.wav", np.array([0.1, -0.8, 0.3, 0.1]))
    tracks, failures = manifest.scan(str(folder))
    assert not failures
    return corpus.build(tracks, tmp_path_factory.mktemp("corpora") / "C", jobs=0)


def test_windows_are_those_loud_enough_and_within_their_track(sounds):
    tracks = sounds.select(kind="noise", split="train")
    first = banks.windows(sounds, tracks, n_samples=RATE, hop=RATE // 2)
    (street,) = [track for track in tracks if track.path.endswith("street.wav")]
    # Windows 0..10 at half seconds; silent from 2 to 4 s: 4, 5, 6 hold nothing else.
    assert ((first - street.first_sample) / (RATE // 2)).tolist() == [0, 1, 2, 3, 7, 8, 9, 10]


@pytest.mark.parametrize("hop", [4000, 1234])
def test_loudness_of_windows_is_that_of_their_samples(sounds, hop):
    first = np.arange(0, len(sounds.samples) - RATE, hop)
    found = banks.loudness_db(sounds, first, n_samples=RATE)
    power = np.square(decode.to_float(sounds.samples), dtype=np.float64)
    direct = np.array([power[at : at + RATE].mean() for at in first])
    expected = 10 * np.log10(np.maximum(direct, 1e-12))
    if hop % 4000 == 0:
        np.testing.assert_allclose(found, expected, atol=0.05)
    # Between cells loudness is shared out evenly; steady noise is met closely.
    steady = expected > -21
    np.testing.assert_allclose(found[steady], expected[steady], atol=1.0)


@pytest.mark.parametrize("n_samples", [100, 2000, 9000])
def test_responses_have_unit_energy_and_their_peak_at_the_start(sounds, n_samples):
    bank = banks.response_bank(sounds, kind="room", split="train", n_samples=n_samples)
    assert bank.shape == (3, n_samples)
    assert bank.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(bank, axis=1), 1, rtol=1e-5)
    assert (np.abs(bank).argmax(axis=1) == 8).all()  # A millisecond of what comes before.
    assert (np.sign(bank[:, 8]) == [1, -1, 1]).all()


def test_a_response_is_shifted_and_scaled_and_nothing_else(sounds):
    bank = banks.response_bank(sounds, kind="room", split="train", n_samples=1000)
    for row, track in zip(bank, sounds.select(kind="room")):
        original = decode.to_float(sounds.audio(track))
        peak = np.abs(original).argmax()
        tail = original[peak : peak + 1000 - 8]
        np.testing.assert_allclose(row[8:] / row[8], tail / tail[0], atol=1e-5)


def test_a_short_response_is_padded_with_silence(sounds):
    (phone,) = banks.response_bank(sounds, kind="microphone", split="train", n_samples=50)
    np.testing.assert_allclose(phone[7:11] / phone[8], [-1 / 8, 1, -3 / 8, -1 / 8], atol=1e-3)
    assert not phone[:7].any()
    assert not phone[11:].any()


def test_a_bank_that_would_be_empty_says_what_there_is(sounds):
    with pytest.raises(ValueError, match=r"no room of split 'val'; there is some of .*train"):
        banks.response_bank(sounds, kind="room", split="val", n_samples=100)
    with pytest.raises(ValueError, match="no speech of split 'train'"):
        banks.response_bank(sounds, kind="speech", split="train", n_samples=100)
    with pytest.raises(ValueError, match="more than 8"):
        banks.response_bank(sounds, kind="room", split="train", n_samples=8)
