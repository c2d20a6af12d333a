"""Regularisers: hand-computed penalties, gradients by central differences, configs."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import regularizers


def test_values_by_hand() -> None:
    weight = np.array([[1.0, -2.0], [0.0, 0.5]])
    assert regularizers.L1(0.1)(weight) == pytest.approx(0.35)
    assert regularizers.L2(0.1)(weight) == pytest.approx(0.525)
    assert regularizers.L1L2(0.1, 0.2)(weight) == pytest.approx(0.35 + 1.05)
    assert regularizers.L1L2()(weight) == 0


@pytest.mark.parametrize("regularizer", [regularizers.L1(0.3), regularizers.L2(0.7), regularizers.L1L2(0.3, 0.7)])
def test_gradient_by_central_differences(regularizer: regularizers.Regularizer) -> None:
    weight = np.random.default_rng(0).uniform(0.5, 2, (3, 4)) * np.sign(np.random.default_rng(1).normal(size=(3, 4)))
    gradient = regularizer.gradient(weight)
    step = 1e-5
    for place in np.ndindex(weight.shape):
        shifted = np.zeros_like(weight)
        shifted[place] = step
        slope = (regularizer(weight + shifted) - regularizer(weight - shifted)) / (2 * step)
        # The penalty is quadratic away from 0: no truncation error, only rounding of two sums.
        assert not abs(slope - gradient[place]) > 40 * np.finfo(float).eps * regularizer(weight) / step


def test_gradient_keeps_the_type_and_is_zero_at_zero() -> None:
    gradient = regularizers.L1L2(0.5, 0.5).gradient(np.zeros(3, "float32"))
    assert gradient.dtype == np.float32
    assert np.array_equal(gradient, np.zeros(3))


@pytest.mark.parametrize(
    ("identifier", "config"),
    [
        ("l1", {"l1": 0.01}), ("L1", {"l1": 0.01}), ("l2", {"l2": 0.01}), ("L2", {"l2": 0.01}),
        ("L1L2", {"l1": 0.0, "l2": 0.0}), (regularizers.L2(0.5), {"l2": 0.5}), (regularizers.L1, {"l1": 0.01}),
        ({"class_name": "L1L2", "config": {"l1": 1.0, "l2": 2.0}}, {"l1": 1.0, "l2": 2.0}),
    ],
)  # fmt: skip
def test_get_and_round_trip(identifier: object, config: dict[str, float]) -> None:
    regularizer = regularizers.get(identifier)
    assert regularizer.get_config() == config
    written = regularizers.serialize(regularizer)
    assert written["module"] == "keras.regularizers"
    assert regularizers.deserialize(written).get_config() == config


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "much", True])
def test_wrong_factors(value: object) -> None:
    with pytest.raises(ValueError, match=r"`l2`: expected a non-negative float. Received: l2="):
        regularizers.L2(value)


def test_unknown() -> None:
    assert regularizers.get(None) is None
    with pytest.raises(ValueError, match=r"Could not interpret regularizer identifier: 'foo'. Known: L1"):
        regularizers.get("foo")
