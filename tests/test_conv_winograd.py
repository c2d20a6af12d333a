"""algorithm="winograd": F(2x2, 3x3) exact on whole numbers, both forms within the bound that their matrices give, the
same bits on any number of threads; what it refuses, and how far an Inf or a NaN spreads."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import (
    DTYPES,
    assert_exact,
    assert_same_bits,
    assert_within,
    gamma,
    guarded_copy,
    guarded_nan,
    integers,
    normals,
)
from problems import CONV_PROBLEMS, Conv, conv_answers

import fastconv as fc
from fastconv import reference
from fastconv.ops import _dispatch

TILES = (2, 4)
EDGES = (
    # one output pixel, one tile and its neighbours, borders inside of tiles
    Conv(1, 3, 3, 1, 3, 3, 1),
    Conv(2, 1, 1, 5, 3, 3, 7, padding="same", bias=True, activation="relu"),
    *(Conv(1 + size % 2, size, 9 - size, 3, 3, 3, 4, padding="same", seed=size) for size in range(2, 8)),
    # padding beyond the window, on one side only; a kernel as large as the image
    Conv(1, 4, 5, 2, 3, 3, 3, padding=((5, 6), (0, 4)), bias=True),
    Conv(2, 5, 6, 3, 3, 3, 5, padding=((0, 3), (2, 0))),
    # channels beside the lanes; two strips of output channels, and an uneven number of vectors
    *(Conv(1, 4, 4, channels, 3, 3, 6, padding="same") for channels in (1, 4, 7, 8, 15, 16, 17, 33)),
    *(Conv(1, 4, 4, 2, 3, 3, filters, padding="same", bias=True) for filters in (1, 8, 31, 49, 65, 80, 130)),
    # few tiles of many channels: chunks of them
    Conv(1, 4, 4, 150, 3, 3, 66, padding="same", bias=True, activation="relu"),
    Conv(1, 2, 2, 600, 3, 3, 20, padding="same"),
    # groups, the other format, no images
    Conv(2, 6, 5, 6, 3, 3, 8, groups=2, padding="same", bias=True),
    Conv(1, 5, 5, 4, 3, 3, 12, groups=4, padding=1, data_format="channels_first", bias=True, activation="relu"),
    Conv(0, 5, 5, 3, 3, 3, 4, bias=True),
    Conv(0, 6, 6, 2, 3, 3, 4, padding="same", data_format="channels_first"),
)


def supported(problem: Conv) -> bool:
    return (problem.kh, problem.kw) == (3, 3) and not {problem.strides, problem.dilation_rate} - {1, (1, 1)}


PROBLEMS = EDGES + tuple(problem for problem in CONV_PROBLEMS if supported(problem))
# Work for every thread, for several blocks of tiles, and for several loads of transformed images.
LARGE = (
    Conv(3, 21, 19, 16, 3, 3, 40, padding="same"),
    Conv(1, 60, 61, 20, 3, 3, 70, padding=((1, 0), (0, 2))),
    Conv(2, 17, 9, 24, 3, 3, 24, groups=2, padding="same", data_format="channels_first"),
    Conv(5, 7, 7, 130, 3, 3, 68, padding="same"),
)
HUGE = Conv(22, 32, 33, 80, 3, 3, 72, padding="same")


@pytest.fixture(params=TILES, ids="F{}".format)
def m(request, monkeypatch):
    """Tiles of m x m output pixels for every problem, whatever its size."""
    monkeypatch.setattr(_dispatch, "winograd_m", lambda height, width: request.param)
    return request.param


def run(problem: Conv, data):
    """Forward and grad_input, between guard bytes, into memory that holds NaN."""
    arrays = {name: None if a is None else guarded_copy(a) for name, a in data.items()}
    x, kernel, grad_output = (arrays[name].array for name in ("x", "kernel", "grad_output"))
    bias = None if data["bias"] is None else arrays["bias"].array
    options = {**problem.options, "algorithm": "winograd"}
    y, grad_input = guarded_nan(problem.output_shape, x.dtype), guarded_nan(problem.input_shape, x.dtype)
    assert fc.conv2d(x, kernel, bias, activation=problem.activation, out=y.array, **options) is y.array
    fc.conv2d_grad_input(grad_output, kernel, problem.input_shape, out=grad_input.array, **options)
    for guarded in (y, grad_input, *(array for array in arrays.values() if array is not None)):
        guarded.check()
    for name, original in data.items():
        if original is not None:
            assert_exact(arrays[name].array, original, what=f"{name} was modified:")
    return {"conv2d": y.array, "conv2d_grad_input": grad_input.array}


def by_tiles(problem: Conv, data, matrices):
    """Both operations by the reference's matrices, group by group; with matrices and data of magnitudes, the sums of
    all terms' magnitudes."""

    def last(array):
        return np.moveaxis(array, 1, -1) if problem.data_format == "channels_first" else array

    def per_group(images, kernels, bias, padding):
        parts = []
        for group in range(problem.groups):
            channels = slice(group * kernels.shape[3], (group + 1) * kernels.shape[3])
            parts.append(
                reference.conv2d_winograd(images[..., channels], kernels[group], padding=padding, matrices=matrices)
            )
        return np.concatenate(parts, axis=3) + (0 if bias is None else bias)

    x, grad_output = last(data["x"]).astype(np.float64), last(data["grad_output"]).astype(np.float64)
    kernel = data["kernel"].astype(np.float64)
    kernels = np.stack(np.split(kernel, problem.groups, axis=3))
    (top, bottom), (left, right) = _pads(problem)
    y = per_group(x, kernels, data["bias"], ((top, bottom), (left, right)))
    # grad_input: rotated and transposed kernels over grad_output, whose pads may be negative.
    pads = ((2 - top, 2 - bottom), (2 - left, 2 - right))
    rows, cols = (slice(max(-first, 0), size - max(-second, 0)) for (first, second), size in
                  zip(pads, grad_output.shape[1:3], strict=True))  # fmt: skip
    pads = tuple(tuple(max(pad, 0) for pad in pair) for pair in pads)
    grad_input = per_group(grad_output[:, rows, cols], kernels[:, ::-1, ::-1].swapaxes(3, 4), None, pads)
    back = (lambda a: np.moveaxis(a, -1, 1)) if problem.data_format == "channels_first" else np.asarray
    return {"conv2d": back(y), "conv2d_grad_input": back(grad_input)}


def _pads(problem: Conv):
    if isinstance(problem.padding, str):
        return ((1, 1), (1, 1)) if problem.padding == "same" else ((0, 0), (0, 0))
    if isinstance(problem.padding, int):
        return ((problem.padding,) * 2,) * 2
    return tuple((pad, pad) if isinstance(pad, int) else pad for pad in problem.padding)


def magnitudes(problem: Conv, data, m):
    """Sum of the magnitudes of all terms that the transformed sums of each cell expand to."""
    matrices = tuple(np.abs(matrix) for matrix in reference.winograd_matrices(m))
    return by_tiles(problem, {name: None if a is None else np.abs(a) for name, a in data.items()}, matrices)


def roundings(problem: Conv, m: int) -> dict[str, int]:
    """How many roundings a term can meet on its way: those of the transforms of kernel, image and sums, each once down
    the columns and once along the rows (csrc/winograd-inl.h), those of the sum over the channels, and the bias.

    A term is rounded once by each operation, and by the rounding of each constant, that it takes part in; so its part
    of the error is at most gamma of their number times its magnitude. (B. Barabasz et al., "Error analysis and
    improving the accuracy of Winograd convolution", arXiv:1803.10986, theorem 2: the same count for any matrices.)
    """
    by_kernel, by_image, by_sums = {2: (2, 1, 2), 4: (5, 4, 4)}[m]
    transforms = 2 * (by_kernel + by_image + by_sums)
    channels, filters = problem.channels // problem.groups, problem.filters // problem.groups
    return {"conv2d": transforms + channels + 2, "conv2d_grad_input": transforms + filters + 1}


def assert_within_the_bound(problem: Conv, data, answers, expected, m):
    dtype, sizes = data["x"].dtype, magnitudes(problem, data, m)
    for name, answer in answers.items():
        # The reference's own sum, in float64, has the products of 9 taps for each channel.
        own = gamma(9 * max(problem.channels, problem.filters) + 1, np.float64)
        bound = (gamma(roundings(problem, m)[name], dtype) + own) * sizes[name]
        assert answer.dtype == dtype
        assert_within(answer, expected[name], bound, f"{name} F({m}x{m})")


def loops(problem: Conv, data):
    exact = {name: None if a is None else a.astype(np.float64) for name, a in data.items()}
    return {
        "conv2d": reference.conv2d(
            exact["x"], exact["kernel"], exact["bias"], activation=problem.activation, **problem.options
        ),
        "conv2d_grad_input": reference.conv2d_grad_input(
            exact["grad_output"], exact["kernel"], problem.input_shape, **problem.options
        ),
    }


def direct(problem: Conv, data):
    """In float64 by the direct kernels, where the loops would take too long."""
    exact = {name: None if a is None else a.astype(np.float64) for name, a in data.items()}
    options = {**problem.options, "algorithm": "direct"}
    return {
        "conv2d": fc.conv2d(exact["x"], exact["kernel"], exact["bias"], activation=problem.activation, **options),
        "conv2d_grad_input": fc.conv2d_grad_input(
            exact["grad_output"], exact["kernel"], problem.input_shape, **options
        ),
    }


# --- exact, and within the bound --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_two_by_two_is_exact_on_whole_numbers(problem, dtype, isa, monkeypatch):
    monkeypatch.setattr(_dispatch, "winograd_m", lambda height, width: 2)
    fc.set_num_threads(3)
    data, expected = problem.arrays(dtype=dtype), conv_answers(problem)
    # Transformed kernels are multiples of a quarter: sums of less than 2**22 have all their bits in float32.
    sizes = magnitudes(problem, data, 2)
    assert all((size < 2.0 ** (22 if dtype == np.float32 else 51)).all() for size in sizes.values())
    for name, answer in run(problem, data).items():
        assert_exact(answer, expected[name], dtype, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_floats_within_the_bound(problem, dtype, m, isa):
    fc.set_num_threads(2)
    data = problem.arrays(normals, dtype)
    assert_within_the_bound(problem, data, run(problem, data), loops(problem, data), m)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", LARGE, ids=str)
def test_the_same_bits_on_any_number_of_threads(problem, dtype, m, isa):
    data = problem.arrays(normals, dtype)
    answers = []
    for threads in (1, 2, 3, 5, 1):
        fc.set_num_threads(threads)
        answers.append(run(problem, data))
    for answer in answers:
        for name, array in answer.items():
            assert_same_bits(array, answers[0][name], name)
    assert_within_the_bound(problem, data, answers[0], direct(problem, data), m)


@pytest.mark.parametrize("threads", [1, 3])
def test_more_transformed_images_than_are_kept_at_a_time(threads, m):
    # 17 MB of them. Each image alone has the same bits, and the tests above judge such.
    fc.set_num_threads(threads)
    data = HUGE.arrays(normals, np.float32)
    x, kernel, grad_output = (data[name] for name in ("x", "kernel", "grad_output"))
    options = {"padding": "same", "algorithm": "winograd"}
    y = fc.conv2d(x, kernel, **options)
    grad_input = fc.conv2d_grad_input(grad_output, kernel, x.shape, **options)
    for image in range(HUGE.n):
        one = slice(image, image + 1)
        assert_same_bits(y[one], fc.conv2d(x[one], kernel, **options))
        alone = fc.conv2d_grad_input(grad_output[one], kernel, x[one].shape, **options)
        assert_same_bits(grad_input[one], alone)


@pytest.mark.parametrize("m_of", TILES)
def test_reference_is_the_convolution(m_of, rng):
    x, kernel, bias = integers(rng, (2, 7, 6, 3), np.float64), integers(rng, (3, 3, 3, 4), np.float64), np.arange(4.0)
    padding = ((3, 0), (1, 2))
    tiles = reference.conv2d_winograd(x, kernel, bias, padding=padding, matrices=reference.winograd_matrices(m_of))
    sizes = tuple(np.abs(matrix) for matrix in reference.winograd_matrices(m_of))
    magnitude = reference.conv2d_winograd(np.abs(x), np.abs(kernel), bias, padding=padding, matrices=sizes)
    # In einsum's order every term meets a rounding for each matrix entry of its way at most.
    bound = gamma(2 * (3 + 2 * (m_of + 2)) * 2 + 5, np.float64) * magnitude
    assert_within(tiles, reference.conv2d(x, kernel, bias, padding=padding), bound)


# --- the choice -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(1, 1, 2), (2, 2, 2), (1, 50, 2), (2, 50, 2), (5, 5, 2), (6, 6, 2), (3, 3, 4), (4, 4, 4), (7, 7, 4), (56, 56, 4)],
)
def test_the_form_is_chosen_by_its_multiplications(height, width, expected):
    assert _dispatch.winograd_m(height, width) == expected
    text = fc.explain_conv2d((1, height, width, 8), (3, 3, 8, 8), padding="same", algorithm="winograd")
    assert f"algorithm: winograd: asked for; F({expected}x{expected}, 3x3)" in text
    tiles = -(-height // expected) * -(-width // expected)
    assert f"{tiles * (expected + 2) ** 2 * 64:,} multiply-adds of transformed tiles" in text


def test_auto_never_takes_it(rng):
    problem = _dispatch.conv_problem("test", (8, 56, 56, 64), (3, 3, 64, 64), 1, "same", 1, 1, "channels_last")
    assert _dispatch.supports_winograd(problem)
    assert _dispatch.choose_algorithm(problem)[0] != "winograd"
    x, kernel = normals(rng, (1, 12, 12, 16)), normals(rng, (3, 3, 16, 16))
    assert_same_bits(fc.conv2d(x, kernel), fc.conv2d(x, kernel, algorithm="direct"))


@pytest.mark.parametrize(
    ("kernel_shape", "options"),
    [
        ((5, 5, 4, 6), {}),
        ((3, 1, 4, 6), {}),
        ((1, 3, 4, 6), {}),
        ((3, 3, 4, 6), {"strides": 2}),
        ((3, 3, 4, 6), {"strides": (1, 2)}),
        ((3, 3, 4, 6), {"dilation_rate": (2, 1)}),
    ],
)
def test_what_it_cannot_run_is_refused(kernel_shape, options):
    x, kernel = np.ones((2, 9, 9, 4), np.float32), np.ones(kernel_shape, np.float32)
    demands = r'algorithm="winograd" needs a 3x3 kernel, strides=1 and dilation_rate=1\. Use algorithm="auto"'
    with pytest.raises(ValueError, match=rf"^conv2d: {demands}"):
        fc.conv2d(x, kernel, algorithm="winograd", **options)
    y = fc.conv2d(x, kernel, **options)
    with pytest.raises(ValueError, match=rf"^conv2d_grad_input: {demands}"):
        fc.conv2d_grad_input(y, kernel, x.shape, algorithm="winograd", **options)
    with pytest.raises(ValueError, match=rf"^explain_conv2d: {demands}"):
        fc.explain_conv2d(x.shape, kernel.shape, algorithm="winograd", **options)
    with pytest.raises(ValueError, match=r"^conv2d_grad_kernel: algorithm=\"winograd\" needs conv2d or "):
        fc.conv2d_grad_kernel(x, y, kernel_shape[:2], algorithm="winograd", **options)


def test_grad_kernel_is_refused_with_the_reason():
    x, grad_output = np.ones((2, 9, 9, 4), np.float32), np.ones((2, 7, 7, 6), np.float32)
    reason = r'needs conv2d or conv2d_grad_input: .* sums over all pixels.* rounding errors\. Use algorithm="auto"'
    with pytest.raises(ValueError, match=rf'^conv2d_grad_kernel: algorithm="winograd" {reason}'):
        fc.conv2d_grad_kernel(x, grad_output, 3, algorithm="winograd")


# --- Inf and NaN ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_inf_or_a_nan_stays_in_the_tiles_that_read_it(value, dtype, m, isa, rng):
    x, kernel = normals(rng, (2, 13, 14, 5), dtype), normals(rng, (3, 3, 5, 9), dtype)
    clean = fc.conv2d(x, kernel, padding="same", algorithm="winograd")
    assert np.isfinite(clean).all()
    for row, col in ((0, 0), (4, 7), (8, 8), (12, 13)):
        spoilt = x.copy()
        spoilt[1, row, col, 2] = value
        y = fc.conv2d(spoilt, kernel, padding="same", algorithm="winograd")
        window = y[1, max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
        assert not np.isfinite(window).any()
        for i, j in np.ndindex(13, 14):
            tile_row, tile_col = i // m * m - 1, j // m * m - 1
            if not (tile_row <= row < tile_row + m + 2 and tile_col <= col < tile_col + m + 2):
                assert_same_bits(y[1, i, j], clean[1, i, j])
        assert_same_bits(y[0], clean[0])


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_an_inf_or_a_nan_in_the_kernel_stays_in_its_filter(value, m, isa, rng):
    x, kernel = normals(rng, (1, 9, 9, 5)), normals(rng, (3, 3, 5, 20))
    clean = fc.conv2d(x, kernel, padding="same", algorithm="winograd")
    kernel[1, 1, 2, 17] = value
    y = fc.conv2d(x, kernel, padding="same", algorithm="winograd")
    assert not np.isfinite(y[..., 17]).any()
    others = np.arange(20) != 17
    assert_same_bits(y[..., others], clean[..., others])


def test_bias_and_activation_see_a_nan(m, isa):
    x, kernel = np.zeros((1, 6, 6, 2), np.float32), np.zeros((3, 3, 2, 3), np.float32)
    bias = np.float32([1, np.nan, -1])
    y = fc.conv2d(x, kernel, bias, padding="same", activation="relu", algorithm="winograd")
    assert_exact(y, np.broadcast_to(np.float32([1, np.nan, 0]), y.shape))


def test_some_problems_were_tried():
    assert len(PROBLEMS) >= 50
    assert sum(problem.macs > 0 for problem in PROBLEMS) >= 45
