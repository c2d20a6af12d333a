"""Optimiser updates, in place, against the formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import DTYPES, assert_exact, assert_same_bits, assert_within, gamma, guarded_copy, normals

import fastconv as fc
from fastconv.ops import updates

SHAPES = ((0,), (1,), (7,), (9,), (33,), (3, 3, 5, 17), (200_003,))
STEPS = 3


def buffers(rng, shape, dtype, count):
    """``count`` guarded arrays of signed numbers."""
    return [guarded_copy(normals(rng, shape, dtype)) for _ in range(count)]


def check_all(guarded, kept_gradient, gradient):
    for buffer in guarded:
        buffer.check()
    assert_exact(gradient.array, kept_gradient, what="the gradient was modified:")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("nesterov", [False, True], ids=["plain", "nesterov"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(shape, dtype, momentum, nesterov, isa, threads, rng):
    param, grad, velocity = buffers(rng, shape, dtype, 3)
    rate = 0.25
    expected, gradient, speed = (buffer.array.astype(np.float64) for buffer in (param, grad, velocity))
    kept = grad.array.copy()
    magnitude = np.abs(expected) + np.abs(speed) + 3 * rate * STEPS * np.abs(gradient)
    for _ in range(STEPS):
        if momentum == 0:
            updates.sgd_update(param.array, grad.array, None, learning_rate=rate, nesterov=nesterov)
            expected -= rate * gradient
            continue
        updates.sgd_update(
            param.array, grad.array, velocity.array, learning_rate=rate, momentum=momentum, nesterov=nesterov
        )
        speed = momentum * speed - rate * gradient
        expected += momentum * speed - rate * gradient if nesterov else speed
        magnitude += np.abs(speed) + rate * np.abs(gradient)
    bound = gamma(8 * STEPS, dtype) * magnitude
    assert param.array.dtype == dtype
    assert_within(param.array, expected, bound)
    if momentum:
        assert_within(velocity.array, speed, bound)
    check_all((param, grad, velocity), kept, grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adam(shape, dtype, isa, threads, rng):
    param, grad, m, v = buffers(rng, shape, dtype, 4)
    np.abs(v.array, out=v.array)
    numbers = {"alpha": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    expected, gradient, first, second = (buffer.array.astype(np.float64) for buffer in (param, grad, m, v))
    kept = grad.array.copy()
    moved = np.zeros_like(expected)
    for _ in range(STEPS):
        updates.adam_update(param.array, grad.array, m.array, v.array, **numbers)
        first += (gradient - first) * (1 - numbers["beta_1"])
        second += (gradient * gradient - second) * (1 - numbers["beta_2"])
        root = np.sqrt(second) + numbers["epsilon"]
        expected -= numbers["alpha"] * first / root
        # How far the parameter may have been carried, counting magnitudes: |m| and |g| do not cancel here.
        moved += numbers["alpha"] * (np.abs(m.array) + np.abs(first) + np.abs(gradient)) / root
    assert_within(m.array, first, gamma(8 * STEPS, dtype) * (np.abs(first) + np.abs(gradient) + 4))
    assert_within(v.array, second, gamma(8 * STEPS, dtype) * (second + gradient**2))
    assert_within(
        param.array, expected, gamma(4 * STEPS, dtype) * (np.abs(expected) + moved) + gamma(64, dtype) * moved
    )
    check_all((param, grad, m, v), kept, grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rmsprop(shape, dtype, isa, threads, rng):
    param, grad, v = buffers(rng, shape, dtype, 3)
    np.abs(v.array, out=v.array)
    rate, rho, epsilon = 0.01, 0.9, 1e-7
    expected, gradient, second = (buffer.array.astype(np.float64) for buffer in (param, grad, v))
    kept = grad.array.copy()
    moved = np.zeros_like(expected)
    for _ in range(STEPS):
        updates.rmsprop_update(param.array, grad.array, v.array, learning_rate=rate, rho=rho, epsilon=epsilon)
        second = rho * second + (1 - rho) * gradient**2
        step = rate * gradient / np.sqrt(second + epsilon)
        expected -= step
        moved += np.abs(step)
    assert_within(v.array, second, gamma(8 * STEPS, dtype) * second)
    assert_within(
        param.array, expected, gamma(4 * STEPS, dtype) * (np.abs(expected) + moved) + gamma(64, dtype) * moved
    )
    check_all((param, grad, v), kept, grad)


def test_by_hand():
    param, grad, velocity = np.array([1.0, 2]), np.array([4.0, -8]), np.array([16.0, 0])
    updates.sgd_update(param, grad, velocity, learning_rate=0.5, momentum=0.5)
    assert_exact(velocity, np.array([6.0, 4]))
    assert_exact(param, np.array([7.0, 6]))
    updates.sgd_update(param, grad, velocity, learning_rate=0.5, momentum=0.5, nesterov=True)
    assert_exact(velocity, np.array([1.0, 6]))
    assert_exact(param, np.array([5.5, 13]))
    param, m, v = np.array([1.0]), np.array([0.0]), np.array([0.0])
    updates.adam_update(param, np.array([8.0]), m, v, alpha=0.5, beta_1=0.5, beta_2=0.75, epsilon=0.0)
    assert_exact((m, v, param), (np.array([4.0]), np.array([16.0]), np.array([0.5])))


def test_an_update_with_nan_shows():
    for update in (
        lambda p, g: updates.sgd_update(p, g, None, learning_rate=0.1),
        lambda p, g: updates.adam_update(
            p, g, np.zeros(9), np.zeros(9), alpha=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-7
        ),
        lambda p, g: updates.rmsprop_update(p, g, np.zeros(9), learning_rate=0.1, rho=0.9, epsilon=1e-7),
    ):
        param, grad = np.ones(9), np.ones(9)
        grad[4] = np.nan
        update(param, grad)
        assert_exact(np.isnan(param), np.arange(9) == 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_every_thread_count(dtype, isa, rng):
    start = [normals(rng, 300_001, dtype) for _ in range(4)]
    start[3] = np.abs(start[3])
    answers = []
    for threads in (1, 2, 3, 5):
        fc.set_num_threads(threads)
        param, grad, m, v = (array.copy() for array in start)
        updates.adam_update(param, grad, m, v, alpha=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-7)
        updates.sgd_update(param, grad, m, learning_rate=0.01, momentum=0.9, nesterov=True)
        updates.rmsprop_update(param, grad, v, learning_rate=0.01, rho=0.9, epsilon=1e-7)
        answers.append(np.concatenate([param, m, v]))
    for answer in answers[1:]:
        assert_same_bits(answer, answers[0])
