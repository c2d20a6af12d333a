"""Activations: values against the plainest formula, one number at a time, gradients by central differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastconv import activations

E = math.exp
# One number at a time, in the plainest form: the oracle. (name, function of one float)
SCALAR = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "celu": lambda x: x if x > 0 else math.expm1(x),
    "sigmoid": lambda x: 1 / (1 + E(-x)),
    "log_sigmoid": lambda x: -math.log1p(E(-x)),
    "tanh": math.tanh,
    "softplus": lambda x: math.log1p(E(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "silu": lambda x: x / (1 + E(-x)),
    "mish": lambda x: x * math.tanh(math.log1p(E(x))),
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "exponential": E,
    "hard_sigmoid": lambda x: min(max(x / 6 + 0.5, 0.0), 1.0),
    "hard_silu": lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0),
    "hard_tanh": lambda x: min(max(x, -1.0), 1.0),
}
ROWS = ["softmax", "log_softmax"]
EPS = {"float32": float(np.finfo(np.float32).eps), "float64": float(np.finfo(np.float64).eps)}
# Away from every corner of the functions above (0, ±1, ±3, 6).
POINTS = np.array([-7.3, -3.6, -2.2, -1.4, -0.7, -0.1, 0.2, 0.9, 1.7, 2.9, 4.1, 6.6])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SCALAR)
def test_values(name: str, dtype: str) -> None:
    x = np.linspace(-9, 9, 721).astype(dtype).reshape(7, 103)
    y = activations.get(name)(x)
    assert y.dtype == dtype
    assert y.shape == x.shape
    expected = np.array([SCALAR[name](float(value)) for value in x.ravel()]).reshape(x.shape)
    # A dozen roundings of terms no larger than max(|x|, |y|, 1).
    tolerance = 12 * EPS[dtype] * np.maximum(np.maximum(np.abs(x), np.abs(expected)), 1)
    assert not (np.abs(y - expected) > tolerance).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_and_log_softmax(dtype: str) -> None:
    x = np.random.default_rng(0).normal(size=(5, 4, 6)).astype(dtype) * 3
    for axis in (-1, 1, 0):
        y = activations.softmax(x, axis=axis)
        e = np.exp(x.astype(float))
        expected = e / e.sum(axis=axis, keepdims=True)
        assert not (np.abs(y - expected) > 30 * EPS[dtype]).any()
        log_error = np.abs(activations.log_softmax(x, axis=axis) - np.log(expected))
        assert not (log_error > 30 * EPS[dtype] * np.abs(np.log(expected)).max()).any()


@pytest.mark.parametrize("name", [*SCALAR, *ROWS])
def test_gradient_by_central_differences(name: str) -> None:
    rng = np.random.default_rng(1)
    x = np.stack([POINTS, rng.permutation(POINTS)])
    upstream = rng.normal(size=x.shape)
    activation = activations.get(name)
    uses, gradient = activations.gradient_of(activation)
    grad = gradient(upstream, x if uses == "input" else activation(x))
    step = 1e-5
    for place in np.ndindex(x.shape):
        shifted = np.zeros_like(x)
        shifted[place] = step
        up, down = activation(x + shifted), activation(x - shifted)
        slope = ((up - down) * upstream).sum() / (2 * step)
        # Truncation (third derivatives are below 50 here, that of exp at 6.6 below 1000) and rounding of the two sums.
        scale = np.abs(upstream).max()
        bound = step**2 * scale * max(50, np.abs(up).max()) + 8 * EPS["float64"] * (np.abs(up * upstream).sum()) / step
        assert not abs(slope - grad[place]) > bound


@pytest.mark.parametrize("name", [*SCALAR, *ROWS])
def test_nan_comes_through_and_huge_values_stay_finite(name: str) -> None:
    activation = activations.get(name)
    assert np.isnan(activation(np.array([[1.0, np.nan]]))[0, 1])
    if name != "exponential":
        with np.errstate(over="raise", invalid="raise"):
            assert np.isfinite(activation(np.array([[-1e4, -800.0, 0.0, 800.0, 1e4]]))).all()


@pytest.mark.parametrize("name", [*SCALAR, *ROWS])
def test_input_is_not_changed_and_float32_gradients_are_float32(name: str) -> None:
    x = np.random.default_rng(2).normal(size=(3, 5)).astype("float32")
    x.flags.writeable = False
    activation = activations.get(name)
    y = activation(x)
    uses, gradient = activations.gradient_of(activation)
    upstream = np.ones_like(x)
    upstream.flags.writeable = False
    assert gradient(upstream, x if uses == "input" else y).dtype == np.float32


def test_erf_to_rounding() -> None:
    x = np.concatenate([np.linspace(-7, 7, 4001), [0.0, -0.0, 1e-300, 1e-9, np.inf, -np.inf]])
    expected = np.array([math.erf(value) for value in x])
    error = np.abs(activations._erf(x) - expected)
    assert not (error > 4 * EPS["float64"] * np.maximum(np.abs(expected), 1e-9)).any()
    assert math.copysign(1, activations._erf(np.array([-0.0]))[0]) == -1


def test_general_relu() -> None:
    x = np.array([-3.0, -1.0, 0.0, 1.0, 2.0, 7.0, np.nan, -np.inf])
    assert np.array_equal(
        activations.relu(x, negative_slope=0.5, max_value=5.0, threshold=1.0),
        [-2.0, -1.0, -0.5, 0.0, 2.0, 5.0, np.nan, -np.inf],
        equal_nan=True,
    )
    assert np.array_equal(activations.relu(x, max_value=5.0), [0, 0, 0, 1, 2, 5, np.nan, 0], equal_nan=True)


def test_arguments() -> None:
    x = np.array([-2.0, 3.0])
    assert np.allclose(activations.leaky_relu(x, negative_slope=0.5), [-1, 3])
    assert np.allclose(activations.elu(x, alpha=2.0), [2 * math.expm1(-2), 3])
    assert np.allclose(activations.celu(x, alpha=2.0), [2 * math.expm1(-1), 3])
    expected = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x]
    assert np.allclose(activations.gelu(x, approximate=True), expected)


def test_get_serialize_deserialize() -> None:
    assert activations.get(None) is activations.linear
    assert activations.get("swish") is activations.silu is activations.swish
    assert activations.get("hard_swish") is activations.hard_silu
    for name in [*SCALAR, *ROWS]:
        assert activations.get(name) is getattr(activations, name)
        assert activations.serialize(activations.get(name)) == name
        assert activations.deserialize(name) is activations.get(name)
    assert activations.serialize(activations.swish) == "silu"  # as Keras writes it


def test_own_activation() -> None:
    def cube(x):
        return x**3

    assert activations.get(cube) is cube
    with pytest.raises(ValueError, match=r"Activation cube has no gradient.*attribute `gradient`"):
        activations.gradient_of(cube)
    cube.gradient = lambda grad_output, x: grad_output * 3 * x * x
    assert activations.gradient_of(cube).function(np.array([1.0]), np.array([2.0])) == 12
    with pytest.raises(ValueError, match="cannot be serialized"):
        activations.serialize(cube)
    assert activations.deserialize("cube", custom_objects={"cube": cube}) is cube


@pytest.mark.parametrize("identifier", ["foo", 3, {"class_name": "function", "config": "os.system"}])
def test_unknown(identifier: object) -> None:
    with pytest.raises(ValueError, match=r"Could not interpret activation function identifier.*Known: celu, elu"):
        activations.get(identifier)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "softmax"])
def test_integers_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=r'x must be float32 or float64, received int64.*astype\("float32"\)'):
        activations.get(name)(np.array([[1, 2]], dtype="int64"))
