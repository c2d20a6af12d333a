"""dense, its gradients, and the bias gradient: whole numbers against NumPy's float64 product, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import (
    DTYPES,
    assert_exact,
    assert_within,
    gamma,
    guarded_copy,
    guarded_nan,
    integers,
    normals,
    numerical_gradient,
    spoil_free_memory,
)

from fastconv import ops

# (n, inputs, outputs): one beside the register tile and beside a block of the sum, and the networks' own.
SIZES = (
    (0, 3, 4),
    (1, 1, 1),
    (1, 400, 120),
    (1, 33, 160),
    (1, 70, 1001),
    (2, 5, 3),
    (3, 7, 15),
    (4, 16, 16),
    (5, 17, 17),
    (6, 31, 33),
    (7, 127, 8),
    (8, 128, 9),
    (9, 129, 10),
    (12, 255, 31),
    (13, 257, 32),
    (14, 513, 5),
    (37, 84, 10),
    (128, 120, 84),
    (33, 1025, 65),
    (128, 5408, 10),
    (65, 4099, 7),
    # many weights and few rows: read in place, the next ones fetched; packed, because their rows are 2 KB apart
    (20, 700, 130),
    (5, 260, 512),
    (40, 130, 1024),
    # packed panel by panel; few rows in the order of memory, with fetching and without
    (40, 700, 384),
    (300, 515, 500),
    (2, 301, 1003),
    (8, 1026, 512),
    (1, 4101, 1030),
    # long sums of few columns in parts: all at once for one and two rows, one after the other in place and packed
    (1, 1025, 10),
    (2, 1031, 8),
    (3, 1100, 3),
    (1, 2050, 24),
    (29, 1030, 17),
    (130, 1027, 10),
    (300, 1026, 16),
    (40, 9001, 24),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equal_to_the_float64_product(size, dtype, isa, threads, rng):
    n, inputs, outputs = size
    x, kernel, bias, grad_output = (
        guarded_copy(integers(rng, shape, dtype))
        for shape in ((n, inputs), (inputs, outputs), (outputs,), (n, outputs))
    )
    buffers = (x, kernel, bias, grad_output)
    kept = [buffer.array.copy() for buffer in buffers]
    wide_x, wide_kernel, wide_bias, wide_grad = (array.astype(np.float64) for array in kept)
    product = wide_x @ wide_kernel
    out = guarded_nan((n, outputs), dtype)
    assert ops.dense(x.array, kernel.array, bias.array, out=out.array) is out.array
    assert_exact(out.array, product + wide_bias, dtype)
    out.check()
    spoil_free_memory(out.array.nbytes)
    assert_exact(ops.dense(x.array, kernel.array), product, dtype)
    assert_exact(
        ops.dense(x.array, kernel.array, bias.array, activation="relu"), np.maximum(product + wide_bias, 0), dtype
    )
    spoil_free_memory(x.array.nbytes)
    assert_exact(ops.dense_grad_input(grad_output.array, kernel.array), wide_grad @ wide_kernel.T, dtype)
    spoil_free_memory(kernel.array.nbytes)
    assert_exact(ops.dense_grad_kernel(x.array, grad_output.array), wide_x.T @ wide_grad, dtype)
    assert_exact(ops.bias_grad(grad_output.array), wide_grad.sum(axis=0), dtype)
    for buffer, original in zip(buffers, kept, strict=True):
        buffer.check()
        assert_exact(buffer.array, original)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "outputs"), [(1025, 10), (1100, 3), (2050, 24), (300, 40), (1500, 70)])
def test_a_row_does_not_depend_on_the_others(inputs, outputs, dtype, isa, threads, rng):
    x, kernel, bias = (normals(rng, shape, dtype) for shape in ((300, inputs), (inputs, outputs), (outputs,)))
    whole = ops.dense(x, kernel, bias, activation="relu")
    for n in (1, 2, 3, 30, 61, 130):
        assert_exact(ops.dense(x[:n], kernel, bias, activation="relu"), whole[:n])


@pytest.mark.parametrize(
    "shape", [(0, 3), (5, 1), (2, 3, 4, 17), (3, 7, 7, 6), (64, 12, 12, 20), (300, 8, 9, 17)], ids=str
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_grad_sums_all_but_the_channels(shape, dtype, isa, threads, rng):
    grad_output = guarded_copy(integers(rng, shape, dtype))
    expected = grad_output.array.astype(np.float64).reshape(-1, shape[-1]).sum(axis=0)
    assert_exact(ops.bias_grad(grad_output.array), expected, dtype)
    grad_output.check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES[1::3], ids=str)
def test_floats_within_highams_bound(size, dtype, isa, rng):
    n, inputs, outputs = size
    x, kernel, grad_output = (normals(rng, shape, dtype) for shape in ((n, inputs), (inputs, outputs), (n, outputs)))
    wide = [array.astype(np.float64) for array in (x, kernel, grad_output)]
    sizes = [np.abs(array) for array in wide]
    for answer, (left, right), length in (
        (ops.dense(x, kernel), (lambda a: a[0], lambda a: a[1]), inputs),
        (ops.dense_grad_input(grad_output, kernel), (lambda a: a[2], lambda a: a[1].T), outputs),
        (ops.dense_grad_kernel(x, grad_output), (lambda a: a[0].T, lambda a: a[2]), n),
    ):
        bound = (gamma(length + 1, dtype) + gamma(length + 1, np.float64)) * (left(sizes) @ right(sizes))
        assert_within(answer, left(wide) @ right(wide), bound)


def test_gradients_against_central_differences(rng):
    x, kernel, grad_output = (normals(rng, shape, np.float64) for shape in ((3, 5), (5, 4), (3, 4)))
    step = 2.0**-10
    magnitude = np.vdot((np.abs(x) + step) @ (np.abs(kernel) + step), np.abs(grad_output))
    bound = 2 * gamma(3 * 5 * 4 + 8, np.float64) * magnitude / step

    def loss():
        return np.vdot(ops.dense(x, kernel), grad_output)

    assert_within(numerical_gradient(loss, x, step), ops.dense_grad_input(grad_output, kernel), bound)
    assert_within(numerical_gradient(loss, kernel, step), ops.dense_grad_kernel(x, grad_output), bound)
