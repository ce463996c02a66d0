"""Both forms of a convolution have one result, and the backward pass by hand has the gradients of autodiff."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nafp import config
from nafp.models import by_hand, convolution, cpu_stack, layers, numpy_layers

# Axis, its length and stride: even and odd, single, and too short for all three taps.
CASES = [(1, 8, 2), (2, 6, 2), (1, 7, 2), (2, 5, 1), (2, 2, 1), (1, 2, 2), (2, 1, 1), (1, 1, 2)]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def signal(axis, n, channels=3):
    return normal(0, 2, *((n, 4) if axis == 1 else (4, n)), channels)


def kernel_shape(axis, n_inputs, n_outputs):
    return (*((3, 1) if axis == 1 else (1, 3)), n_inputs, n_outputs)


def of_all_cases(function, arguments):
    """Calls `function(case, *arguments)` for each of CASES in one program, which compiles faster than one for each."""
    return jax.jit(lambda given: [function(case, *some) for case, some in zip(CASES, given)])(arguments)


@pytest.mark.parametrize("padding", config.network.PADDINGS)
@pytest.mark.parametrize("inputs,outputs", [((3, 3), 5), ((1, 1), 5), ((3, 1), 3)])
def test_both_forms_are_the_same_convolution(inputs, outputs, padding):
    n_channels, n_inputs = inputs  # The last case is depthwise.

    def by_both(case, x, kernel, bias):
        axis, _, stride = case
        convolve = functools.partial(convolution.apply, x, kernel, bias, axis=axis, stride=stride, padding=padding)
        return convolve(form="gemm"), convolve(form="lax")

    kernels = [normal(1, *kernel_shape(axis, n_inputs, outputs)) for axis, _, _ in CASES]
    given = [(signal(axis, n, n_channels), kernel, normal(2, outputs)) for (axis, n, _), kernel in zip(CASES, kernels)]
    for case, (gemm, lax) in zip(CASES, of_all_cases(by_both, given), strict=True):
        np.testing.assert_allclose(gemm, lax, atol=1e-5, err_msg=str(case))


@pytest.mark.parametrize("padding", config.network.PADDINGS)
def test_gradients_of_columns_are_put_back_where_they_were_read(padding):
    def columns(case, x):
        return convolution.columns(x, case[0], case[2], padding)

    def by_both(case, x, dy):
        axis, n, stride = case
        return convolution.uncolumns(dy, n, axis, stride, padding), jax.vjp(functools.partial(columns, case), x)[1](dy)

    signals = [signal(axis, n) for axis, n, _ in CASES]
    shapes = [jax.eval_shape(functools.partial(columns, case), x).shape for case, x in zip(CASES, signals)]
    given = [(x, normal(3, *shape)) for x, shape in zip(signals, shapes)]
    for case, (ours, (by_autodiff,)) in zip(CASES, of_all_cases(by_both, given), strict=True):
        np.testing.assert_allclose(ours, by_autodiff, atol=1e-6, err_msg=str(case))


@pytest.mark.parametrize("n,stride,expected", [(8, 2, (0, 1)), (7, 2, (1, 1)), (5, 1, (1, 1))])
def test_padding_is_that_of_keras(n, stride, expected):
    assert convolution.same_padding(n, stride) == expected
    assert convolution.zeros_around(n, stride, "same") == expected
    assert convolution.zeros_around(n, stride, "symmetric") == (1, 1)


@pytest.mark.parametrize("n, stride", [(8, 2), (7, 2), (5, 1)])
def test_numpy_reads_what_jax_reads(n, stride):
    for padding in config.network.PADDINGS:
        x = np.asarray(signal(1, n))
        theirs = convolution.columns(x, 1, stride, padding)
        np.testing.assert_array_equal(numpy_layers.columns(x, 1, stride, padding), theirs)


def test_the_form_follows_the_backend():
    assert convolution.resolve("auto") == ("gemm" if jax.default_backend() == "cpu" else "lax")
    with pytest.raises(ValueError, match="allowed are auto, gemm, lax"):
        convolution.resolve("winograd")


STYLE = layers.Style("layer_norm2d", "elu", "before_norm", 1e-3, "gemm")


def small_stack(activation="elu", **changes):
    plan = layers.plan((8, 6), channels=(2, 3), time_strides=(2, 1), depthwise=False)
    parameters = [
        {
            "kernel": normal(i, *layer.kernel_shape),
            "bias": normal(i + 10, layer.shape[2]),
            "norm_scale": 1 + 0.2 * normal(i + 20, *layer.shape),
            "norm_bias": normal(i + 30, *layer.shape),
        }
        for i, layer in enumerate(plan)
    ]
    return plan, parameters, STYLE._replace(activation=activation, **changes)


def gradients(stack, activation, **changes):
    plan, parameters, style = small_stack(activation, **changes)
    x, target = normal(4, 4, 8, 6, 1), normal(5, 4, *plan[-1].shape)
    return jax.jit(jax.grad(lambda x, p: jnp.sum(stack(x, plan, p, style) * target), argnums=(0, 1)))(x, parameters)


@functools.cache
def by_autodiff(activation):
    return gradients(layers.stack, activation)


@pytest.mark.parametrize(
    "groups, activation",
    [
        (((1, 1), (2, 2)), "elu"),
        (((4, 4),), "relu"),
        pytest.param(((1, 1), (2, 2)), "relu", marks=pytest.mark.slow),
        pytest.param(((4, 4),), "elu", marks=pytest.mark.slow),
    ],
)
def test_the_backward_pass_by_hand_equals_autodiff(activation, groups):
    ours = gradients(functools.partial(cpu_stack.stack, groups=groups), activation)
    assert_the_same(ours, by_autodiff(activation))


OTHERS = [
    pytest.param("relu", "after_norm", "same", marks=pytest.mark.slow),
    ("elu", "after_norm", "symmetric"),
]


@pytest.mark.parametrize("activation, order, padding", OTHERS)
def test_the_backward_pass_by_hand_covers_the_layers_of_other_systems(activation, order, padding):
    settings = {"activation_order": order, "padding": padding}
    ours = gradients(functools.partial(cpu_stack.stack, groups=((1, 1), (2, 2))), activation, **settings)
    assert_the_same(ours, gradients(layers.stack, activation, **settings))
    plan, _, style = small_stack(activation, **settings)
    assert by_hand.covers(plan, style, jnp.float32)


def assert_the_same(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * (1 + np.abs(b).max()))


@pytest.fixture(scope="module")
def six_segments():
    """(Segments, what all layers make of them at once.)"""
    plan, parameters, style = small_stack()
    x = normal(4, 6, 8, 6, 1)
    return x, jax.jit(lambda x: layers.stack(x, plan, parameters, style))(x)


@pytest.mark.parametrize("n_segments", [1, 3, 6])
def test_any_batch_goes_through_in_micro_batches(six_segments, n_segments):
    (x, whole), (plan, parameters, style) = six_segments, small_stack()
    ours = jax.jit(lambda x: cpu_stack.stack(x, plan, parameters, style, groups=((1, 1), (2, 4))))
    np.testing.assert_allclose(ours(x[:n_segments]), whole[:n_segments], atol=1e-5)
