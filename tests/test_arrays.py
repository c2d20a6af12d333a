"""Which arrays are taken, and that how they lie in memory never shows in the answer."""

from __future__ import annotations

import numpy as np
import pytest
from operations import ARGUMENTS, OPERATIONS
from oracle import DTYPES, assert_exact, assert_same_bits, guarded_copy, integers, normals, poison
from problems import EXACT_ALGORITHMS

import fastconv as fc
from fastconv import ops
from fastconv._core import _runtime

WITH_OUT = [operation for operation in OPERATIONS if operation.takes_out]


def strided(array):
    """Every second, third, … cell of a larger array full of NaN."""
    steps = (2, 3, 2, 3)[: array.ndim]
    big = np.full(
        [size * step + 1 for size, step in zip(array.shape, steps, strict=True)], poison(array.dtype), array.dtype
    )
    view = big[tuple(slice(1, 1 + size * step, step) for size, step in zip(array.shape, steps, strict=True))]
    view[...] = array
    return view


def reversed_axes(array):
    flip = (slice(None, None, -1),) * array.ndim
    return array[flip].copy()[flip]


def first_axis_reversed(array):
    return array[::-1].copy()[::-1]


def axes_transposed(array):
    return np.ascontiguousarray(array.T).T


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def misaligned(array):
    return guarded_copy(array, offset=1).array


def misaligned_and_strided(array):
    view = guarded_copy(np.repeat(array, 2, axis=-1), offset=3).array[..., ::2]
    assert not view.flags.aligned or not view.size or view.itemsize == 1
    return view


def byte_swapped(array):
    return array.astype(array.dtype.newbyteorder())


def inner_axis_padded(array):
    big = np.full((*array.shape[:-1], array.shape[-1] + 3), poison(array.dtype), array.dtype)
    big[..., :-3] = array
    return big[..., :-3]


MEMORY_LAYOUTS = (
    strided,
    reversed_axes,
    first_axis_reversed,
    axes_transposed,
    np.asfortranarray,
    read_only,
    misaligned,
    misaligned_and_strided,
    byte_swapped,
    inner_axis_padded,
)


@pytest.mark.parametrize("laid_out", MEMORY_LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("operation", "name"), ARGUMENTS, ids=str)
def test_the_layout_does_not_show(operation, name, laid_out):
    for dtype in DTYPES:
        data = operation.arrays(dtype, normals)
        expected = operation.call(**data)
        assert expected.dtype == dtype
        view = laid_out(data[name])
        assert_exact(view, data[name])
        before = view.tobytes(), view.strides
        answer = operation.call(**{**data, name: view})
        assert_same_bits(answer, expected)
        assert (view.tobytes(), view.strides) == before, "an input was modified"


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_inputs_are_never_modified_nor_returned(operation):
    data = {name: guarded_copy(array) for name, array in operation.arrays(np.float32, normals).items()}
    kept = {name: guarded.array.copy() for name, guarded in data.items()}
    answer = operation.call(**{name: guarded.array for name, guarded in data.items()})
    assert answer.flags.c_contiguous
    assert answer.flags.writeable
    for name, guarded in data.items():
        guarded.check()
        assert_exact(guarded.array, kept[name])
        assert not np.shares_memory(answer, guarded.array)


@pytest.mark.parametrize(("operation", "name"), ARGUMENTS, ids=str)
def test_zero_strides(operation, name):
    # One cell seen everywhere: what np.broadcast_to gives.
    data = operation.arrays(np.float32)
    view = np.broadcast_to(np.float32(3), data[name].shape)
    expected = operation.call(**{**data, name: view.copy()})
    assert_same_bits(operation.call(**{**data, name: view}), expected)


@pytest.mark.parametrize(("operation", "name"), ARGUMENTS, ids=str)
def test_mixed_types_give_the_wider(operation, name):
    narrow, wide = operation.arrays(np.float32), operation.arrays(np.float64)
    answer = operation.call(**{**narrow, name: wide[name]})
    assert_exact(answer, operation.call(**wide), np.result_type(*{**narrow, name: wide[name]}.values()))


@pytest.mark.parametrize(
    "dtype", ["int8", "int32", "int64", "uint8", "bool", "float16", "complex64", "complex128", "O", "U3"]
)
@pytest.mark.parametrize(("operation", "name"), ARGUMENTS, ids=str)
def test_other_types_are_refused_with_advice(operation, name, dtype):
    data = operation.arrays(np.float32)
    data[name] = np.ones(data[name].shape).astype(dtype)
    function = operation.name.split("[")[0].split(" ")[0]
    received = data[name].dtype
    advice = r"astype\(\"float32\"\)" if received.kind in "biuf" else r"\.real" if received.kind == "c" else ""
    with pytest.raises(
        TypeError, match=rf"^{function}: {name} must be float32 or float64, received {received}.*{advice}"
    ):
        operation.call(**data)


def test_longdouble_is_refused():
    if np.dtype(np.longdouble) == np.dtype(np.float64):
        pytest.skip("long double is double here")
    with pytest.raises(TypeError, match="relu: x must be float32 or float64"):
        fc.relu(np.ones(3, np.longdouble))


@pytest.mark.parametrize("algorithm", ["auto", *EXACT_ALGORITHMS])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_images(dtype, data_format, algorithm):
    channels_last = data_format == "channels_last"
    x = np.empty((0, 8, 9, 4) if channels_last else (0, 4, 8, 9), dtype)
    y_shape = (0, 6, 7, 6) if channels_last else (0, 6, 6, 7)
    kernel = np.ones((3, 3, 4, 6), dtype)
    options = {"data_format": data_format, "algorithm": algorithm}
    assert_exact(fc.conv2d(x, kernel, np.ones(6, dtype), **options), np.empty(y_shape), dtype)
    grad_output = np.empty(y_shape, dtype)
    assert_exact(fc.conv2d_grad_input(grad_output, kernel, x.shape, **options), x, dtype)
    assert_exact(fc.conv2d_grad_kernel(x, grad_output, 3, **options), np.zeros((3, 3, 4, 6)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_images_elsewhere(dtype):
    x, pooled = np.empty((0, 8, 9, 4), dtype), np.empty((0, 4, 4, 4), dtype)
    y, indices = fc.max_pool2d(x, return_indices=True)
    assert_exact(y, pooled, dtype)
    assert_exact(indices, pooled)
    assert_exact(fc.max_pool2d_grad(y, indices, x.shape), x, dtype)
    assert_exact(fc.avg_pool2d(x), pooled, dtype)
    assert_exact(fc.avg_pool2d_grad(pooled, x.shape), x, dtype)
    assert_exact(fc.im2col(x, 3), np.empty((0, 36)), dtype)
    assert_exact(fc.col2im(np.empty((0, 36), dtype), x.shape, 3), x, dtype)
    assert_exact(fc.relu(x), x, dtype)
    assert_exact(fc.softmax(x), x, dtype)
    assert_exact(ops.dense(np.empty((0, 3), dtype), np.ones((3, 5), dtype)), np.empty((0, 5)), dtype)
    assert_exact(ops.dense_grad_kernel(np.empty((0, 3), dtype), np.empty((0, 5), dtype)), np.zeros((3, 5)), dtype)
    assert_exact(ops.bias_grad(x), np.zeros(4), dtype)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("algorithm", ["auto", *EXACT_ALGORITHMS])
@pytest.mark.parametrize("padding", ["valid", "same", 2])
def test_an_axis_of_length_zero_is_refused(axis, padding, algorithm):
    # Never a division by zero, never a number out of nothing. Only a batch may be empty.
    x, kernel = np.ones((2, 4, 4, 3), np.float32), np.ones((2, 2, 3, 5), np.float32)
    empty = [slice(0 if i == axis else None) for i in range(4)]
    with pytest.raises(ValueError, match=r"^conv2d: "):
        fc.conv2d(x, kernel[tuple(empty)], padding=padding, algorithm=algorithm)
    if axis == 0:
        assert len(fc.conv2d(x[:0], kernel, padding=padding, algorithm=algorithm)) == 0
        return
    kernel = kernel[:, :, :0] if axis == 3 else kernel
    with pytest.raises(ValueError, match=r"^conv2d: "):
        fc.conv2d(x[tuple(empty)], kernel, padding=padding, algorithm=algorithm)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("pool", [fc.max_pool2d, fc.avg_pool2d], ids=lambda f: f.__name__)
def test_an_image_without_cells_cannot_be_pooled(pool, axis):
    x = np.ones([0 if i == axis else 4 for i in range(4)], np.float32)
    with pytest.raises(ValueError, match=rf"^{pool.__name__}: "):
        pool(x, padding="same")


class OnlyArray:
    """Has ``__array__`` and nothing else."""

    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return self._array if dtype is None else self._array.astype(dtype)


class OnlyDlpack:
    """Has ``__dlpack__`` and nothing else, as a tensor of another library."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("wrap", [OnlyArray, OnlyDlpack, memoryview, np.ndarray.tolist], ids=lambda f: f.__name__)
def test_what_is_not_an_array_but_holds_one(wrap, rng):
    x, kernel = normals(rng, (2, 5, 5, 3), np.float64), normals(rng, (3, 3, 3, 4), np.float64)
    expected = fc.conv2d(x, kernel)
    assert_same_bits(fc.conv2d(wrap(x), wrap(kernel)), expected)
    assert type(fc.conv2d(wrap(x), wrap(kernel))) is np.ndarray


@pytest.mark.parametrize(("operation", "name"), ARGUMENTS, ids=str)
def test_memory_map(operation, name, tmp_path):
    data = operation.arrays(np.float32, normals)
    np.save(tmp_path / "array.npy", data[name])
    expected = operation.call(**data)
    for mode in ("r", "c"):
        mapped = np.load(tmp_path / "array.npy", mmap_mode=mode)
        answer = operation.call(**{**data, name: mapped})
        assert type(answer) is np.ndarray
        assert_same_bits(answer, expected)


@pytest.mark.parametrize("operation", WITH_OUT, ids=str)
def test_memory_map_as_out(operation, tmp_path):
    data = operation.arrays(np.float32, normals)
    expected = operation.call(**data)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float32, expected.shape)
    operation.call(**data, out=out)
    out.flush()
    assert_same_bits(np.load(tmp_path / "out.npy"), expected)


@pytest.mark.parametrize("wrap", [OnlyArray, OnlyDlpack, memoryview], ids=lambda f: f.__name__)
@pytest.mark.parametrize(("operation", "name"), ARGUMENTS, ids=str)
def test_every_argument_may_be_what_holds_an_array(operation, name, wrap):
    data = operation.arrays(np.float64, normals)
    assert_same_bits(operation.call(**{**data, name: wrap(data[name])}), operation.call(**data))


@pytest.mark.parametrize("wrap", [OnlyArray, OnlyDlpack, memoryview, np.ndarray.tolist], ids=lambda f: f.__name__)
@pytest.mark.parametrize("laid_out", [*MEMORY_LAYOUTS, None], ids=lambda f: getattr(f, "__name__", "as they came"))
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_pooling_indices(data_format, laid_out, wrap, rng):
    x, options = normals(rng, (2, 5, 6, 4)), {"pool_size": 2, "padding": "same", "data_format": data_format}
    y, indices = fc.max_pool2d(x, return_indices=True, **options)
    expected = fc.max_pool2d_grad(y, indices, x.shape, **options)
    for dtype in (np.int32, np.int64):
        typed = indices.astype(dtype)
        given = typed if laid_out is None else laid_out(typed)
        assert_same_bits(fc.max_pool2d_grad(y, given, x.shape, **options), expected)
        assert_exact(given, indices)
        assert_same_bits(fc.max_pool2d_grad(y, wrap(typed), x.shape, **options), expected)


@pytest.mark.parametrize("dtype", ["int16", "uint32", "uint64", "bool", "float32", "O"])
def test_pooling_indices_of_other_types_are_refused(dtype):
    y = np.ones((1, 2, 2, 1), np.float32)
    received = np.dtype(dtype)
    with pytest.raises(TypeError, match=rf"^max_pool2d_grad: indices must be int32 or int64, .* received {received}"):
        fc.max_pool2d_grad(y, np.zeros(y.shape, dtype), (1, 4, 4, 1))


class BrokenDlpack:
    """As a tensor on a GPU answers, or one of a type that NumPy does not have."""

    def __init__(self, error):
        self.error = error

    def __dlpack__(self, **options):
        raise self.error

    def __dlpack_device__(self):
        return (2, 0) if isinstance(self.error, BufferError) else (1, 0)


@pytest.mark.parametrize("error", [BufferError("on a GPU"), RuntimeError("bfloat16"), ValueError("no")], ids=repr)
@pytest.mark.parametrize(("operation", "name"), ARGUMENTS, ids=str)
def test_a_tensor_that_cannot_be_read(operation, name, error):
    data = {**operation.arrays(np.float32), name: BrokenDlpack(error)}
    function = operation.name.split("[")[0].split(" ")[0]
    with pytest.raises(
        TypeError, match=rf"^{function}: {name} must be an array, received BrokenDlpack \(.*Move it to the CPU"
    ) as caught:
        operation.call(**data)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("mask", [False, True, None], ids=["nothing masked", "all masked", "a cell masked"])
@pytest.mark.parametrize(("operation", "name"), ARGUMENTS, ids=str)
def test_a_masked_array_is_refused(operation, name, mask):
    # Its masked cells hold anything. Whether to take them as zeros, say, is the user's to choose.
    data = operation.arrays(np.float32)
    masked = np.ma.array(data[name], mask=np.arange(data[name].size).reshape(data[name].shape) == 0)
    if mask is not None:
        masked.mask = mask
    function = operation.name.split("[")[0].split(" ")[0]
    with pytest.raises(TypeError, match=rf"^{function}: {name} is a masked array, .*{name}\.filled\(0\).*\.data"):
        operation.call(**{**data, name: masked})
    operation.call(**{**data, name: masked.filled(0)})


def test_advice_for_a_list_is_not_a_method_of_arrays():
    with pytest.raises(TypeError, match=r'relu: x must be .* received int64\. .*numpy\.asarray\(x, "float32"\)'):
        fc.relu([1, 2, 3])
    with pytest.raises(TypeError, match=r'correlate2d: in1 must be .* float16\. .*numpy\.asarray\(in1, "float32"\)'):
        fc.correlate2d(memoryview(np.ones((2, 2), np.float16)), np.ones((1, 1)))


def test_a_subclass_gives_a_plain_array(rng):
    class Labelled(np.ndarray):
        pass

    x, kernel = normals(rng, (2, 5, 5, 3)).view(Labelled), normals(rng, (3, 3, 3, 4))
    assert type(fc.conv2d(x, kernel)) is np.ndarray


# out=


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", WITH_OUT, ids=str)
def test_out_is_filled_and_returned(operation, dtype):
    data = operation.arrays(dtype)
    expected = operation.call(**data)
    out = np.full(expected.shape, np.nan, dtype)
    assert operation.call(**data, out=out) is out
    assert_same_bits(out, expected)


@pytest.mark.parametrize("operation", WITH_OUT, ids=str)
def test_out_of_the_wrong_kind_is_refused(operation):
    data = operation.arrays(np.float32)
    right = operation.call(**data)
    function = operation.name.split("[")[0]
    frozen = right.copy()
    frozen.flags.writeable = False
    wrong = [
        right.astype(np.float64),
        right.astype(np.int32),
        right[:1],
        right[..., None],
        frozen,
        right.astype(right.dtype.newbyteorder()),
    ]
    for out in wrong:
        kept = out.copy()
        with pytest.raises(ValueError, match=rf"^{function}: out"):
            operation.call(**data, out=out)
        assert_exact(out, kept)
    with pytest.raises(TypeError, match=rf"^{function}: out"):
        operation.call(**data, out=right.tolist())


@pytest.mark.parametrize("algorithm", ["auto", *EXACT_ALGORITHMS])
def test_out_that_overlaps_an_input_is_refused(algorithm, rng):
    x, kernel = normals(rng, (2, 4, 4, 3)), normals(rng, (1, 1, 3, 3))
    both = np.zeros(2 * x.size - 1, np.float32)
    half = both[: x.size].reshape(x.shape)
    shifted = both[x.size - 1 :].reshape(x.shape)
    for image, out in ((x, x), (x[::-1], x), (half, shifted)):
        with pytest.raises(ValueError, match=r"^conv2d: out .*(overlap|memory)"):
            fc.conv2d(image, kernel, algorithm=algorithm, out=out)
    square = normals(rng, (1, 1, 3, 3))
    with pytest.raises(ValueError, match=r"^conv2d: out .*(overlap|memory)"):
        fc.conv2d(normals(rng, (1, 1, 1, 3)), square, out=square[:, :, :1], algorithm=algorithm)
    bias = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"^conv2d: out .*(overlap|memory)"):
        fc.conv2d(normals(rng, (1, 1, 1, 3)), square, bias, out=bias.reshape(1, 1, 1, 3), algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ["auto", *EXACT_ALGORITHMS])
def test_out_beside_an_input_is_fine(algorithm, rng):
    # The two halves of one buffer do not overlap, nor do interleaved channels.
    kernel = integers(rng, (1, 1, 3, 3))
    both = np.full((2, 2, 4, 4, 3), np.nan, np.float32)
    both[0] = integers(rng, (2, 4, 4, 3))
    assert_exact(fc.conv2d(both[0], kernel, out=both[1], algorithm=algorithm), fc.conv2d(both[0].copy(), kernel))


@pytest.mark.parametrize("operation", WITH_OUT, ids=str)
def test_out_whose_cells_share_memory_is_refused(operation):
    # Which of two results the cell would keep is chance: a broadcast view, and windows that overlap.
    data = operation.arrays(np.float32)
    shape = operation.call(**data).shape
    row = np.zeros(shape[-1] + 64, np.float32)
    function = operation.name.split("[")[0]
    overlapping = np.lib.stride_tricks.as_strided(row, shape, (*(4,) * (len(shape) - 1), 4))
    for out in (np.lib.stride_tricks.as_strided(row, shape, (*(0,) * (len(shape) - 1), 4)), overlapping):
        assert out.flags.writeable
        with pytest.raises(ValueError, match=rf"^{function}: cells of out share memory with each other \(strides \("):
            operation.call(**data, out=out)
    assert_exact(row, np.zeros_like(row))


def test_indices_out(rng):
    x = normals(rng, (2, 4, 4, 3))
    indices = fc.max_pool2d(x, return_indices=True)[1]
    options = {"return_indices": True}
    found = np.full_like(indices, -1)
    assert fc.max_pool2d(x, **options, indices_out=found)[1] is found
    assert_exact(found, indices)
    kept = found.copy()
    wrong = (found.astype(np.int64), found[:1], x.view(np.int32)[:, :2, :2])
    for array, message in zip(wrong, ("must have shape", "must have shape", "overlaps an input"), strict=True):
        with pytest.raises(ValueError, match=rf"^max_pool2d: indices_out {message}"):
            fc.max_pool2d(x, **options, indices_out=array)
    both = np.zeros((2, 2, 2, 3), np.float32)
    for out, indices_out in ((both, both.view(np.int32)), (both, both[::-1].view(np.int32))):
        with pytest.raises(ValueError, match=r"^max_pool2d: indices_out overlaps out; give each memory"):
            fc.max_pool2d(x, **options, out=out, indices_out=indices_out)
    assert_exact(both, np.zeros_like(both))
    assert_exact(found, kept)


@pytest.mark.parametrize("algorithm", ["auto", *EXACT_ALGORITHMS])
@pytest.mark.parametrize("laid_out", [strided, reversed_axes, axes_transposed, misaligned], ids=lambda f: f.__name__)
def test_out_may_lie_in_memory_as_it_likes(laid_out, algorithm, rng):
    x, kernel = integers(rng, (2, 5, 5, 3)), integers(rng, (3, 3, 3, 4))
    expected = fc.conv2d(x, kernel)
    out = laid_out(np.full(expected.shape, np.nan, np.float32))
    assert fc.conv2d(x, kernel, algorithm=algorithm, out=out) is out
    assert_exact(out, expected)


@pytest.mark.parametrize(
    ("case", "own"),
    [
        (lambda m: (m[:8], (m[8:16], None, m[16:])), True),
        (lambda m: (m[8:16], (m[:8], m[16:])), True),
        (lambda m: (m[:8], (m[7:16],)), False),
        (lambda m: (m[7:16], (m[:8],)), False),
        (lambda m: (m, (m[3:4],)), False),
        (lambda m: (m[3:4], (m,)), False),
        (lambda m: (m[:0], (m,)), True),
        (lambda m: (m[:8:2], (m[16:],)), False),
        (lambda m: (m[7::-1], (m[16:],)), False),
        (lambda m: (m[:8], (m[16::2],)), False),
        (lambda m: (m[:16].reshape(4, 4).T, ()), False),
        (lambda m: (read_only(m[:8]), (m[16:],)), False),
        (lambda m: (m.view("u1")[1:33].view("f4"), (m[16:],)), False),
    ],
)
def test_own_memory_is_plain_and_apart(case, own):
    out, others = case(np.zeros(24, "float32"))
    assert _runtime.is_own_memory(out, out.itemsize, others) is own


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("lie", [np.array, reversed_axes, strided, axes_transposed, read_only, misaligned])
def test_large_results_start_on_a_cache_line_elsewhere_in_their_page_than_the_input(lie):
    rng = np.random.default_rng(1)
    x, kernel = lie(normals(rng, (2, 64, 64, 4))), normals(rng, (1, 1, 4, 8))
    for y in (fc.conv2d(x, kernel), fc.max_pool2d(x, 1), fc.relu(x)):
        assert y.size >= 1 << 14
        assert y.ctypes.data % _runtime.CACHE_LINE == 0
        assert 256 <= (y.ctypes.data - x.ctypes.data) % 4096 < 256 + _runtime.CACHE_LINE
        assert y.flags.c_contiguous
        assert y.flags.writeable
