"""convolve2d and correlate2d, equal to the naive loops and to SciPy, with every mode and boundary."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
from oracle import (
    DTYPES,
    assert_exact,
    assert_same_bits,
    assert_within,
    gamma,
    guarded_copy,
    integers,
    normals,
    spoil_free_memory,
)
from test_arrays import MEMORY_LAYOUTS

import fastconv as fc
from fastconv import reference

signal = pytest.importorskip("scipy.signal", reason="SciPy judges beside the naive loops")

# Inf and NaN are values here, not accidents: no operation warns of them.
pytestmark = pytest.mark.filterwarnings("error")

NAMES = ("convolve2d", "correlate2d")
MODES = ("full", "same", "valid")
# (boundary, fillvalue)
BORDERS = (("fill", 0), ("fill", -3), ("wrap", 0), ("symm", 0))
OPTIONS = tuple(product(NAMES, MODES, BORDERS))

# (image, kernel): sizes one beside the tile's rows and the vectors' lanes, kernels larger than the image in one or both
# directions, even and odd, images of several channels.
SHAPES = (
    ((1, 1), (1, 1)),
    ((1, 1), (3, 4)),
    ((1, 9), (1, 1)),
    ((9, 1), (4, 1)),
    ((1, 40), (1, 5)),
    ((3, 3), (3, 3)),
    ((5, 4), (2, 2)),
    ((4, 5), (3, 2)),
    ((5, 6), (4, 6)),
    ((6, 7), (5, 1)),
    ((4, 4), (7, 7)),
    ((3, 5), (8, 2)),
    ((5, 3), (2, 8)),
    ((2, 3), (5, 9)),
    ((7, 15), (3, 3)),
    ((6, 16), (3, 3)),
    ((8, 17), (2, 3)),
    ((13, 33), (6, 3)),
    ((12, 64), (7, 4)),
    ((5, 65), (3, 5)),
    ((3, 129), (2, 2)),
    ((2, 200), (3, 3)),
    ((4, 5, 1), (3, 2)),
    ((5, 6, 3), (3, 3)),
    ((2, 3, 2), (4, 5)),
    ((3, 4, 17), (2, 3)),
    ((4, 3, 70), (3, 5)),
)


def shape_name(shapes):
    return " ".join("x".join(map(str, shape)) for shape in shapes)


def random_shapes(seed, count):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        image = tuple(int(size) for size in rng.integers(1, rng.choice((4, 12, 30)), 2))
        channels = (int(rng.choice((1, 2, 3, 5, 9))),) if rng.integers(3) == 0 else ()
        kernel = tuple(int(size) for size in rng.integers(1, rng.choice((4, 7, 11)), 2))
        found.append((image + channels, kernel))
    return tuple(found)


ALL_SHAPES = SHAPES + random_shapes(seed=30, count=50)


def data(shapes, dtype=np.float64, make=integers):
    """Image and kernel, the same for every call."""
    rng = np.random.default_rng(sum(shapes, ()))
    return tuple(make(rng, shape, dtype) for shape in shapes)


def runs(shapes, mode):
    """Whether "valid" can run: one holds the other."""
    (h, w, *_), (kh, kw) = shapes
    return mode != "valid" or (h >= kh and w >= kw) or (h <= kh and w <= kw)


def by_scipy(name, image, kernel, *options):
    """SciPy's answer, channel by channel."""
    function = getattr(signal, name)
    if image.ndim == 2:
        return function(image, kernel, *options)
    return np.stack([function(image[:, :, c], kernel, *options) for c in range(image.shape[2])], axis=2)


@pytest.mark.parametrize("shapes", ALL_SHAPES, ids=shape_name)
def test_equal_to_scipy_on_every_instruction_set(shapes, isa):
    fc.set_num_threads(3)
    image, kernel = data(shapes)
    for (name, mode, border), dtype in product(OPTIONS, DTYPES):
        if not runs(shapes, mode):
            continue
        expected = by_scipy(name, image, kernel, mode, *border)
        in1, in2 = guarded_copy(image.astype(dtype)), guarded_copy(kernel.astype(dtype))
        spoil_free_memory(expected.size * 8)
        y = getattr(fc, name)(in1.array, in2.array, mode, *border)
        assert_exact(y, expected, dtype, f"{name} {mode} {border}")
        assert y.flags.c_contiguous
        assert y.flags.writeable
        for guarded, original in ((in1, image), (in2, kernel)):
            guarded.check()
            assert_exact(guarded.array, original)


@pytest.mark.parametrize("shapes", [s for s in ALL_SHAPES if np.prod(s[0]) * np.prod(s[1]) <= 2500], ids=shape_name)
def test_the_reference_is_equal_to_scipy(shapes):
    image, kernel = data(shapes)
    for name, mode, border in OPTIONS:
        if runs(shapes, mode):
            expected = by_scipy(name, image, kernel, mode, *border)
            y = getattr(reference, name)(image, kernel, mode, *border)
            assert_exact(y, expected, np.float64, f"{name} {mode} {border}")
            assert_exact(getattr(fc, name)(image, kernel, mode, *border), y, np.float64)


def test_by_hand():
    row, kernel = np.array([[1.0, 2, 3]]), np.array([[1.0, 10]])
    assert_exact(fc.convolve2d(row, kernel), [[1, 12, 23, 30]])
    assert_exact(fc.convolve2d(row, kernel, "same"), [[1, 12, 23]])
    assert_exact(fc.convolve2d(row, kernel, "valid"), [[12, 23]])
    assert_exact(fc.convolve2d(row, kernel, "same", "wrap"), [[31, 12, 23]])
    assert_exact(fc.convolve2d(row, kernel, "same", "symm"), [[11, 12, 23]])
    assert_exact(fc.convolve2d(row, kernel, fillvalue=5), [[51, 12, 23, 35]])
    assert_exact(fc.correlate2d(row, kernel), [[10, 21, 32, 3]])
    assert_exact(fc.correlate2d(kernel, row, "valid"), [[32, 21]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "mode", "border"), OPTIONS)
def test_floats_within_highams_bound(name, mode, border, dtype):
    for shapes in (((23, 41), (7, 6)), ((9, 8, 3), (3, 5)), ((4, 5), (9, 9))):
        image, kernel = data(shapes, dtype, normals)
        wide = image.astype(np.float64), kernel.astype(np.float64)
        magnitude = by_scipy(name, np.abs(wide[0]), np.abs(wide[1]), mode, border[0], abs(border[1]))
        bound = gamma(kernel.size + 1, dtype) * magnitude
        assert_within(getattr(fc, name)(image, kernel, mode, *border), by_scipy(name, *wide, mode, *border), bound)


LARGE = (
    ((301, 407), (3, 3)),
    ((150, 210, 3), (5, 4)),
    ((90, 100), (31, 30)),
    ((2, 90_001), (3, 5)),
    ((20_001, 3), (6, 2)),
    ((1, 300_000), (1, 9)),
    ((20, 21), (70, 80)),
)


@pytest.mark.parametrize("shapes", LARGE, ids=shape_name)
def test_work_for_every_thread(shapes, isa):
    # Also rows of several blocks, and kernels beyond the image. SciPy's answers on whole numbers are exact.
    image, kernel = data(shapes)
    borders = BORDERS if np.prod(shapes[0]) * np.prod(shapes[1]) < 2e6 else BORDERS[1::2]
    for name, mode, border in product(NAMES, ("full", "same"), borders):
        expected = by_scipy(name, image, kernel, mode, *border)
        for threads in (1, 2, 3):
            fc.set_num_threads(threads)
            y = getattr(fc, name)(image.astype(np.float32), kernel.astype(np.float32), mode, *border)
            assert_exact(y, expected, np.float32, f"{name} {mode} {border} {threads} threads")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", LARGE, ids=shape_name)
def test_same_bits_on_any_number_of_threads(shapes, dtype, isa):
    image, kernel = data(shapes, dtype, normals)
    for name, mode, border in product(NAMES, ("full", "same"), BORDERS[::2]):
        answers = []
        for threads in (1, 2, 3, 5, 1):
            fc.set_num_threads(threads)
            answers.append(getattr(fc, name)(image, kernel, mode, *border))
        for answer in answers:
            assert_same_bits(answer, answers[0], f"{name} {mode} {border}")


def test_a_channel_is_filtered_as_it_is_alone(isa):
    image, kernel = data(((40, 51, 5), (5, 6)), np.float32, normals)
    for name, mode, border in OPTIONS:
        together = getattr(fc, name)(image, kernel, mode, *border)
        for c in range(5):
            assert_same_bits(together[:, :, c].copy(), getattr(fc, name)(image[:, :, c], kernel, mode, *border))


def test_eight_python_threads_on_shared_inputs():
    image, kernel = data(((120, 130), (9, 9)), np.float32, normals)
    expected = fc.convolve2d(image, kernel, "same", "symm")
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: fc.convolve2d(image, kernel, "same", "symm"), range(40)):
            assert_same_bits(answer, expected)


SPECIAL = (np.nan, np.inf, -np.inf)


@pytest.mark.parametrize("spoilt", [0, 1], ids=["image", "kernel"])
@pytest.mark.parametrize("shapes", SHAPES, ids=shape_name)
def test_nan_and_inf_reach_the_windows_that_hold_them(shapes, spoilt, isa, rng):
    # Neither zeros of the padding nor empty lanes may be multiplied by them: the naive loops are the judge.
    if np.prod(shapes[0]) * np.prod(shapes[1]) > 3000:
        pytest.skip("too slow for the naive loops")
    arrays = list(data(shapes))
    arrays[spoilt].ravel()[rng.integers(arrays[spoilt].size, size=2)] = rng.choice(SPECIAL, 2)
    for (name, mode, border), dtype in product(OPTIONS, DTYPES):
        if not runs(shapes, mode):
            continue
        expected = getattr(reference, name)(*arrays, mode, *border)
        y = getattr(fc, name)(*(array.astype(dtype) for array in arrays), mode, *border)
        assert_exact(y, expected, dtype, f"{name} {mode} {border}")


@pytest.mark.parametrize("value", SPECIAL)
def test_one_cell_reaches_its_windows_and_no_other(value, isa):
    kernel = np.ones((3, 3), np.float32)
    for row, col in product(range(9), range(35)):
        image = np.ones((9, 35), np.float32)
        image[row, col] = value
        touched = np.zeros((9, 35), bool)
        touched[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2] = True
        y = fc.convolve2d(image, kernel, "same")
        assert_exact(~np.isfinite(y), touched)
        assert_exact(y[touched], np.full(touched.sum(), value, np.float32))


@pytest.mark.parametrize("fillvalue", SPECIAL)
def test_a_fill_value_is_a_cell_like_any(fillvalue, isa):
    image, kernel = np.ones((5, 40), np.float32), np.ones((3, 5), np.float32)
    y = fc.convolve2d(image, kernel, fillvalue=fillvalue)
    inside = np.zeros(y.shape, bool)
    inside[2:-2, 4:-4] = True
    assert (y[inside] == 15).all()
    assert_exact(y[~inside], np.full((~inside).sum(), fillvalue, np.float32))


def test_padding_never_turns_inf_into_nan(isa):
    # SciPy multiplies an Inf of the kernel by the zeros beside the image.
    image, kernel = np.full((20, 37), np.inf, np.float32), np.ones((5, 4), np.float32)
    for mode in ("full", "same"):
        assert (fc.convolve2d(image, kernel, mode) == np.inf).all()
        assert (fc.convolve2d(np.ones_like(image), kernel * np.inf, mode) == np.inf).all()
        assert (fc.correlate2d(kernel * np.inf, np.ones_like(image), mode) == np.inf).all()


def test_overflow_is_infinite(isa):
    image = np.full((4, 30), np.finfo(np.float32).max, np.float32)
    assert (fc.convolve2d(image, np.full((2, 2), -2, np.float32)) == -np.inf).all()
    assert (fc.convolve2d(image * 0, np.ones((3, 3), np.float32), fillvalue=1e300)[0] == np.inf).all()


@pytest.mark.parametrize("laid_out", MEMORY_LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_layout_does_not_show(laid_out, dtype):
    for shapes, (name, mode) in product((((19, 23), (5, 4)), ((7, 8, 3), (2, 3))), product(NAMES, MODES)):
        image, kernel = data(shapes, dtype, normals)
        expected = getattr(fc, name)(image, kernel, mode, "symm")
        for in1, in2 in ((laid_out(image), kernel), (image, laid_out(kernel)), (laid_out(image), laid_out(kernel))):
            before = in1.tobytes(), in2.tobytes()
            assert_same_bits(getattr(fc, name)(in1, in2, mode, "symm"), expected)
            assert (in1.tobytes(), in2.tobytes()) == before, "an input was modified"


def test_zero_strides():
    image, kernel = np.broadcast_to(np.float32(3), (9, 20)), np.broadcast_to(np.float32(2), (3, 3))
    assert_exact(fc.convolve2d(image, kernel), fc.convolve2d(image.copy(), kernel.copy()))


INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@pytest.mark.parametrize("first", [*INTEGERS, "float32", "float64"])
def test_the_type_of_the_answer(first):
    image, kernel = data(((6, 7), (3, 2)), np.int64)
    image, kernel = abs(image), abs(kernel)
    for second in (*INTEGERS, "float32", "float64"):
        in1, in2 = image.astype(first), kernel.astype(second)
        dtype = np.result_type(in1, in2)
        dtype = dtype if dtype.kind == "f" and dtype.itemsize >= 4 else np.dtype(np.float64)
        expected = signal.convolve2d(in1.astype(np.float64), in2.astype(np.float64))
        assert_exact(fc.convolve2d(in1, in2), expected, dtype)


def test_what_is_no_array_is_made_one():
    expected = signal.convolve2d([[1.0, 2], [3, 4]], [[1.0, -1]])
    assert_exact(fc.convolve2d([[1, 2], [3, 4]], [[1, -1]]), expected, np.float64)
    assert_exact(fc.convolve2d(memoryview(np.array([[1.0, 2], [3, 4]])), ((1, -1),)), expected, np.float64)


@pytest.mark.parametrize("fillvalue", [2, 2.0, True, np.float32(2), np.int8(2), np.array(2), np.array([2]), [2]])
def test_fill_values(fillvalue):
    image, kernel = data(((4, 5), (3, 3)))
    assert_exact(
        fc.convolve2d(image, kernel, fillvalue=fillvalue), signal.convolve2d(image, kernel, fillvalue=fillvalue)
    )


def test_scipys_longer_names_of_the_boundaries():
    image, kernel = data(((4, 5), (3, 3)))
    for long, short in (("circular", "wrap"), ("symmetric", "symm")):
        assert_exact(fc.convolve2d(image, kernel, boundary=long), fc.convolve2d(image, kernel, boundary=short))


@pytest.mark.parametrize("name", NAMES)
class TestErrors:
    IMAGE, KERNEL = np.ones((4, 5), np.float32), np.ones((3, 2), np.float32)

    @pytest.mark.parametrize("dtype", ["complex64", "complex128", "float16", "longdouble", "O", "U3", "M8[s]"])
    def test_types(self, name, dtype):
        if np.dtype(dtype) == np.float64:
            pytest.skip("long double is double here")
        wrong = np.ones((3, 3)).astype(np.int64).astype(dtype)
        received = wrong.dtype
        advice = {"c": r"\.real, in\d\.imag", "f": r'astype\("float32"\)'}.get(received.kind, "")
        for which, arrays in (("in1", (wrong, self.KERNEL)), ("in2", (self.IMAGE, wrong))):
            expected = rf"^{name}: {which} must be integers, bool, float32 or float64, received "
            with pytest.raises(TypeError, match=expected + rf"{received}.*{advice}".replace("[", r"\[")):
                getattr(fc, name)(*arrays)

    @pytest.mark.parametrize("fillvalue", [1j, "0", None, [1, 2], np.ones(2), np.array([]), object()])
    def test_fill_value(self, name, fillvalue):
        with pytest.raises(TypeError, match=rf"^{name}: fillvalue must be a real number, received "):
            getattr(fc, name)(self.IMAGE, self.KERNEL, fillvalue=fillvalue)

    @pytest.mark.parametrize("mode", ["VALID", "", None, 1, ["same"]])
    def test_mode(self, name, mode):
        with pytest.raises(ValueError, match=rf"^{name}: mode must be one of 'full', 'same', 'valid', received "):
            getattr(fc, name)(self.IMAGE, self.KERNEL, mode)

    @pytest.mark.parametrize("boundary", ["reflect", "", None, 0, ["fill"]])
    def test_boundary(self, name, boundary):
        with pytest.raises(ValueError, match=rf"^{name}: boundary must be one of 'fill', 'wrap', .*, received "):
            getattr(fc, name)(self.IMAGE, self.KERNEL, "same", boundary)

    @pytest.mark.parametrize("shapes", [((4,), (3, 3)), ((4, 4), (3,)), ((2, 4, 4, 1), (3, 3)), ((4, 4), (3, 3, 1))])
    def test_axes(self, name, shapes):
        expected = rf"^{name}: in1 must have shape \(h, w\) or \(h, w, channels\) and in2 \(kh, kw\), received shapes "
        with pytest.raises(ValueError, match=expected):
            getattr(fc, name)(np.ones(shapes[0]), np.ones(shapes[1]))

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("shapes", [((0, 4), (3, 3)), ((4, 4), (3, 0)), ((4, 4, 0), (3, 3)), ((0, 0), (0, 0))])
    def test_an_axis_of_length_zero(self, name, shapes, mode):
        with pytest.raises(ValueError, match=rf"^{name}: no axis may have length 0, received shapes "):
            getattr(fc, name)(np.ones(shapes[0]), np.ones(shapes[1]), mode)

    def test_valid_needs_one_that_holds_the_other(self, name):
        with pytest.raises(ValueError, match=rf'^{name}: mode="valid" needs one array at least as large .*"same"'):
            getattr(fc, name)(np.ones((3, 5)), np.ones((5, 3)), "valid")


def test_memory_is_a_slab_not_a_copy():
    # The image alone is 64 MB; beside the answer a call takes a few hundred kilobytes.
    tracker = pytest.importorskip("resource", reason="needs POSIX").getrusage
    image, kernel = np.ones((4096, 4096), np.float32), np.ones((3, 3), np.float32)
    fc.set_num_threads(2)
    fc.convolve2d(image[:64], kernel, "same", "symm")
    before = tracker(0).ru_maxrss
    y = fc.convolve2d(image, kernel, "same", "symm")
    grown = (tracker(0).ru_maxrss - before) * 1024
    assert (y == 9).all()
    assert grown < y.nbytes + 24e6
