"""Optimisers against recurrences written out in float64, over several steps."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from fastconv import optimizers

STEPS = 6
SHAPES = ((3, 4), (5,))


def run(optimizer, dtype, rng):
    """Parameters after STEPS steps, and the start and gradients that led there."""
    start = [rng.normal(size=shape) for shape in SHAPES]
    grads = [[rng.normal(size=shape) for shape in SHAPES] for _ in range(STEPS)]
    params = [array.astype(dtype) for array in start]
    for step in grads:
        optimizer.apply([grad.astype(dtype) for grad in step], params)
    assert optimizer.iterations == STEPS
    return params, [array.astype(dtype).astype(np.float64) for array in start], grads


def expect(params, expected, dtype):
    # Each step rounds a few times, at magnitudes of at most about 10.
    tolerance = 10 * STEPS * 10 * np.finfo(dtype).eps
    for param, target in zip(params, expected, strict=True):
        assert param.dtype == dtype
        assert not np.max(np.abs(param - target)) > tolerance


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd(momentum, nesterov, dtype, rng):
    params, expected, grads = run(optimizers.SGD(0.1, momentum=momentum, nesterov=nesterov), dtype, rng)
    velocity = [np.zeros(shape) for shape in SHAPES]
    for step in grads:
        for i, g in enumerate(step):
            velocity[i] = momentum * velocity[i] - 0.1 * g
            expected[i] = expected[i] + (momentum * velocity[i] - 0.1 * g if nesterov else velocity[i])
    expect(params, expected, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam(amsgrad, dtype, rng):
    params, expected, grads = run(optimizers.Adam(0.01, 0.8, 0.95, amsgrad=amsgrad), dtype, rng)
    m, v = [np.zeros(s) for s in SHAPES], [np.zeros(s) for s in SHAPES]
    largest = [np.zeros(s) for s in SHAPES]
    for t, step in enumerate(grads, 1):
        alpha = 0.01 * math.sqrt(1 - 0.95**t) / (1 - 0.8**t)
        for i, g in enumerate(step):
            m[i] = 0.8 * m[i] + 0.2 * g
            v[i] = 0.95 * v[i] + 0.05 * g**2
            largest[i] = np.maximum(largest[i], v[i])
            expected[i] = expected[i] - alpha * m[i] / (np.sqrt(largest[i] if amsgrad else v[i]) + 1e-7)
    expect(params, expected, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adamw_is_adam_after_a_decay(amsgrad, dtype, rng):
    params, expected, grads = run(optimizers.AdamW(0.01, 0.5, 0.8, 0.95, amsgrad=amsgrad), dtype, rng)
    twin = optimizers.Adam(0.01, 0.8, 0.95, amsgrad=amsgrad)
    for step in grads:
        for param in expected:
            param *= 1 - 0.01 * 0.5
        twin.apply(step, expected)
    expect(params, expected, dtype)
    assert optimizers.AdamW().get_config()["weight_decay"] == 0.004
    with pytest.raises(ValueError, match="weight_decay=None"):
        optimizers.AdamW(weight_decay=None)


def test_parameters_left_out_of_the_decay():
    kernel, bias = np.ones((2, 2)), np.ones(2)
    optimizer = optimizers.AdamW(0.5, 0.5)
    optimizer.exclude_from_weight_decay([kernel])
    optimizer.exclude_from_weight_decay([bias])
    optimizer.apply([np.zeros((2, 2)), np.zeros(2)], [kernel, bias])
    assert np.all(kernel == 0.75)
    assert np.all(bias == 1)
    with pytest.raises(ValueError, match="built already"):
        optimizer.exclude_from_weight_decay([kernel])
    with pytest.raises(NotImplementedError, match="var_names"):
        optimizers.AdamW().exclude_from_weight_decay(var_names=["bias"])


def test_gradients_of_any_layout():
    grad = np.arange(12.0).reshape(3, 4)
    frozen = grad.copy()
    frozen.flags.writeable = False
    for other in (np.asfortranarray(grad), grad.astype("f"), frozen, grad.astype(">f8"), grad[::-1][::-1]):
        weight = np.zeros((3, 4))
        optimizers.SGD(0.5).apply([other], [weight])
        assert np.array_equal(weight, -0.5 * grad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_rmsprop(momentum, centered, dtype, rng):
    params, expected, grads = run(optimizers.RMSprop(0.01, momentum=momentum, centered=centered), dtype, rng)
    v, mean, buffer = ([np.zeros(s) for s in SHAPES] for _ in range(3))
    for step in grads:
        for i, g in enumerate(step):
            v[i] = 0.9 * v[i] + 0.1 * g**2
            mean[i] = 0.9 * mean[i] + 0.1 * g
            increment = 0.01 * g / np.sqrt(v[i] - (mean[i] ** 2 if centered else 0) + 1e-7)
            buffer[i] = momentum * buffer[i] + increment
            expected[i] = expected[i] - buffer[i]
    expect(params, expected, dtype)


def test_clipping_and_weight_decay_by_hand():
    grads = [np.array([3.0, 4.0]), np.array([12.0])]

    def moved(**options):
        params = [np.array([1.0, 1.0]), np.array([1.0])]
        optimizers.SGD(1.0, **options).apply([grad.copy() for grad in grads], params)
        return [param.tolist() for param in params]

    assert moved(clipvalue=3.5) == [[-2.0, -2.5], [-2.5]]
    assert moved(clipnorm=5.0) == [[-2.0, -3.0], [-4.0]]
    assert moved(global_clipnorm=6.5) == [[-0.5, -1.0], [-5.0]]
    assert moved(global_clipnorm=13.0) == [[-2.0, -3.0], [-11.0]]
    assert moved(weight_decay=0.5) == [[-2.5, -3.5], [-11.5]]


def test_learning_rate_can_be_set():
    weight = np.array([1.0])
    optimizer = optimizers.SGD(0.5)
    optimizer.apply([np.array([1.0])], [weight])
    optimizer.learning_rate = 0.125
    optimizer.apply([np.array([1.0])])
    assert weight.tolist() == [0.375]
    assert optimizer.iterations == 2
    with pytest.raises(ValueError, match="learning_rate must be at least 0"):
        optimizer.learning_rate = -1
    with pytest.raises(TypeError, match="learning_rate must be a number"):
        optimizer.learning_rate = "fast"


def test_state_goes_over_into_a_twin(rng):
    for make in (lambda: optimizers.Adam(amsgrad=True), lambda: optimizers.SGD(momentum=0.9), optimizers.RMSprop):
        first, second = make(), make()
        a = [rng.normal(size=shape) for shape in SHAPES]
        first.apply([rng.normal(size=shape) for shape in SHAPES], a)
        b = [array.copy() for array in a]
        second.build(b)
        second.set_weights(first.get_weights())
        grads = [rng.normal(size=shape) for shape in SHAPES]
        first.apply(grads, a)
        second.apply(grads, b)
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        assert second.iterations == 2


def test_variables_stand_in_the_order_of_keras():
    params = [np.zeros(2), np.zeros((3, 1))]
    adam = optimizers.Adam()
    adam.build(params)
    assert [v.shape for v in adam.variables] == [(), (), (2,), (2,), (3, 1), (3, 1)]
    rms = optimizers.RMSprop(momentum=0.5, centered=True)
    rms.build(params)
    assert [v.shape for v in rms.variables] == [(), (), *[(2,), (3, 1)] * 3]
    sgd = optimizers.SGD()
    sgd.build(params)
    assert len(sgd.variables) == 2


def test_copies_go_on_alone():
    weights = [np.array([1.0, 2.0])]
    optimizer = optimizers.Adam()
    optimizer.apply([np.ones(2)], weights)
    twin, twin_weights = copy.deepcopy((optimizer, weights))
    optimizer.apply([np.ones(2)], weights)
    twin.apply([np.ones(2)], twin_weights)
    assert np.array_equal(weights[0], twin_weights[0])


def test_wrong_calls_change_nothing():
    weight = np.array([1.0, 2.0])
    optimizer = optimizers.Adam()
    optimizer.apply([np.ones(2)], [weight])
    before, state = weight.copy(), optimizer.get_weights()
    with pytest.raises(ValueError, match="2 gradients for 1 variables"):
        optimizer.apply([np.ones(2), np.ones(2)], [weight])
    with pytest.raises(ValueError, match=r"gradient has shape \(3,\), its variable \(2,\)"):
        optimizer.apply([np.ones(3)], [weight])
    with pytest.raises(ValueError, match="none of those that the optimizer was built with"):
        optimizer.apply([np.ones(2)], [np.ones(2)])
    with pytest.raises(ValueError, match="expected 4 arrays, received 1"):
        optimizer.set_weights([np.array(0)])
    with pytest.raises(ValueError, match=r"variable 3 has shape \(2,\)"):
        optimizer.set_weights([np.array(9), np.array(0.5), np.zeros(2), np.zeros(3)])
    assert np.array_equal(weight, before)
    assert all(np.array_equal(a, b) for a, b in zip(optimizer.get_weights(), state, strict=True))


def test_arguments():
    assert type(optimizers.get("adam")) is optimizers.Adam
    assert type(optimizers.get("RMSprop")) is optimizers.RMSprop
    assert type(optimizers.get("AdamW")) is optimizers.AdamW
    assert type(optimizers.get(optimizers.SGD)) is optimizers.SGD
    adam = optimizers.Adam(0.01, clipnorm=1.0, name="mine")
    assert optimizers.get(adam) is adam
    again = optimizers.get({"class_name": "Adam", "config": adam.get_config()})
    assert again.get_config() == adam.get_config()
    with pytest.raises(ValueError, match="unknown optimizer 'lion'"):
        optimizers.get("lion")
    with pytest.raises(TypeError, match="a name or an Optimizer"):
        optimizers.get(0.1)
    with pytest.raises(ValueError, match="only one way of clipping"):
        optimizers.SGD(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match="beta_2=1"):
        optimizers.Adam(beta_2=1)
    with pytest.raises(NotImplementedError, match="use_ema=True"):
        optimizers.Adam(use_ema=True)
    with pytest.raises(ValueError, match="unknown argument 'decay'"):
        optimizers.SGD(decay=0.1)


@pytest.mark.parametrize("make", [optimizers.SGD, optimizers.RMSprop, optimizers.Adam, optimizers.AdamW])
@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", ">f4"])
def test_variables_of_another_type_are_refused(make, dtype):
    """Also arrays that begin in a longer one: nothing behind them may be written."""
    memory = np.ones(64, dtype)
    with pytest.raises(ValueError, match=r"apply: a variable must be float32 or float64, C-contiguous"):
        make(0.1).apply([np.ones(8, dtype)], [memory[:8]])
    assert (memory == 1).all()


@pytest.mark.parametrize("make", [optimizers.SGD, optimizers.RMSprop, optimizers.Adam, optimizers.AdamW])
def test_variables_that_cannot_be_moved_in_place_are_refused(make):
    read_only = np.ones((4, 3), "float32")
    read_only.flags.writeable = False
    for variable in (np.ones((4, 3), "float32", order="F"), np.ones(8, "float32")[::2], read_only):
        first = np.ones(2, "float32")
        with pytest.raises(ValueError, match=r"apply: a variable must be float32 or float64, C-contiguous"):
            make(0.1).apply([np.ones(2, "float32"), np.ones(variable.shape, "float32")], [first, variable])
        assert (first == 1).all()


def test_a_subclass_of_adam_moves_each_parameter_its_own_way():
    class Still(optimizers.Adam):
        def _update(self, i, variable, grad, rate):
            super()._update(i, variable, np.zeros_like(grad), rate)

    weight = np.ones(3, "float32")
    Still(0.1).apply([np.ones(3, "float32")], [weight])
    assert (weight == 1).all()
