"""NaN and Inf reach exactly the cells that IEEE arithmetic says, on every path: the naive loops are the judge."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import numpy as np
import pytest
from oracle import DTYPES, assert_exact, integers, normals
from problems import EXACT_ALGORITHMS, Conv, Pool
from test_exactness import FAMILIES, LONG_PROBLEMS, LONG_SEED, QUICK_PROBLEMS, every_call_is_shared_out, explore

import fastconv as fc
from fastconv import callbacks, layers, losses, models, ops, optimizers, reference

__all__ = ["every_call_is_shared_out"]  # a fixture

# Inf and NaN are values here, not accidents: no operation warns of them.
pytestmark = pytest.mark.filterwarnings("error")

SPECIAL = (np.nan, np.inf, -np.inf)
CONVS = (
    Conv(2, 6, 7, 3, 3, 3, 5),
    Conv(2, 6, 7, 3, 3, 3, 5, padding="same", bias=True),
    Conv(1, 9, 20, 4, 3, 3, 17, padding="same"),
    Conv(1, 7, 6, 2, 3, 3, 4, strides=2, padding="same"),
    Conv(1, 8, 8, 2, 2, 2, 4, strides=3),
    Conv(1, 9, 9, 2, 3, 3, 4, dilation_rate=2, padding="same"),
    Conv(2, 6, 6, 4, 3, 3, 6, groups=2, padding=1),
    Conv(1, 6, 6, 1, 5, 5, 6, padding=((3, 0), (1, 2)), bias=True),
    Conv(2, 7, 7, 3, 3, 3, 8, data_format="channels_first", padding="same"),
    Conv(2, 5, 5, 9, 1, 1, 16),
    Conv(2, 8, 7, 16, 3, 3, 2, padding="same", bias=True),
    Conv(1, 3, 40, 64, 3, 3, 1, padding="same"),
    Conv(1, 9, 8, 11, 3, 2, 3, strides=(2, 1), dilation_rate=2, padding=2),
)
POOLS = (
    Pool(2, 6, 6, 3, 2),
    Pool(2, 7, 6, 8, 3, 2, "same"),
    Pool(1, 9, 9, 17, 2, 1, 1),
    Pool(2, 6, 7, 3, (2, 3), 2, data_format="channels_first", padding="same"),
)


def sprinkled(rng, array, count=3):
    """A copy with a few special values in random cells."""
    array = array.copy()
    array.ravel()[rng.choice(array.size, min(count, array.size), replace=False)] = rng.choice(SPECIAL, count)[
        : array.size
    ]
    return array


@pytest.mark.parametrize("spoilt", ["x", "kernel", "grad_output", "bias"])
@pytest.mark.parametrize("algorithm", EXACT_ALGORITHMS)
@pytest.mark.parametrize("problem", CONVS, ids=str)
def test_conv2d(problem, algorithm, spoilt, isa, rng):
    if spoilt == "bias" and not problem.bias:
        pytest.skip("no bias in this problem")
    clean = problem.arrays()
    for dtype in DTYPES:
        data = {**clean, spoilt: sprinkled(rng, clean[spoilt])}
        typed = {name: None if a is None else a.astype(dtype) for name, a in data.items()}
        options, kernel_size = problem.options, (problem.kh, problem.kw)
        for activation in (None, "relu"):
            y = fc.conv2d(
                typed["x"], typed["kernel"], typed["bias"], activation=activation, algorithm=algorithm, **options
            )
            expected = reference.conv2d(data["x"], data["kernel"], data["bias"], activation=activation, **options)
            assert_exact(y, expected, dtype, f"conv2d {activation}")
        assert_exact(
            fc.conv2d_grad_input(
                typed["grad_output"], typed["kernel"], problem.input_shape, algorithm=algorithm, **options
            ),
            reference.conv2d_grad_input(data["grad_output"], data["kernel"], problem.input_shape, **options),
            dtype,
            "grad_input",
        )
        assert_exact(
            fc.conv2d_grad_kernel(typed["x"], typed["grad_output"], kernel_size, algorithm=algorithm, **options),
            reference.conv2d_grad_kernel(data["x"], data["grad_output"], kernel_size, **options),
            dtype,
            "grad_kernel",
        )


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize("algorithm", EXACT_ALGORITHMS)
def test_one_cell_reaches_the_windows_that_hold_it_and_no_other(algorithm, value, isa):
    kernel = np.ones((3, 3, 2, 20), np.float32)
    for row in range(5):
        for col in range(14):
            x = np.ones((1, 5, 14, 2), np.float32)
            x[0, row, col, 1] = value
            y = fc.conv2d(x, kernel, padding="same", algorithm=algorithm)
            touched = np.zeros((5, 14), bool)
            touched[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2] = True
            assert_exact(~np.isfinite(y[0]), np.broadcast_to(touched[:, :, None], (5, 14, 20)))
            assert_exact(y[0][touched], np.full((touched.sum(), 20), value, np.float32))


@pytest.mark.parametrize("algorithm", EXACT_ALGORITHMS)
def test_padding_never_turns_inf_into_nan(algorithm, isa):
    x, kernel = np.full((1, 4, 4, 3), np.inf, np.float32), np.ones((3, 3, 3, 8), np.float32)
    assert (fc.conv2d(x, kernel, padding="same", algorithm=algorithm) == np.inf).all()
    assert (fc.conv2d(np.ones_like(x), kernel * np.inf, padding="same", algorithm=algorithm) == np.inf).all()
    grad_output = np.ones((1, 4, 4, 8), np.float32)
    grad = fc.conv2d_grad_input(grad_output, kernel * np.inf, x.shape, padding="same", algorithm=algorithm)
    assert (grad == np.inf).all()
    grad = fc.conv2d_grad_kernel(x, grad_output, 3, padding="same", algorithm=algorithm)
    assert (grad == np.inf).all()


@pytest.mark.parametrize("algorithm", EXACT_ALGORITHMS)
def test_overflow_is_infinite(algorithm, isa):
    largest = np.finfo(np.float32).max
    x = np.full((1, 3, 3, 2), largest, np.float32)
    assert (fc.conv2d(x, np.full((2, 2, 2, 5), -2, np.float32), algorithm=algorithm) == -np.inf).all()


@pytest.mark.parametrize("problem", POOLS, ids=str)
def test_pooling(problem, isa, rng):
    for _ in range(5):
        x = sprinkled(rng, problem.arrays()["x"], 12)
        expected, places = reference.max_pool2d(x, **problem.options, return_indices=True)
        average = reference.avg_pool2d(x, **problem.options)
        grad_output = sprinkled(rng, problem.arrays()["grad_output"], 5)
        grad = reference.max_pool2d_grad(grad_output, places, x.shape, **problem.options)
        shared = reference.avg_pool2d_grad(grad_output, x.shape, **problem.options)
        for dtype in DTYPES:
            y, indices = fc.max_pool2d(x.astype(dtype), **problem.options, return_indices=True)
            assert_exact(y, expected, dtype)
            assert_exact(fc.max_pool2d(x.astype(dtype), **problem.options), expected, dtype)
            assert_exact(indices, places)
            typed = grad_output.astype(dtype)
            assert_exact(fc.max_pool2d_grad(typed, indices, x.shape, **problem.options), grad, dtype)
            assert_exact(np.isnan(fc.avg_pool2d(x.astype(dtype), **problem.options)), np.isnan(average))
            assert_exact(np.isinf(fc.avg_pool2d(x.astype(dtype), **problem.options)), np.isinf(average))
            answer = fc.avg_pool2d_grad(typed, x.shape, **problem.options)
            assert_exact(np.isnan(answer), np.isnan(shared))
            assert_exact(np.isinf(answer), np.isinf(shared))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("channels", [1, 2, 7, 8, 16, 33])
def test_a_max_pool_window_with_nan_gives_nan_wherever_it_lies(channels, place, isa):
    x = normals(np.random.default_rng(0), (1, 2, 2, channels))
    x[0, place // 2, place % 2, :] = np.nan
    y, indices = fc.max_pool2d(x, return_indices=True)
    assert np.isnan(y).all()
    assert (indices == place).all()
    assert np.isnan(fc.max_pool2d(x)).all()
    assert np.isnan(fc.avg_pool2d(x)).all()


def test_max_pool_of_minus_infinity(isa):
    x = np.full((1, 4, 4, 9), -np.inf, np.float32)
    y, indices = fc.max_pool2d(x, 3, strides=1, padding="same", return_indices=True)
    assert (y == -np.inf).all()
    assert_exact(indices, reference.max_pool2d(x, 3, strides=1, padding="same", return_indices=True)[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu(dtype, isa):
    x = np.tile(np.array([np.nan, np.inf, -np.inf, -1, 2], dtype), 9)
    assert_exact(fc.relu(x), np.tile(np.array([np.nan, np.inf, 0, 0, 2], dtype), 9))
    upstream = np.array([np.nan, np.inf, -np.inf, np.nan], dtype)
    assert_exact(fc.relu_grad(upstream, np.array([1, 2, 3, 0], dtype)), np.array([np.nan, np.inf, -np.inf, 0], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(dtype, isa):
    x = np.zeros((4, 11), dtype)
    x[0, 3] = np.nan
    x[1, 5] = np.inf
    x[2, 7] = -np.inf
    y = fc.softmax(x)
    # A NaN in the row, and Inf - Inf in the row of an Inf, spoil their own row; exp(-Inf) is 0.
    assert np.isnan(y[0]).all()
    assert np.isnan(y[1, 5])
    assert np.isfinite(y[2:]).all()
    assert y[2, 7] == 0
    assert_exact(y[3], np.full(11, y[3, 0]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dense(dtype, isa, rng):
    x, kernel, bias = integers(rng, (5, 19), np.float64), integers(rng, (19, 23), np.float64), np.zeros(23)
    x[1, 3], x[2, 18], kernel[7, 22], bias[4] = np.nan, np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        expected = reference.conv2d(x.reshape(5, 1, 1, 19), kernel.reshape(1, 1, 19, 23), bias).reshape(5, 23)
    assert_exact(ops.dense(x.astype(dtype), kernel.astype(dtype), bias.astype(dtype)), expected, dtype)
    assert_exact(
        ops.dense(x.astype(dtype), kernel.astype(dtype), bias.astype(dtype), activation="relu"),
        np.where(expected < 0, 0, expected),
        dtype,
    )


def special_integers(rng: np.random.Generator, shape: Any, dtype: Any = np.float32, largest: int = 4) -> np.ndarray:
    """Whole numbers among which up to three are NaN or infinite."""
    array = integers(rng, shape, dtype, largest)
    return sprinkled(rng, array, int(rng.integers(0, 4))) if array.size else array


def special_calls(calls, problem):
    """The calls on such numbers; their answers do not depend on the order of the sums, so the loops judge exactly."""
    with np.errstate(all="ignore"):
        yield from calls(problem, special_integers)


@pytest.mark.usefixtures("every_call_is_shared_out")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_operation(family):
    problems, calls = FAMILIES[family]
    explore(family, problems, partial(special_calls, calls), QUICK_PROBLEMS, None, section="NaN and Inf")


@pytest.mark.long
@pytest.mark.usefixtures("every_call_is_shared_out")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_operation_on_two_thousand_problems(family):
    problems, calls = FAMILIES[family]
    special = partial(special_calls, calls)
    explore(family, problems, special, LONG_PROBLEMS // 5, LONG_SEED, section="NaN and Inf")


@pytest.mark.parametrize("spoilt", ["grad_output", "y"])
@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_grad(dtype, value, spoilt, isa):
    data = {"y": np.full((3, 7), 1 / 7, dtype), "grad_output": np.ones((3, 7), dtype)}
    data[spoilt][1, 2] = value
    grad = fc.softmax_grad(**data)
    # The row's sum is spoilt, and with it the row; no other.
    assert not np.isfinite(grad[1]).any()
    assert np.isfinite(grad[[0, 2]]).all()


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_normalization(dtype, value, isa, rng):
    x = normals(rng, (4, 3, 3, 5), dtype)
    x[2, 1, 0, 3] = value
    mean, variance = ops.channel_moments(x)
    others = np.arange(5) != 3
    assert np.isnan(mean[3]) if np.isnan(value) else mean[3] == value or np.isnan(mean[3])
    assert np.isnan(variance[3])
    y = ops.batch_normalization(x, mean, variance)
    assert np.isnan(y[..., 3]).all()
    grads = ops.batch_normalization_grad(np.ones_like(x), x, mean, variance)
    assert np.isnan(grads[0][..., 3]).all()
    assert np.isnan(grads[1][3])
    for finite in (mean[others], variance[others], y[..., others], grads[0][..., others], grads[1][others], grads[2]):
        assert np.isfinite(finite).all()


LOSSES = (
    (losses.SparseCategoricalCrossentropy(), [1, 0, 2], 3),
    (losses.SparseCategoricalCrossentropy(from_logits=True), [1, 0, 2], 3),
    (losses.CategoricalCrossentropy(), np.eye(3)[[1, 0, 2]], 3),
    (losses.CategoricalCrossentropy(from_logits=True), np.eye(3)[[1, 0, 2]], 3),
    (losses.BinaryCrossentropy(), np.array([[1.0], [0], [1]]), 1),
    (losses.BinaryCrossentropy(from_logits=True), np.array([[1.0], [0], [1]]), 1),
    (losses.MeanSquaredError(), np.ones((3, 2)), 2),
    (losses.MeanAbsoluteError(), np.ones((3, 2)), 2),
    (losses.Huber(), np.ones((3, 2)), 2),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "y", "width"), LOSSES, ids=lambda value: getattr(value, "name", ""))
def test_a_loss_never_hides_a_nan(loss, y, width, dtype, rng):
    predicted = rng.uniform(0.1, 0.9, (3, width)).astype(dtype)
    assert np.isfinite(loss(y, predicted))
    predicted[1, -1] = np.nan
    assert np.isnan(loss(y, predicted))
    value, gradient = loss.value_and_grad(y, predicted)
    assert np.isnan(value)
    assert np.isnan(gradient[1]).any()
    assert np.isfinite(gradient[[0, 2]]).all()


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize(("loss", "y", "width"), LOSSES, ids=lambda value: getattr(value, "name", ""))
def test_a_loss_of_infinite_predictions_is_quiet(loss, y, width, value):
    # Clipped probabilities make an Inf finite, logits and differences do not; none of them warns.
    predicted = np.full((3, width), 0.5)
    predicted[1, 0] = value
    loss(y, predicted)
    loss.value_and_grad(y, predicted)


def network(classes: int = 3) -> models.Sequential:
    """Every kind of layer that trains, small."""
    return models.Sequential(
        [
            layers.Input((8, 8, 2)),
            layers.Conv2D(5, 3, padding="same", activation="relu", kernel_initializer=_seeded(1)),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.DepthwiseConv2D(3, depthwise_initializer=_seeded(2)),
            layers.AveragePooling2D(),
            layers.Flatten(),
            layers.Dropout(0.25, seed=3),
            layers.Dense(classes, activation="softmax", kernel_initializer=_seeded(4)),
        ]
    )


def _seeded(seed: int) -> Any:
    return fc.initializers.GlorotUniform(seed=seed)


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize("training", [False, True])
def test_a_network(value, training, isa, rng):
    x = normals(rng, (4, 8, 8, 2))
    model = network()
    assert np.isfinite(model(x, training=training)).all()
    x[2, 3, 3, 1] = value
    y = model(x, training=training)
    # Batch normalisation spreads it over the batch in training; without, it stays in its image.
    assert np.isnan(y).all() if training else np.isnan(y[2]).all()
    assert training or np.isfinite(y[[0, 1, 3]]).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "adamw"])
def test_training_stops_at_the_first_nan(optimizer, rng):
    x, y = normals(rng, (40, 8, 8, 2)), rng.integers(0, 3, 40)
    x[13] = np.nan  # in the fourth batch of four
    model = network()
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    seen: list[float] = []
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))
    shown = io.StringIO()
    with redirect_stdout(shown):
        stop = [watch, callbacks.TerminateOnNaN()]
        history = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=stop)
    assert len(seen) == 4
    assert np.isfinite(seen[:3]).all()
    assert np.isnan(seen[3])
    assert "Batch 3: the loss is nan, training stops" in shown.getvalue()
    assert len(history.history["loss"]) == 1
    with pytest.raises(RuntimeError, match=r"the loss of batch 0 is nan"):
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[callbacks.TerminateOnNaN(raise_error=True)])


def test_training_stops_at_an_infinite_loss(rng):
    x, y = normals(rng, (8, 3)), np.full((8, 1), 1e200)
    model = models.Sequential([layers.Input((3,)), layers.Dense(1, dtype="float64")])
    model.compile(optimizers.SGD(0.0), "mse")
    with redirect_stdout(io.StringIO()) as shown:
        model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    assert "Batch 0: the loss is inf, training stops" in shown.getvalue()
