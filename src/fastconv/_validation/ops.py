"""Checks and errors of the functional API: arrays, options, shapes that must go together."""

from __future__ import annotations

import math
import operator
import sys
from typing import Any

import numpy as np

from .._shapes import Pads, Pair

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
FLOATS = (FLOAT32, FLOAT64)
INDICES = (np.dtype(np.int32), np.dtype(np.int64))
DATA_FORMATS = ("channels_last", "channels_first")
# Above this a size, a product of sizes or an offset no longer fits the kernels' signed 64-bit arithmetic.
MAX_SIZE = 2**63 - 1


def shown(value: Any) -> str:
    """``repr(value)``, no longer than a message can bear, whatever the object is."""
    try:
        text = repr(value)
    except Exception:
        text = f"<a {type(value).__name__} that cannot be shown>"
    return text if len(text) <= 200 else f"{text[:150]} … {text[-30:]}"


def as_index(where: str, name: str, value: Any) -> int:
    """``value`` as a Python int; bools, floats and strings are refused."""
    if type(value) is int:
        return value
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{where}: {name} must be an integer, received {shown(value)} of type bool.")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{where}: {name} must be an integer, received {shown(value)} of type {type(value).__name__}."
        ) from None


def key_error(where: str, key: int) -> ValueError:
    """The error for a key of random numbers beyond 64 bits."""
    return ValueError(f"{where}: key must be from 0 to 2**64 - 1, received {shown(key)}.")


def as_number(
    where: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf, *, open_low: bool = False
) -> float:
    """``value`` as a finite float within [low, high], or (low, high] with ``open_low``."""
    try:
        if isinstance(value, (bool, np.bool_, str, bytes)) or not hasattr(value, "__float__"):
            raise TypeError
        number = float(value)
    except OverflowError:  # an int beyond all floats
        number = math.inf
    except TypeError:  # an array, say: it has __float__, and refuses
        raise TypeError(
            f"{where}: {name} must be a number, received {shown(value)} of type {type(value).__name__}."
        ) from None
    if not (low <= number <= high) or (open_low and number == low) or not math.isfinite(number):
        bounds = f"{'above' if open_low else 'at least'} {low:g}" if low > -math.inf else "finite"
        bounds += f" and at most {high:g}" if high < math.inf else " and finite" if low > -math.inf else ""
        raise ValueError(f"{where}: {name} must be {bounds}, received {shown(value)}.")
    return number


def as_pair(where: str, name: str, value: Any, minimum: int = 1) -> Pair:
    """An int or a pair (h, w) of ints, each at least ``minimum``, as a pair."""
    if type(value) is int and minimum <= value <= MAX_SIZE:
        return value, value
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int:
        h, w = value  # the usual case, quickly
        if h >= minimum <= w and h <= MAX_SIZE >= w:
            return value
    if _is_sequence(value):
        if len(value) != 2:
            raise ValueError(f"{where}: {name} must be an int or a pair (h, w), received {shown(value)}.")
        pair = (as_index(where, name, value[0]), as_index(where, name, value[1]))
    else:
        single = as_index(where, name, value)
        pair = (single, single)
    if min(pair) < minimum or max(pair) > MAX_SIZE:
        raise ValueError(f"{where}: {name} must be at least {minimum} and fit 64 bits, received {shown(value)}.")
    return pair


def as_count(where: str, name: str, value: Any, least: int = 0) -> int:
    """An integer, ``least`` or more."""
    count = as_index(where, name, value)
    as_number(where, name, count, least)
    return count


def _is_sequence(value: Any) -> bool:
    """Whether ``value`` is a tuple, a list or an array with an axis."""
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def as_padding(where: str, value: Any) -> str | Pads:
    """``"valid"``, ``"same"``, or explicit pads as ((top, bottom), (left, right))."""
    if isinstance(value, str):
        if value.lower() in ("valid", "same"):
            return value.lower()
        raise ValueError(
            f"{where}: padding must be 'valid', 'same', an int, a pair (ph, pw) or "
            f"((top, bottom), (left, right)), received {shown(value)}."
        )
    if _is_sequence(value) and any(map(_is_sequence, value)):
        if len(value) != 2 or not all(map(_is_sequence, value)):
            raise ValueError(
                f"{where}: padding must be an int, a pair (ph, pw) or ((top, bottom), (left, right)), received "
                f"{shown(value)}."
            )
        return as_pair(where, "padding", value[0], 0), as_pair(where, "padding", value[1], 0)
    vertical, horizontal = as_pair(where, "padding", value, 0)
    return (vertical, vertical), (horizontal, horizontal)


def as_choice(where: str, name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """``value`` if it is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{where}: {name} must be one of {', '.join(map(repr, choices))}, received {shown(value)}.")
    return value


def as_array(where: str, name: str, value: Any) -> np.ndarray:
    """``value`` as a NumPy array of float32 or float64 in native byte order; no copy where none is needed."""
    given = value
    if type(value) is not np.ndarray:
        value = import_array(where, name, value)
    dtype = value.dtype
    if dtype is FLOAT32 or dtype is FLOAT64 or dtype in FLOATS:  # identity is the quick and usual case
        return value
    if value.dtype.newbyteorder("=") in FLOATS:
        return value.astype(value.dtype.newbyteorder("="))
    advice = ""
    if value.dtype.kind in "biuf":
        advice = " " + _conversion(name, given)
    elif value.dtype.kind == "c":
        advice = f" Take its real and imaginary parts apart: {name}.real, {name}.imag."
    raise TypeError(f"{where}: {name} must be float32 or float64, received {value.dtype}.{advice}")


def _conversion(name: str, value: Any) -> str:
    """How to bring an argument to float32, in words that work for what was given: a list has no astype."""
    if isinstance(value, np.ndarray):
        return f'Convert it first: {name}.astype("float32").'
    return f'Convert it first: numpy.asarray({name}, "float32").'


def import_array(where: str, name: str, value: Any) -> np.ndarray:
    """Anything with ``__array__``, the buffer protocol or ``__dlpack__``, or a nested list, as an array."""
    masked = sys.modules.get("numpy.ma")  # NumPy imports it when the first masked array is made
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(
            f"{where}: {name} is a masked array, whose masked cells would be taken for real ones. Say what they are: "
            f"{name}.filled(0); or pass {name}.data if the mask means nothing here."
        )
    by_dlpack = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
    try:
        return np.from_dlpack(value) if by_dlpack else np.asarray(value)
    except Exception as error:
        advice = " Move it to the CPU, as a type that NumPy has, first." if hasattr(value, "__dlpack__") else ""
        raise TypeError(
            f"{where}: {name} must be an array, received {type(value).__name__} ({error}).{advice}"
        ) from error


def as_indices(where: str, value: Any) -> np.ndarray:
    """Pooling indices as an array of int32 or int64 in native byte order; no copy where none is needed."""
    if type(value) is not np.ndarray:
        value = import_array(where, "indices", value)
    dtype = value.dtype.newbyteorder("=")
    if dtype not in INDICES:
        raise TypeError(f"{where}: indices must be int32 or int64, as max_pool2d returns them, received {value.dtype}.")
    return value.astype(dtype, copy=False)


def check_ndim(where: str, name: str, array: np.ndarray, ndim: int, layout: str) -> None:
    """Refuse an array with another number of axes than ``layout`` names."""
    if array.ndim != ndim:
        advice = ""
        if array.ndim == ndim - 1 and layout.startswith("(n,"):
            advice = f" Add the batch axis: {name}[None]."
        elif array.ndim == ndim - 1:
            advice = " An axis of length 1 must be there too: numpy.expand_dims adds one."
        raise ValueError(
            f"{where}: {name} must have {ndim} axes {layout}, received {name}.shape={array.shape}.{advice}"
        )


def as_arrays(where: str, **values: Any) -> list[np.ndarray]:
    """Several arrays brought to their common type, float32 or float64 (numpy.result_type)."""
    dtype = None
    for value in values.values():  # the usual case, quickly
        if type(value) is not np.ndarray or not (value.dtype is dtype or dtype is None):
            break
        dtype = value.dtype
    else:
        if dtype is FLOAT32 or dtype is FLOAT64:
            return list(values.values())
    arrays = [as_array(where, name, value) for name, value in values.items()]
    dtype = arrays[0].dtype
    for array in arrays:
        if array.dtype is not dtype and array.dtype != dtype:
            return [array.astype(np.float64, copy=False) for array in arrays]
    return arrays


def as_filter_arrays(where: str, in1: Any, in2: Any) -> tuple[np.ndarray, np.ndarray, np.dtype]:
    """Image and kernel of a filter, and the type of its result: float64 for integers, else their common type."""
    arrays = []
    for name, value in (("in1", in1), ("in2", in2)):
        array = value if type(value) is np.ndarray else import_array(where, name, value)
        dtype = array.dtype
        known = dtype is FLOAT32 or dtype is FLOAT64 or dtype.kind in "biu"
        if not known and dtype.newbyteorder("=") not in FLOATS:
            raise _filter_dtype_error(where, name, dtype, value)
        arrays.append(array)
    first, second = arrays
    if first.dtype is second.dtype and (first.dtype is FLOAT32 or first.dtype is FLOAT64):
        return first, second, first.dtype
    if first.dtype.kind != "f" and second.dtype.kind != "f":
        return first, second, FLOAT64
    return first, second, np.result_type(first.dtype, second.dtype)


def _filter_dtype_error(where: str, name: str, dtype: np.dtype, value: Any) -> TypeError:
    advice = ""
    if dtype.kind == "f":
        advice = " " + _conversion(name, value)
    elif dtype.kind == "c":
        advice = f" Filter its real and imaginary parts apart: {name}.real, {name}.imag."
    return TypeError(f"{where}: {name} must be integers, bool, float32 or float64, received {dtype}.{advice}")


def as_fill_value(where: str, value: Any) -> float:
    """A real number, or an array of one."""
    if type(value) is int or type(value) is float:
        return float(value)
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise TypeError(f"{where}: fillvalue must be a real number, received {shown(value)}.")
    return float(array.item())


def filter_ndim_error(where: str, in1: tuple[int, ...], in2: tuple[int, ...]) -> ValueError:
    """A filter's image or kernel with a wrong number of axes."""
    return ValueError(
        f"{where}: in1 must have shape (h, w) or (h, w, channels) and in2 (kh, kw), received shapes {in1} and {in2}. "
        "For several images call it for each; for sums over channels use conv2d."
    )


def empty_filter_error(where: str, in1: tuple[int, ...], in2: tuple[int, ...]) -> ValueError:
    """A filter's image or kernel without cells."""
    return ValueError(f"{where}: no axis may have length 0, received shapes {in1} and {in2}.")


def valid_mode_error(where: str, in1: tuple[int, ...], in2: tuple[int, ...]) -> ValueError:
    """Image and kernel of which neither holds the other."""
    return ValueError(
        f'{where}: mode="valid" needs one array at least as large as the other in both directions, received shapes '
        f'{in1} and {in2}. Use mode="same" or "full".'
    )


def conv_channels_error(
    where: str,
    x_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    groups: int,
    channels: int,
    data_format: str,
) -> ValueError:
    """Channels of image and kernel, filters and groups that do not go together."""
    options = f", groups={groups}" if groups != 1 else ""
    options += f", data_format={data_format!r}" if data_format != "channels_last" else ""
    received = f"Received x.shape={x_shape}, kernel.shape={kernel_shape}{options}."
    axis = 3 if data_format == "channels_last" else 1
    expected = f"kernel must have shape (kh, kw, x.shape[{axis}] // groups, filters)."
    if groups >= 1 and (channels % groups or kernel_shape[3] % groups):
        return ValueError(
            f"{where}: groups={groups} must divide the {channels} input channels and the {kernel_shape[3]} filters. "
            f"{received}"
        )
    if groups < 1 or channels < 1 or min(kernel_shape) < 1:
        return ValueError(f"{where}: groups, channels and all sizes of the kernel must be at least 1. {received}")
    return ValueError(
        f"{where}: kernel expects {kernel_shape[2] * groups} input channels, x has {channels}. {received} {expected}"
    )


def depthwise_channels_error(
    where: str, x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], channels: int
) -> ValueError:
    """Images and a depthwise kernel with different numbers of channels."""
    return ValueError(
        f"{where}: kernel has filters for {kernel_shape[2]} channels, x has {channels}. Received x.shape={x_shape}, "
        f"kernel.shape={kernel_shape}. kernel must have shape (kh, kw, channels, multiplier), all at least 1."
    )


def depthwise_multiplier_error(
    where: str, x_shape: tuple[int, ...], grad_shape: tuple[int, ...], channels: int, outputs: int
) -> ValueError:
    """A gradient whose channels are no multiple of the images' channels."""
    return ValueError(
        f"{where}: grad_output's {outputs} channels must be a multiple of x's {channels}. Received x.shape={x_shape}, "
        f"grad_output.shape={grad_shape}."
    )


def transpose_channels_error(
    where: str, x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], channels: int
) -> ValueError:
    """Images and a transposed convolution's kernel with different numbers of channels."""
    return ValueError(
        f"{where}: kernel expects {kernel_shape[3]} input channels, x has {channels}. Received x.shape={x_shape}, "
        f"kernel.shape={kernel_shape}. kernel must have shape (kh, kw, filters, in_channels), all at least 1: filters "
        "stand before channels, unlike conv2d's."
    )


def transpose_size_error(where: str, size: Pair, window: Pair, output: Pair) -> ValueError:
    """A transposed convolution whose output would be empty."""
    return ValueError(
        f"{where}: images of height and width {size} with a window of {window} would give an output of {output}: it "
        "would be empty. Use less padding, more output_padding, or larger images."
    )


def check_output_padding(where: str, output_padding: Pair, strides: Pair) -> None:
    """Refuse output padding that reaches the stride: the convolution would have a row or column more."""
    if output_padding[0] >= strides[0] or output_padding[1] >= strides[1]:
        raise ValueError(
            f"{where}: `output_padding` must be strictly less than `strides` for all dimensions. Received: "
            f"output_padding={output_padding}, strides={strides}."
        )


def window_error(where: str, size: Pair, window: Pair, dilation: Pair, pads: Pads) -> ValueError:
    """A window that does not fit its image."""
    spans = tuple((size - 1) * step + 1 for size, step in zip(window, dilation, strict=True))
    dilated = f" dilated by {dilation}, which spans {spans}," if dilation != (1, 1) else ""
    return ValueError(
        f"{where}: the window {window}{dilated} does not fit the image of height and width {size} with padding {pads}: "
        'the output would be empty. Use a smaller window, a larger image, or padding="same".'
    )


def algorithm_error(where: str, algorithm: str, demands: str) -> ValueError:
    """An algorithm asked for by name that cannot run the problem."""
    return ValueError(f'{where}: algorithm="{algorithm}" needs {demands}. Use algorithm="auto".')


def check_elements(where: str, *counts: int) -> None:
    """Refuse arrays whose size in bytes would not fit the kernels' signed 64-bit arithmetic."""
    if max(counts) > MAX_SIZE // 8:
        raise ValueError(f"{where}: an array of {max(counts)} elements does not fit 64 bits; split the problem.")


def padding_window_error(where: str, window: Pair, pads: Pads) -> ValueError:
    """A pooling window that lies on padding alone, where there is nothing to pick or to average."""
    return ValueError(
        f"{where}: with padding {pads} a window of {window} would lie on padding alone; pads must be smaller than "
        "the window."
    )


def check_shape(where: str, name: str, array: np.ndarray, expected: tuple[int, ...], meaning: str) -> None:
    """Refuse an array whose shape is not the one that the other arguments imply."""
    if array.shape != expected:
        raise ValueError(f"{where}: {name} must have shape {expected} ({meaning}), received {array.shape}.")


def as_shape4(where: str, name: str, shape: Any) -> tuple[int, int, int, int]:
    """A shape given as an argument: four sizes, none negative."""
    if not _is_sequence(shape) or len(shape) != 4:
        raise ValueError(f"{where}: {name} must be a tuple of four sizes, received {shown(shape)}.")
    a, b, c, d = (as_index(where, name, size) for size in shape)
    if min(a, b, c, d) < 0 or max(a, b, c, d) > MAX_SIZE:
        raise ValueError(
            f"{where}: {name} must not have negative sizes nor any beyond 64 bits, received {shown(shape)}."
        )
    return a, b, c, d


def axis_error(where: str, axis: int, shape: tuple[int, ...]) -> ValueError:
    """An axis that the array does not have."""
    return ValueError(f"{where}: axis {axis} is out of range for an array of shape {shape}.")


def activation_error(where: str, activation: Any, names: tuple[str, ...]) -> ValueError:
    """An activation that is neither a known name nor a function."""
    known = ", ".join(map(repr, names))
    return ValueError(f"{where}: activation must be None, one of {known}, or a function, received {activation!r}.")


def activation_result(where: str, activation: Any, result: Any, y: np.ndarray) -> np.ndarray:
    """What a function given as activation has returned: real numbers in the shape of what it was given."""
    array = np.asarray(result)
    if array.shape != y.shape or array.dtype.kind not in "biuf":
        name = activation if isinstance(activation, str) else getattr(activation, "__name__", repr(activation))
        raise ValueError(
            f"{where}: activation {name} must return real numbers in the shape of its argument, {y.shape} of "
            f"{y.dtype}. It returned {array.shape} of {array.dtype}."
        )
    return array


def dense_error(where: str, first: tuple[int, ...], second: tuple[int, ...]) -> ValueError:
    """Shapes of a dense product, or of its gradients, that do not go together."""
    expected = {
        "dense": "x (..., inputs) and kernel (inputs, units)",
        "dense_grad_input": "grad_output (..., units) and kernel (inputs, units)",
        "dense_grad_kernel": "x (..., inputs) and grad_output (..., units) with the same leading axes",
        "bias_grad": "grad_output (..., channels)",
        "relu_bias_grad": "grad_output and y (..., channels) of one shape",
    }[where]
    return ValueError(f"{where}: expected {expected}, received shapes {first} and {second}.")


def indices_range_error(where: str, indices: np.ndarray, cells: int) -> ValueError:
    """Pooling indices that point outside the image."""
    return ValueError(
        f"{where}: indices must lie in [0, {cells}), the cells of input_shape's plane, received values from "
        f"{indices.min()} to {indices.max()}. Pass the indices and input_shape of the same max_pool2d call."
    )


def threads_error(value: int, most: int) -> ValueError:
    """A number of threads out of range."""
    return ValueError(f"set_num_threads: n must be from 1 to {most}, received {value}.")


def isa_error(name: Any, available: tuple[str, ...], source: str = "set_isa") -> ValueError:
    """An instruction set that was not built or that this CPU lacks."""
    return ValueError(
        f"{source}: instruction set {name!r} is not available here; choose one of {', '.join(map(repr, available))}."
    )
