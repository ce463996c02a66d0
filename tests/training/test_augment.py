"""Laws of the degradations: what comes out is what was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from nafp import config as config_lib
from nafp.training import augment, draws, playback
from tests import shapes

RATE_HZ = 8000
pairs = jax.jit(shapes.checked(augment.pairs), static_argnums=0, static_argnames="number")
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
    anchors, replicas = pairs(s, keys, clips, {}, None, None)
    start = s.context + s.margin
    np.testing.assert_array_equal(anchors, clips[:, start : start + s.segment])
    np.testing.assert_array_equal(replicas, anchors)


def test_offsets_stay_within_their_bounds_and_differ():
    s = only(offset_s=0.2)
    ramp = jnp.arange(s.context + s.segment + 2 * s.margin, dtype=jnp.float32)
    clips = jnp.tile(ramp, (200, 1))
    keys = jax.random.split(jax.random.key(0), 200)
    anchors, replicas = pairs(s, keys, clips, {}, None, None)
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
    whole = pairs(s, keys, clips, {"noise": sounds}, *banks)
    order = np.array([2, 3, 0, 0, 5, 1])  # Other mates, at other places.
    others = sounds[order][:, ::-1].at[:2].set(sounds[2:4])
    other = pairs(s, keys[order], clips[order], {"noise": others}, *banks)
    for all_of_them, two in zip(whole, other):
        np.testing.assert_allclose(all_of_them[2:4], two[:2], atol=2e-6)


@pytest.mark.parametrize("name", augment.ADDED)
@pytest.mark.parametrize("in_room", [0.0, 1.0])
def test_what_is_added_is_heard_at_the_ratio_drawn_whether_before_or_after_the_room(name, in_room):
    level = {f"{name}.probability": 1.0, f"{name}.low_db": 6.0, f"{name}.high_db": 6.0}
    s = only(**level, noise_in_room=in_room)
    clips, keys = clips_and_keys(s)
    sounds = jnp.array(np.stack([noise(s.context + s.segment, 90 + i) for i in range(6)]))
    anchors, replicas = pairs(s, keys, clips, {name: sounds}, None, None)
    for anchor, replica in zip(np.asarray(anchors), np.asarray(replicas)):
        assert power_db(anchor) - power_db(replica - anchor) == pytest.approx(6.0, abs=1e-2)


def drawn_offsets(n=400, **changes):
    """Returns where n anchors and their replicas begin, in samples from the grid."""
    s = only(**changes)
    ramp = jnp.arange(s.clip_samples, dtype=jnp.float32)
    keys = jax.random.split(jax.random.key(0), n)
    sides = pairs(s, keys, jnp.tile(ramp, (n, 1)), {}, None, None)
    return [np.asarray(side[:, 0]) - (s.context + s.margin) for side in sides]


def test_offsets_of_pfann_are_later_than_the_grid_on_both_sides():
    later = {"offset_direction": "later", "offset_from": "grid"}
    for side in drawn_offsets(offset_s=0.2, context_s=0.1, **later):
        assert (side.min(), side.max()) == (pytest.approx(0, abs=60), pytest.approx(1600, abs=60))
        assert ((side >= 0) & (side <= 1600)).all()


def test_offsets_of_the_benchmark_are_rare_never_small_and_of_replicas_alone():
    changes = {"offset_s": 0.25, "offset_least_s": 0.1, "offset_probability": 0.3, "offset_anchors": False}
    anchors, replicas = drawn_offsets(context_s=0.1, **changes)
    assert (anchors == 0).all()
    moved = replicas[replicas != 0]
    assert 0.2 < len(moved) / len(replicas) < 0.4
    assert np.abs(moved).min() >= 800
    assert np.abs(moved).max() <= 2000
    assert 0.35 < (moved < 0).mean() < 0.65


def test_parts_of_the_range_of_ratios_are_drawn_by_their_weights():
    level = draws.Level(1.0, 0.0, 15.0, weights=(50, 30, 20))
    ratios = np.asarray(jax.vmap(level.draw)(jax.random.split(jax.random.key(1), 4000)))
    shares, _ = np.histogram(ratios, bins=[0, 5, 10, 15])
    np.testing.assert_allclose(shares / 4000, [0.5, 0.3, 0.2], atol=0.03)
    assert 0 <= ratios.min() <= ratios.max() <= 15


def test_one_draw_decides_on_both_filters():
    section = {"low_hz": 2000.0, "high_hz": 2000.0, "probability": 0.5}
    filters = {f"{name}.{key}": value for name in ("low_pass", "high_pass") for key, value in section.items()}
    clip = jnp.array(noise(8000))
    keys = jax.random.split(jax.random.key(2), 64)

    def kinds(**changes):
        s = only(context_s=0.0, **filters, **changes)
        _, replicas = pairs(s, keys, jnp.tile(clip, (64, 1)), {}, None, None)
        power = np.abs(np.fft.rfft(replicas)) ** 2
        whole = np.abs(np.fft.rfft(clip)) ** 2
        bands = (slice(100, 900), slice(3000, 3900))
        bass, treble = (power[:, band].sum(1) < 0.5 * whole[band].sum() for band in bands)
        return {(bool(b), bool(t)) for b, t in zip(bass, treble)}

    assert kinds(filters_together=True) == {(False, False), (True, True)}
    assert len(kinds()) == 4


def test_replicas_of_an_anchor_differ_and_their_anchor_does_not():
    s = only(**{"noise.probability": 1.0, "context_s": 0.1, "offset_s": 0.1, "replicas": 3})
    clips, keys = clips_and_keys(s, n=2)
    sounds = jnp.array(np.stack([noise(s.heard_samples, 30 + i) for i in range(2)]))
    drawn = [pairs(s, keys, clips, {"noise": sounds}, None, None, number=i) for i in range(2)]
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
    assert not np.allclose(drawn[0][1], drawn[1][1])


def test_a_circular_response_wraps_round_and_the_peak_of_a_replica_is_one():
    response = noise(600, 8)
    made = augment.bank(response[None], clip_samples=8000, kept_samples=8000, circular=True)
    clip = noise(8000, 9)
    expected = np.fft.irfft(np.fft.rfft(clip) * np.fft.rfft(response, 8000), 8000)
    np.testing.assert_allclose(augment.convolve(jnp.array(clip), made.spectra[0]), expected, atol=1e-5)
    s = only(**{"context_s": 0.0, "room.probability": 1.0, "peak_replicas": True})
    anchors, replicas = pairs(s, jax.random.split(jax.random.key(0), 1), jnp.array(clip)[None], {}, made, None)
    np.testing.assert_allclose(replicas[0], expected / np.abs(expected).max(), atol=1e-4)
    np.testing.assert_array_equal(anchors[0], clip)
