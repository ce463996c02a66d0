"""Laws of the degradations: what comes out is what was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from nafp import config as config_lib
from nafp.training import augment, playback
from tests import shapes

RATE_HZ = 8000
pairs = jax.jit(shapes.checked(augment.pairs), static_argnums=0)
cut_off = jax.jit(shapes.checked(augment.cut_off), static_argnames="sample_rate_hz")
play = jax.jit(shapes.checked(playback.play), static_argnames=("n_samples", "pivot"))


def noise(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32) * 0.1


def power_db(x):
    return 10 * np.log10(np.mean(np.asarray(x, np.float64) ** 2))


def settings(**changes):
    c = config_lib.default()
    with c.unlocked():
        c.update_from_flattened_dict({f"augment.{k}": v for k, v in changes.items()})
    return augment.settings(audio=c.audio, augment=c.augment)


def only(**changes):
    """Settings with every degradation off but those named."""
    names = ("noise", "speech", "gain", "room", "microphone", "low_pass", "high_pass")
    masks = ("cutout", "frequency_mask", "time_mask")
    off = {f"{name}.probability": 0.0 for name in (*names, *masks)}
    return settings(**{**off, "offset_s": 0.0, **changes})


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 10.0])
def test_the_ratio_that_comes_out_is_the_ratio_asked_for(snr_db):
    signal, added = noise(16000, 1), noise(16000, 2) * 3
    mixed = augment.mix(jnp.array(signal), jnp.array(added), snr_db=snr_db, over=8000)
    rest = np.asarray(mixed) - signal
    assert power_db(signal[-8000:]) - power_db(rest[-8000:]) == pytest.approx(snr_db, abs=1e-3)


def test_silent_noise_adds_nothing_and_silence_stays_silent():
    signal = noise(8000)
    np.testing.assert_array_equal(augment.mix(jnp.array(signal), jnp.zeros(8000), snr_db=0.0, over=8000), signal)
    np.testing.assert_array_equal(
        augment.mix(jnp.zeros(8000), jnp.array(signal), snr_db=0.0, over=8000), np.zeros(8000)
    )


@pytest.mark.parametrize("response_samples", [37, 2000, 8000])
def test_convolution_is_scipys_linear_one_over_the_kept_part(response_samples):
    clip, responses = noise(16000, 3), np.stack([noise(response_samples, s) for s in (4, 5)])
    made = augment.bank(responses, clip_samples=16000, kept_samples=8000)
    for response, spectrum in zip(responses, made.spectra):
        whole = scipy.signal.fftconvolve(clip, response)[:16000]
        np.testing.assert_allclose(augment.convolve(jnp.array(clip), spectrum)[8000:], whole[8000:], atol=1e-5)


def response_db(samples_in, samples_out, hz):
    n = len(samples_in)
    bins = np.round(np.asarray(hz) * n / RATE_HZ).astype(int)
    before, after = np.fft.rfft(samples_in)[bins], np.fft.rfft(np.asarray(samples_out))[bins]
    return 20 * np.log10(np.abs(after) / np.abs(before))


def test_the_band_cut_off_is_gone_at_the_slope_asked_for():
    click = np.zeros(8000, np.float32)
    click[4000] = 1.0
    low = cut_off(
        jnp.array(click),
        sample_rate_hz=RATE_HZ,
        low_pass_hz=1000.0,
        low_pass_slope=24.0,
        high_pass_hz=0.0,
        high_pass_slope=12.0,
    )
    at = response_db(click, low, [100, 1000, 2000, 3000])
    assert at[0] == pytest.approx(0, abs=0.1)
    assert at[1] == pytest.approx(-3, abs=0.1)
    assert at[2] == pytest.approx(-24, abs=0.5)  # One octave beyond.
    high = cut_off(
        jnp.array(click),
        sample_rate_hz=RATE_HZ,
        low_pass_hz=jnp.inf,
        low_pass_slope=12.0,
        high_pass_hz=800.0,
        high_pass_slope=36.0,
    )
    at = response_db(click, high, [200, 400, 800, 3000])
    assert at[0] == pytest.approx(-72, abs=1.5)
    assert at[1] == pytest.approx(-36, abs=0.5)
    assert at[3] == pytest.approx(0, abs=0.1)


def test_a_tone_played_faster_is_higher_by_as_much():
    seconds = np.arange(20000) / RATE_HZ
    tone = np.sin(2 * np.pi * 1000 * seconds).astype(np.float32)
    faster = play(jnp.array(tone), start=1000.0, n_samples=16000, pivot=8000, speed=1.05)
    spectrum = np.abs(np.fft.rfft(np.asarray(faster) * np.hanning(16000)))
    assert np.argmax(spectrum) * RATE_HZ / 16000 == pytest.approx(1050, abs=1)


def test_normal_speed_is_a_plain_cut():
    clip = noise(20000)
    played = play(jnp.array(clip), start=1000.0, n_samples=16000, pivot=8000, speed=1.0)
    np.testing.assert_allclose(played, clip[1000:17000], atol=1e-5)


def test_saturation_keeps_the_peak_and_adds_no_silence():
    x = noise(8000)
    driven = np.asarray(augment.saturate(jnp.array(x), drive_db=12.0))
    assert np.abs(driven).max() == pytest.approx(np.abs(x).max(), rel=1e-5)
    assert power_db(driven) > power_db(x)


def clips_and_keys(s, n=6, seed=0):
    n_samples = s.context + s.segment + 2 * s.margin
    clips = np.stack([noise(n_samples, seed + i) for i in range(n)])
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(7), i))(jnp.arange(n))
    return jnp.array(clips), keys


def test_with_everything_off_replica_is_anchor_is_the_clean_segment():
    s = only()
    clips, keys = clips_and_keys(s)
    anchors, replicas = pairs(s, keys, clips, None, None, None, None)
    start = s.context + s.margin
    np.testing.assert_array_equal(anchors, clips[:, start : start + s.segment])
    np.testing.assert_array_equal(replicas, anchors)


def test_offsets_stay_within_their_bounds_and_differ():
    s = only(offset_s=0.2)
    ramp = jnp.arange(s.context + s.segment + 2 * s.margin, dtype=jnp.float32)
    clips = jnp.tile(ramp, (200, 1))
    keys = jax.random.split(jax.random.key(0), 200)
    anchors, replicas = pairs(s, keys, clips, None, None, None, None)
    moved = np.asarray(anchors[:, 0]) - (s.context + s.margin)
    further = np.asarray(replicas[:, 0]) - np.asarray(anchors[:, 0])
    for drawn in (moved, further):
        assert np.abs(drawn).max() <= 1600
        assert drawn.min() < -1200
        assert drawn.max() > 1200


def test_an_example_does_not_depend_on_its_batch():
    s = settings(**{"speed": 0.05, "saturation.probability": 0.5, "time_mask.probability": 1.0})
    clips, keys = clips_and_keys(s)
    sounds = jnp.array(np.stack([noise(s.context + s.segment, 50 + i) for i in range(6)]))
    banks = [augment.bank(np.stack([noise(n, n)]), clip_samples=16000, kept_samples=8000) for n in (4000, 500)]
    whole = pairs(s, keys, clips, sounds, None, *banks)
    part = pairs(s, keys[2:4], clips[2:4], sounds[2:4], None, *banks)
    for all_of_them, two in zip(whole, part):
        np.testing.assert_allclose(all_of_them[2:4], two, atol=2e-6)


def test_noise_is_heard_at_the_ratio_drawn_whether_before_or_after_the_room():
    for in_room in (0.0, 1.0):
        s = only(
            **{
                "noise.probability": 1.0,
                "noise.low_db": 6.0,
                "noise.high_db": 6.0,
                "noise_in_room": in_room,
            }
        )
        clips, keys = clips_and_keys(s)
        sounds = jnp.array(np.stack([noise(s.context + s.segment, 90 + i) for i in range(6)]))
        anchors, replicas = pairs(s, keys, clips, sounds, None, None, None)
        for anchor, replica in zip(np.asarray(anchors), np.asarray(replicas)):
            assert power_db(anchor) - power_db(replica - anchor) == pytest.approx(6.0, abs=1e-2)
