"""More than 2**31 elements in every operation that takes or gives them: sizes, offsets and indices are 64 bits wide.

The arrays repeat a few megabytes of memory (``large.py``), so nothing here may make a copy of one: the tests limit the
address space. What reads or writes every cell takes seconds and is left to ``-m long``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from oracle import assert_exact, assert_same_bits, integers, normals
from problems import EXACT_ALGORITHMS, POOL_PROBLEMS, Pool

import fastconv as fc
from fastconv import ops, reference
from fastconv.ops import l2_pooling, pooling

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's mmap and memfd_create")
if sys.platform.startswith("linux"):
    import resource

    from large import PERIOD, cells, repeating

# One plane of 2.2e9 cells, and the same number of elements in channels and in images.
PLANE = (1, 46_500, 46_501, 1)
DEEP = (1, 12_001, 12_000, 16)
MANY = (35_000_001, 2, 2, 16)
FAR = 11_900  # a stride with few outputs, the last ones near the end
MORE = 3 << 30  # bytes of address space that a call may take beside its arguments


@pytest.fixture
def values() -> np.ndarray:
    return integers(np.random.default_rng(0), PERIOD)


@pytest.fixture
def no_copies() -> Iterator[None]:
    """A limit on the address space: what is mapped now, an array of 2**31 elements, and a little more."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    # The test's own two arrays are 18 GB at most.
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 18_000_000_000 + MORE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def x(request: pytest.FixtureRequest, values: np.ndarray, no_copies: None) -> np.ndarray:
    assert np.prod(request.param, dtype=np.int64) > 2**31
    return repeating(request.param, values)


def grid(shape: tuple[int, ...], step: int, window: int = 2) -> tuple[np.ndarray, ...]:
    """Image, first row, first column, channel of each window, in (n, oh, ow, c)."""
    rows = np.arange(0, shape[1] - window + 1, step)
    cols = np.arange(0, shape[2] - window + 1, step)
    return np.ix_(np.arange(shape[0]), rows, cols, np.arange(shape[3]))


def windows(values: np.ndarray, shape: tuple[int, ...], step: int, window: int = 2) -> np.ndarray:
    """(window*window, n, oh, ow, c) cells of a repeating array."""
    n, row, col, c = grid(shape, step, window)
    return np.stack([cells(values, shape, n, row + a, col + b, c) for a in range(window) for b in range(window)])


@on_linux
@pytest.mark.parametrize("x", [PLANE, DEEP], indirect=True, ids=str)
class TestStridedOverALargeImage:
    def test_max_pool2d(self, x, values):
        seen = windows(values, x.shape, FAR)
        y, indices = fc.max_pool2d(x, 2, strides=FAR, return_indices=True)
        assert_exact(y, seen.max(axis=0))
        _, row, col, _ = grid(x.shape, FAR)
        winner = seen.argmax(axis=0)
        assert_exact(indices, ((row + winner // 2) * x.shape[2] + col + winner % 2))
        assert indices.dtype == (np.int64 if x.shape[1] * x.shape[2] > 2**31 else np.int32)
        assert_exact(fc.max_pool2d(x, 2, strides=FAR), y)

    def test_other_pools(self, x, values):
        seen = windows(values, x.shape, FAR).astype(np.float64)
        assert_exact(fc.avg_pool2d(x, 2, strides=FAR), seen.mean(axis=0))
        assert_exact(fc.l2_pool2d(x, 2, strides=FAR), np.sqrt((seen**2).sum(axis=0)).astype(np.float32))

    @pytest.mark.parametrize("algorithm", EXACT_ALGORITHMS)
    def test_conv2d(self, x, values, algorithm):
        kernel = integers(np.random.default_rng(1), (2, 2, x.shape[3], 3), np.float64)
        seen = windows(values, x.shape, FAR).astype(np.float64)
        expected = np.einsum("tnhwc,tcf->nhwf", seen, kernel.reshape(4, -1, 3))
        assert_exact(fc.conv2d(x, kernel.astype("f"), strides=FAR, algorithm=algorithm), expected)

    @pytest.mark.parametrize("algorithm", EXACT_ALGORITHMS)
    def test_conv2d_grad_kernel(self, x, values, algorithm):
        seen = windows(values, x.shape, FAR).astype(np.float64)
        upstream = integers(np.random.default_rng(1), (*seen.shape[1:4], 3), np.float64)
        expected = np.einsum("tnhwc,nhwf->tcf", seen, upstream).reshape(2, 2, x.shape[3], 3)
        answer = fc.conv2d_grad_kernel(x, upstream.astype("f"), 2, strides=FAR, algorithm=algorithm)
        assert_exact(answer, expected)

    def test_depthwise_conv2d(self, x, values):
        kernel = integers(np.random.default_rng(1), (2, 2, x.shape[3], 1), np.float64)
        seen = windows(values, x.shape, FAR).astype(np.float64)
        expected = np.einsum("tnhwc,tc->nhwc", seen, kernel.reshape(4, -1))
        assert_exact(fc.depthwise_conv2d(x, kernel.astype("f"), strides=FAR), expected)

    def test_conv2d_transpose_gradients(self, x, values):
        kernel = integers(np.random.default_rng(1), (2, 2, x.shape[3], 3), np.float64)
        seen = windows(values, x.shape, FAR).astype(np.float64)
        small = integers(np.random.default_rng(2), (*seen.shape[1:4], 3), np.float64)
        extra = tuple((size - 2) % FAR for size in x.shape[1:3])
        options = {"strides": FAR, "output_padding": extra}
        expected = np.einsum("tnhwc,tcf->nhwf", seen, kernel.reshape(4, -1, 3))
        answer = fc.conv2d_transpose_grad_input(x, kernel.astype("f"), small.shape, **options)
        assert_exact(answer, expected)
        expected = np.einsum("tnhwc,nhwf->tcf", seen, small).reshape(kernel.shape)
        assert_exact(fc.conv2d_transpose_grad_kernel(small.astype("f"), x, 2, **options), expected)

    def test_im2col(self, x, values):
        seen = windows(values, x.shape, FAR)
        assert_exact(fc.im2col(x, 2, strides=FAR), np.moveaxis(seen, 0, 3).reshape(-1, 4 * x.shape[3]))


@on_linux
@pytest.mark.long
@pytest.mark.usefixtures("no_copies")
class TestEveryCell:
    """A result written in ascending order on one thread ends with the last cells: each is known."""

    @pytest.fixture(autouse=True)
    def one_thread(self):
        fc.set_num_threads(1)

    @staticmethod
    def last(size: int) -> np.ndarray:
        """The last flat index that falls on each cell of the memory, in its order."""
        first = size - PERIOD
        return first + (np.arange(PERIOD) - first) % PERIOD

    def check_last(self, out: np.ndarray, expected_at) -> None:
        assert_exact(out.reshape(-1)[:PERIOD], expected_at(self.last(out.size)).astype(np.float32))

    @pytest.mark.parametrize("many", [False, True], ids=["one image", "many images"])
    def test_conv2d_and_grad_input_of_one_channel(self, values, many):
        shape = (69_000_001, 1, 1, 1) if many else (1, 8_301, 8_300, 1)
        x, kernel = repeating(shape, values), integers(np.random.default_rng(1), (1, 1, 1, 32))
        out = repeating((*shape[:3], 32))
        fc.conv2d(x, kernel, out=out)

        def expected(last):
            return values[last // 32 % PERIOD] * kernel.ravel()[last % 32]

        self.check_last(out, expected)
        out[...] = np.nan
        backward = np.ascontiguousarray(kernel.transpose(0, 1, 3, 2))
        fc.conv2d_grad_input(x, backward, out.shape, out=out)
        self.check_last(out, expected)
        out[...] = np.nan
        fc.conv2d_transpose(x, backward.transpose(0, 1, 3, 2).copy().reshape(1, 1, 32, 1), out=out)
        self.check_last(out, expected)

    def test_conv2d_of_many_images(self, values):
        x, kernel = repeating(MANY, values), integers(np.random.default_rng(1), (2, 2, 16, 1))
        y = fc.conv2d(x, kernel).ravel()
        chosen = np.random.default_rng(2).integers(0, MANY[0], 100_000)
        chosen[0] = MANY[0] - 1
        seen = values[(chosen[:, None] * 64 + np.arange(64)) % PERIOD]
        assert_exact(y[chosen], seen @ kernel.ravel())

    def test_grad_kernel_of_a_large_gradient(self, values):
        shape = (1, 8_301, 8_300, 1)
        x, upstream = repeating(shape, np.zeros(PERIOD, np.float32)), repeating((*shape[:3], 32))
        # One cell of x in the last row, whose memory is every so many cells further on: their gradients add up.
        flat = np.arange(shape[1] * shape[2] - 12_345, 0, -PERIOD)
        x.reshape(-1)[flat[0]] = 1
        where = (flat[:, None] * 32 + np.arange(32)) % PERIOD
        upstream.reshape(-1)[: where.max() + 1] = values[: where.max() + 1]
        gk = fc.conv2d_grad_kernel(x, upstream, 1)
        assert_exact(gk.ravel(), upstream.reshape(-1)[where].sum(axis=0))

    def test_dense(self, values):
        rows, inputs = 2_100_000, 1_025
        x, column = repeating((rows, inputs), values), integers(np.random.default_rng(1), (inputs, 1), np.float32, 1)
        y = ops.dense(x, column)
        chosen = np.r_[np.random.default_rng(2).integers(0, rows, 1000), rows - 1]
        assert_exact(y[chosen], values[(chosen[:, None] * inputs + np.arange(inputs)) % PERIOD] @ column)
        gx = repeating((rows, inputs))
        ops.dense_grad_input(y, column, out=gx)
        self.check_last(gx, lambda last: y.ravel()[last // inputs] * column.ravel()[last % inputs])

    def test_dense_of_a_large_kernel(self, values):
        kernel, x = repeating((1_025, 2_100_000), values), np.zeros((1, 1_025), np.float32)
        x[0, 1_024] = 1
        y = ops.dense(x, kernel)
        assert_exact(y[0], values[(1_024 * 2_100_000 + np.arange(2_100_000)) % PERIOD])

    def test_pooling_gradients(self, values):
        shape, step = PLANE, 15_000
        out = repeating(shape)
        y, indices = fc.max_pool2d(repeating(shape, values), 2, strides=step, return_indices=True)
        upstream = integers(np.random.default_rng(3), y.shape)
        expected = np.zeros(PERIOD, np.float32)
        np.add.at(expected, indices.ravel() % PERIOD, upstream.ravel())
        fc.max_pool2d_grad(upstream, indices, shape, pool_size=2, strides=step, out=out)
        assert_exact(out.reshape(-1)[:PERIOD], expected)
        fc.avg_pool2d_grad(4 * upstream, shape, pool_size=2, strides=step, out=out)
        n, row, col, c = grid(shape, step)
        expected = np.zeros(PERIOD, np.float32)
        for a in (0, 1):
            for b in (0, 1):
                np.add.at(expected, ((row + a) * shape[2] + col + b + n + c).ravel() % PERIOD, upstream.ravel())
        assert_exact(out.reshape(-1)[:PERIOD], expected)

    def test_relu_and_its_gradient(self, values):
        x, out = repeating((2_200_000_001,), values), repeating((2_200_000_001,))
        fc.relu(x, out=out)
        self.check_last(out, lambda last: np.maximum(values[last % PERIOD], 0))
        fc.relu_grad(x, x, out=out)
        self.check_last(out, lambda last: values[last % PERIOD])

    def test_bias_grad(self, values):
        x = repeating((2_200_000, 1_001), values)
        total = ops.bias_grad(x)
        whole, rest = divmod(x.size, PERIOD)
        expected = np.zeros(1_001)
        for start in range(0, x.size, PERIOD):
            count = PERIOD if start < whole * PERIOD else rest
            columns = (start + np.arange(count)) % 1_001
            expected += np.bincount(columns, values[:count], 1_001)
        assert_exact(total, expected)

    def test_filter2d(self, values):
        shape = PLANE[1:3]
        image, kernel = repeating(shape, values), integers(np.random.default_rng(1), (shape[0], 1))
        y = fc.correlate2d(image, kernel, "valid")
        for col in (0, 1, 20_000, shape[1] - 1):
            column = cells(values, shape, np.arange(shape[0]), col).astype(np.float64)
            assert_exact(y[0, col], column @ kernel[:, 0].astype(np.float64))

    def test_col2im(self, values):
        size, window = 431, 216
        cols = repeating((window**2, window**2), values)
        assert cols.size > 2**31
        image = fc.col2im(cols, (1, size, size, 1), window)
        for row, col in ((0, 0), (430, 430), (430, 0), (215, 200)):
            i, j = np.ix_(
                np.arange(max(row - window + 1, 0), min(row, window - 1) + 1),
                np.arange(max(col - window + 1, 0), min(col, window - 1) + 1),
            )
            entries = cells(values, cols.shape, i * window + j, (row - i) * window + col - j)
            assert_exact(image[0, row, col, 0], entries.astype(np.float64).sum())


@pytest.mark.parametrize("cells_most", [1, 40, 200])
@pytest.mark.parametrize("problem", [p for p in POOL_PROBLEMS if p.n], ids=str)
def test_planes_beyond_int32_in_small(problem: Pool, cells_most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of such planes, for every pooling problem, by saying that int32 ends at a few cells."""
    monkeypatch.setattr(pooling, "INT32_MAX", cells_most)
    data = problem.arrays()
    expected, places = reference.max_pool2d(data["x"], **problem.options, return_indices=True)
    x = data["x"].astype(np.float32)
    y, indices = fc.max_pool2d(x, **problem.options, return_indices=True)
    assert_exact(y, expected, np.float32)
    assert_exact(indices, places)
    out, indices_out = np.empty_like(y), np.empty_like(indices)
    both = fc.max_pool2d(x, **problem.options, return_indices=True, out=out, indices_out=indices_out)
    assert both[0] is out
    assert both[1] is indices_out
    assert_exact(out, expected)
    assert_exact(indices_out, places)
    grad = fc.max_pool2d_grad(data["grad_output"].astype("f"), indices, problem.input_shape, **problem.options)
    expected = reference.max_pool2d_grad(data["grad_output"], places, problem.input_shape, **problem.options)
    assert_exact(grad, expected, np.float32)


@pytest.mark.parametrize("squares", [1, 50, 400])
@pytest.mark.parametrize("problem", POOL_PROBLEMS, ids=str)
def test_l2_pooling_in_bands(problem: Pool, squares: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = problem.arrays(normals, np.float32)
    y = fc.l2_pool2d(data["x"], **problem.options)
    grad = fc.l2_pool2d_grad(data["grad_output"], data["x"], **problem.options)
    monkeypatch.setattr(l2_pooling, "SQUARES", squares)
    assert_same_bits(fc.l2_pool2d(data["x"], **problem.options), y)
    assert_same_bits(fc.l2_pool2d_grad(data["grad_output"], data["x"], **problem.options), grad)
