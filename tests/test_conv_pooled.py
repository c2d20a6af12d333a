"""Convolution and pooling in one: the bits of the two operations one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from calls import winners_alone
from oracle import DTYPES, assert_exact, assert_same_bits, guarded_copy, integers, normals
from problems import CONV_PROBLEMS

import fastconv as fc
from fastconv import layers, models, ops, utils
from fastconv.ops import conv_pooled
from fastconv.ops._conv_winners import winners_fit, winners_pay, winners_pay_input
from fastconv.ops._dispatch import conv_problem
from fastconv.ops.pooling import pool_problem

PROBLEMS = tuple(
    problem
    for problem in CONV_PROBLEMS
    if problem.data_format == "channels_last" and min(problem.output_shape[1:3]) > 1
)[::3]
POOLS = ({"pool_size": 2}, {"pool_size": (2, 1), "pool_padding": "same"}, {"pool_size": 2, "pool_strides": 1})


@pytest.fixture
def small_chunks(monkeypatch):
    """So few bytes at a time that even the tests' images come in several chunks, of different lengths."""
    monkeypatch.setattr(conv_pooled, "CHUNK_BYTES", 400)
    conv_pooled._chunked.cache_clear()
    yield
    conv_pooled._chunked.cache_clear()


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_equal_to_the_two_operations(problem, isa, threads, small_chunks, rng):
    for dtype, pool in zip((*DTYPES, np.float32), POOLS, strict=True):
        shape = (7 if problem.n else 0, *problem.input_shape[1:])
        x = guarded_copy(normals(rng, shape, dtype))
        kernel, bias = (None if a is None else a.astype(dtype) for a in map(problem.arrays().get, ("kernel", "bias")))
        options = {key: value for key, value in problem.options.items() if key != "data_format"}
        y = fc.conv2d(x.array, kernel, bias, activation=problem.activation, **options)
        window = {key.removeprefix("pool_"): value for key, value in pool.items() if key != "pool_size"}
        expected, places = fc.max_pool2d(y, pool["pool_size"], return_indices=True, **window)
        out = guarded_copy(np.full(expected.shape, np.nan, dtype))
        found = guarded_copy(np.full(places.shape, -1, places.dtype))
        results = ops.conv2d_max_pool2d(
            x.array, kernel, bias, activation=problem.activation, **options, **pool, out=out.array,
            indices_out=found.array,
        )  # fmt: skip
        assert results[0] is out.array
        assert_exact(out.array, expected, dtype)
        assert_exact(found.array, places)
        for guarded in (x, out, found):
            guarded.check()


@pytest.fixture(params=["winners alone", "all cells"])
def way(request, monkeypatch):
    """Both ways of the gradients, whichever is quicker."""

    if request.param == "winners alone":
        with winners_alone():
            yield request.param
    else:
        for name in ("winners_pay", "winners_pay_input"):
            monkeypatch.setattr(conv_pooled, name, lambda *arguments: False)
        yield request.param


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_gradients_equal_those_of_the_two_operations(problem, isa, threads, way, rng):
    for dtype, pool in zip((*DTYPES, np.float32, np.float64), (*POOLS, {"pool_size": (3, 2)}), strict=True):
        n, oh, ow, filters = problem.output_shape
        if "pool_padding" not in pool and min(np.subtract((oh, ow), pool["pool_size"])) < 0:
            continue
        between = (19 if n else 0, oh, ow, filters)
        x = guarded_copy(integers(rng, (between[0], *problem.input_shape[1:]), dtype))
        kernel = guarded_copy(integers(rng, problem.kernel_shape, dtype))
        options = {key: value for key, value in problem.options.items() if key != "data_format"}
        window = {key.removeprefix("pool_"): value for key, value in pool.items() if key != "pool_size"}
        y = integers(rng, between, dtype)
        _, places = fc.max_pool2d(y, pool["pool_size"], return_indices=True, **window)
        grad, places = guarded_copy(integers(rng, places.shape, dtype)), guarded_copy(places)
        wide = fc.max_pool2d_grad(grad.array, places.array, between, pool_size=pool["pool_size"], **window)
        size = problem.kernel_shape[:2]
        of_kernel = fc.conv2d_grad_kernel(x.array, wide, size, **options)
        of_input = ops.conv2d_grad_input(wide, kernel.array, x.array.shape, **options)
        options |= pool
        for function, arguments, expected in (
            (ops.conv2d_max_pool2d_grad_kernel, (x.array, grad.array, places.array, size), of_kernel),
            (ops.conv2d_max_pool2d_grad_input, (grad.array, places.array, kernel.array, x.array.shape), of_input),
        ):
            out = guarded_copy(np.full(expected.shape, np.nan, dtype))
            assert function(*arguments, **options, out=out.array) is out.array
            assert_exact(out.array, expected, dtype)
            out.check()
        for guarded in (x, kernel, grad, places):
            guarded.check()


@pytest.mark.parametrize("channels", [1, 3, 8, 16, 21, 70])
@pytest.mark.parametrize(("size", "kernel"), [(2, 3), (3, (5, 4)), ((1, 2), (1, 9)), ((4, 1), (9, 1)), (2, 7)])
def test_gradients_of_many_widths(channels, size, kernel, isa, threads, way, rng):
    """One vector of channels, several, parts of one; tiles of every height; more filters and images than one list."""
    for filters, padding, strides in ((5, "same", 1), (35, "valid", (2, 1))):
        x = integers(rng, (9, 17, 19, channels))
        weights = integers(rng, (*((kernel, kernel) if isinstance(kernel, int) else kernel), channels, filters))
        options = {"padding": padding, "strides": strides}
        y = fc.conv2d(x, weights, **options)
        _, places = fc.max_pool2d(y, size, return_indices=True)
        grad = integers(rng, places.shape) * (rng.random(places.shape) < 0.6).astype(np.float32)
        wide = fc.max_pool2d_grad(grad, places, y.shape, pool_size=size)
        result = ops.conv2d_max_pool2d_grad_kernel(x, grad, places, kernel, **options, pool_size=size)
        assert_exact(result, fc.conv2d_grad_kernel(x, wide, kernel, **options))
        result = ops.conv2d_max_pool2d_grad_input(grad, places, weights, x.shape, **options, pool_size=size)
        assert_exact(result, ops.conv2d_grad_input(wide, weights, x.shape, **options))


def test_gradients_where_windows_cut_blocks(threads, way, rng):
    """Blocks of rows that begin and end within windows, rows that no window covers, values that are not finite."""
    image, between = (3, 41, 37, 1), (3, 41, 37)
    for size, filters in ((2, 32), (3, 6), (5, 32)):
        x, kernel = integers(rng, image), integers(rng, (3, 3, 1, filters))
        _, places = fc.max_pool2d(integers(rng, (*between, filters)), size, return_indices=True)
        grad = integers(rng, places.shape)
        for array, where in ((grad, (1, 2, 3, 0)), (x, (2, 7, 9, 0)), (kernel, (1, 2, 0, 3))):
            for value in (1.0, np.nan, np.inf):
                array[where] = value
                wide = fc.max_pool2d_grad(grad, places, (*between, filters), pool_size=size)
                expected = fc.conv2d_grad_kernel(x, wide, 3, padding="same")
                result = ops.conv2d_max_pool2d_grad_kernel(x, grad, places, 3, padding="same", pool_size=size)
                assert_exact(result, expected)
                expected = ops.conv2d_grad_input(wide, kernel, image, padding="same")
                result = ops.conv2d_max_pool2d_grad_input(grad, places, kernel, image, padding="same", pool_size=size)
                assert_exact(result, expected)
            array[where] = 1


@pytest.mark.parametrize("channels", [1, 16])
def test_wrong_indices_reach_no_foreign_memory(channels, way, rng):
    x, grad = guarded_copy(integers(rng, (2, 8, 8, channels))), integers(rng, (2, 4, 4, 3))
    kernel = guarded_copy(integers(rng, (3, 3, channels, 3)))
    out = guarded_copy(np.zeros(x.array.shape, np.float32))
    for index in (-1, 64, 2**31 - 1, -(2**31), 12):
        places = np.full(grad.shape, index, np.int32)
        result = ops.conv2d_max_pool2d_grad_kernel(x.array, grad, places, 3, padding="same")
        assert np.isfinite(result).all()
        if way == "winners alone":  # the other way has its own check of the indices
            ops.conv2d_max_pool2d_grad_input(grad, places, kernel.array, x.array.shape, padding="same", out=out.array)
            assert np.isfinite(out.array).all()
        for guarded in (x, kernel, out):
            guarded.check()


@pytest.mark.parametrize(("channels", "filters"), [(1, 6), (16, 40)])
def test_gradients_have_the_same_bits_on_any_number_of_threads(channels, filters, isa, way, rng):
    x, grad = normals(rng, (150, 28, 29, channels)), normals(rng, (150, 14, 14, filters))  # enough work for a team
    kernel = normals(rng, (3, 3, channels, filters))
    _, places = fc.max_pool2d(normals(rng, (150, 28, 29, filters)), return_indices=True)
    found = []
    for count in (1, 2, 3, 5):
        fc.set_num_threads(count)
        found.append(
            (
                ops.conv2d_max_pool2d_grad_kernel(x, grad, places, 3, padding="same"),
                ops.conv2d_max_pool2d_grad_input(grad, places, kernel, x.shape, padding="same"),
            )
        )
    for other in found[1:]:
        assert_same_bits(other[0], found[0][0])
        assert_same_bits(other[1], found[0][1])


def test_where_the_winners_are_summed_alone():
    """The networks' layers behind a pooling are worth it; dilated rows and overlapping windows cannot be."""

    def problems(x_shape, kernel_shape, dilation=1, pool_strides=None):
        p = conv_problem("conv2d", x_shape, kernel_shape, 1, "same", dilation, 1, "channels_last")
        return p, pool_problem("max_pool2d", p.y_shape, 2, pool_strides, "valid", "channels_last")

    for x_shape, kernel_shape in (((50, 14, 14, 32), (5, 5, 32, 64)), ((64, 12, 12, 64), (3, 3, 64, 128))):
        assert winners_pay(*problems(x_shape, kernel_shape), 4, "baseline")
        assert winners_pay_input(*problems(x_shape, kernel_shape), 4, "baseline")
        assert not winners_pay_input(*problems((2, *x_shape[1:]), kernel_shape), 4, "baseline")
        for odd in ((2, None), (1, 1)):
            assert not winners_fit(*problems(x_shape, kernel_shape, *odd))
    assert winners_pay(*problems((128, 28, 28, 1), (5, 5, 1, 6)), 4, "baseline")
    assert not winners_pay(*problems((8, 28, 28, 64), (1, 1, 64, 8)), 4, "baseline")
    assert not winners_fit(*problems((8, 1024, 1024, 3), (3, 3, 3, 8)))


def test_problems_were_tried_on_the_fused_path():
    assert len(PROBLEMS) >= 25
    assert sum(problem.groups == 1 for problem in PROBLEMS) >= 20


def test_wrong_arrays_are_refused():
    x, kernel = np.ones((1, 6, 6, 2), np.float32), np.ones((3, 3, 2, 4), np.float32)
    with pytest.raises(ValueError, match=r"conv2d_max_pool2d: bias must have shape \(4,\)"):
        ops.conv2d_max_pool2d(x, kernel, np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"conv2d_max_pool2d: the window \(9, 9\) does not fit"):
        ops.conv2d_max_pool2d(x, kernel, pool_size=9)
    with pytest.raises(ValueError, match=r"conv2d_max_pool2d: out must have shape \(1, 2, 2, 4\)"):
        ops.conv2d_max_pool2d(x, kernel, out=np.empty((1, 2, 2, 3), np.float32))


@pytest.mark.parametrize("activation", ["relu", None])
@pytest.mark.parametrize("strides", [2, 1])
def test_fit_gives_the_weights_of_layer_by_layer(activation, strides, small_chunks, monkeypatch):
    # Bit for bit where the sums have one order.
    monkeypatch.setattr(conv_pooled, "winners_pay", lambda *arguments: False)
    monkeypatch.setattr(conv_pooled, "winners_pay_input", lambda *arguments: False)
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(21, 9, 8, 2)).astype("float32"), rng.integers(0, 3, 21)

    def model(fused):
        utils.set_random_seed(2)
        made = models.Sequential(
            [
                layers.Input((9, 8, 2)),
                layers.Conv2D(5, 3, activation=activation, padding="same"),
                layers.MaxPooling2D(2, strides=strides),
                layers.Dropout(0.2),
                layers.Conv2D(17, 2, activation=activation),
                layers.MaxPooling2D(2, padding="same"),
                layers.Flatten(),
                layers.Dense(3, activation="softmax"),
            ]
        )
        made.compile("adam", "sparse_categorical_crossentropy")
        with monkeypatch.context() as patch:
            if not fused:
                patch.setattr(layers.MaxPooling2D, "fits_behind", lambda self, layer: False)
            made.fit(x, y, batch_size=8, epochs=2, verbose=0)
        return made.get_weights()

    for ours, theirs in zip(model(True), model(False), strict=True):
        assert_exact(ours, theirs)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("kernel", "channels"), [(1, 1), (3, 4), ((5, 3), 1), (7, 17)])
def test_backward_behind_gives_the_gradients_of_layer_by_layer(kernel, channels, use_bias, way, threads, rng):
    """On integers, so that the order of the sums does not matter; both ways of the gradients."""
    conv = layers.Conv2D(6, kernel, padding="same", activation="relu", use_bias=use_bias)
    pool = layers.MaxPooling2D(2)
    x = integers(rng, (9, 11, 13, channels))
    conv.build(x.shape)
    conv.set_weights([integers(rng, weight.shape) for weight in conv.weights])
    grad = integers(rng, pool(conv(x, training=True), training=True).shape)
    expected_input = conv.backward(pool.backward(grad))
    expected = conv.grads
    for trainable, needs in ((True, True), (True, False), (False, True)):
        conv.trainable, conv._needs_input_grad = trainable, needs
        pool.call_behind(conv, x)
        grad_input = pool.backward_behind(conv, grad)
        assert len(conv.grads) == (1 + use_bias if trainable else 0)
        for ours, theirs in zip(conv.grads, expected, strict=False):
            assert_exact(ours, theirs)
        if needs:
            assert_exact(grad_input, expected_input)
        else:
            assert grad_input is None
    conv._kept = None
    with pytest.raises(RuntimeError, match="backward needs the forward pass"):
        pool.backward_behind(conv, grad)


def test_large_windows_go_back_in_two_steps():
    for size, expected in ((2, True), (4, True), (5, False)):
        conv = layers.Conv2D(4, 3, activation="relu")
        assert layers.MaxPooling2D(size).goes_back_behind(conv) == expected
        assert not layers.MaxPooling2D(size, strides=1).goes_back_behind(conv)
