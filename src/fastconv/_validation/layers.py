"""Checks and errors of layers, activations, initialisers and regularisers: Keras's words first, then the fix."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from .._shapes import Pair
from .models import as_numeric
from .ops import MAX_SIZE, as_array, as_index, shown


def invalid_argument(where: str, name: str, value: Any, expected: str) -> ValueError:
    """The error for a constructor argument outside its range."""
    return ValueError(f"{where}: Invalid value for argument `{name}`: {expected}. Received: {name}={shown(value)}.")


def unknown_identifier(kind: str, identifier: Any, known: Iterable[str]) -> ValueError:
    """The error for a name or a dictionary that stands for no activation, initialiser, regulariser or layer."""
    return ValueError(f"Could not interpret {kind} identifier: {shown(identifier)}. Known: {', '.join(sorted(known))}.")


def not_serializable(module: str, value: Any) -> ValueError:
    """The error for an object of the user's own that cannot be written down."""
    return ValueError(
        f"{shown(value)} cannot be serialized: it is none of {module} and has no get_config(). "
        "Use a named one, or a class with get_config() and from_config()."
    )


def not_differentiable(activation: Any) -> ValueError:
    """The error for an activation of the user's own that does not say its derivative."""
    name = getattr(activation, "__name__", repr(activation))
    return ValueError(
        f"Activation {name} has no gradient, so a layer that uses it cannot be trained. Give it an attribute "
        f"`gradient`: a function (grad_output, x) -> grad_input."
    )


def initializer_rank(problem: str, example: str, shape: Iterable[int]) -> ValueError:
    """The error for an initialiser that cannot fill weights of this number of axes."""
    shape = tuple(shape)
    return ValueError(f"{problem}, such as {example}. Received: shape={shape} of rank {len(shape)}.")


def initializer_shape(expected: tuple[int, ...], received: tuple[int, ...]) -> ValueError:
    """The error for an initialiser whose values do not have the weight's shape."""
    return ValueError(f"Expected `shape` to be {expected} for a weight's first values. The initializer has {received}.")


def as_seed(where: str, value: Any) -> int:
    """A seed: a non-negative int."""
    try:
        seed = operator.index(value)
    except TypeError:
        seed = -1
    if seed < 0:
        raise ValueError(
            f"{where}: Argument `seed` must be a non-negative integer or None. Received: seed={shown(value)}."
        )
    return seed


def as_shape(where: str, name: str, value: Any) -> tuple[int | None, ...]:
    """A shape: a sequence of non-negative ints and None."""
    if isinstance(value, (str, bytes, Mapping, Set)) or not isinstance(value, Iterable):
        raise ValueError(f"{where}: {name} must be a tuple of ints and None, received {shown(value)}.")
    shape = tuple(None if size is None else as_index(where, name, size) for size in value)
    if any(size is not None and not 0 <= size <= MAX_SIZE for size in shape):
        raise ValueError(
            f"{where}: {name} must not hold negative sizes nor any beyond 64 bits, received {shown(value)}."
        )
    return shape


def as_layer_name(value: Any) -> str:
    """A layer's name: a string that can be part of a path in a weights file."""
    if not isinstance(value, str) or "/" in value:
        raise ValueError(
            f"Argument `name` must be a string and cannot contain character `/`. Received: name={shown(value)} "
            f"(of type {type(value).__name__})."
        )
    return value


def _policy_name(value: Any) -> Any:
    """The type that a dtype argument names; object, which no layer takes, for what is no dtype."""
    if not isinstance(value, dict):
        return value
    config = value.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return name if isinstance(name, str) else "object"


def as_layer_dtype(where: str, value: Any) -> str:
    """A layer's type, ``"float32"`` or ``"float64"``, from a name, a NumPy type or Keras's DTypePolicy dictionary."""
    name = _policy_name(value)
    try:
        name = np.dtype(name or "float32").name
    except TypeError:
        name = None
    if name not in ("float32", "float64"):
        raise ValueError(f"{where}: dtype must be 'float32' or 'float64'. Received: dtype={shown(value)}.")
    return name


def refuse_unknown_arguments(where: str, arguments: dict[str, Any]) -> None:
    """Refuse keyword arguments that no class on the way up to Layer has taken."""
    if arguments:
        raise ValueError(f"Unrecognized keyword arguments passed to {where}: {arguments!r}.")


def refuse_unsupported(where: str, arguments: dict[str, Any], advice: str) -> None:
    """Refuse arguments of Keras that fastconv does not have, unless they are None and so change nothing."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{where}: `{name}` is not supported, received {name}={shown(value)}. {advice}")


def check_layer_ndim(
    name: str, shape: tuple[int | None, ...], exact: int | None, least: int | None, most: int | None, layout: str
) -> None:
    """Refuse an input with fewer or more axes than the layer takes."""
    if exact is not None and len(shape) != exact:
        expected = f"ndim={exact}"
    elif least is not None and len(shape) < least:
        expected = f"min_ndim={least}"
    elif most is not None and len(shape) > most:
        expected = f"max_ndim={most}"
    else:
        return
    is_image = len(shape) == 3 and "h, w" in layout
    raise ValueError(
        f"Input 0 of layer '{name}' is incompatible with the layer: expected {expected}, found ndim={len(shape)}. "
        f"Full shape received: {shape}."
        + (f" The layer takes {layout}." if layout else "")
        + (" Add the missing axis: x[None] for the batch, x[..., None] for the channel." if is_image else "")
    )


def check_layer_axis(name: str, shape: tuple[int | None, ...], axis: int, value: int) -> None:
    """Refuse an input whose ``axis`` is not as long as the one that the layer was built for."""
    if shape[axis] is not None and shape[axis] != value:
        raise ValueError(
            f"Input 0 of layer '{name}' is incompatible with the layer: expected axis {axis} of input shape to have "
            f"value {value}, but received input with shape {shape}. The layer's weights were made for {value}: feed "
            f"that many, or make a new layer."
        )


def unknown_axis(name: str, shape: tuple[int | None, ...], axis: int) -> ValueError:
    """The error for weights that cannot be made because the length of an axis is not known yet."""
    return ValueError(
        f"Layer '{name}' cannot be built: axis {axis} of the input shape must be known. Received: input_shape={shape}."
    )


def empty_output(name: str, shape: tuple[int | None, ...], window: str, advice: str) -> ValueError:
    """The error for a window that does not fit into the image once."""
    return ValueError(
        f"Layer '{name}': Computed output size would be zero or negative. Received: inputs.shape={shape}, {window}. "
        f"{advice}"
    )


def not_an_array(name: str, value: Any) -> TypeError:
    """The error for a layer applied to a layer, as Keras's functional API does."""
    return TypeError(
        f"Layer '{name}' takes arrays, received {shown(value)}. fastconv has no functional API: put the layers into "
        "fastconv.models.Sequential([...])."
    )


def not_built(name: str, action: str) -> ValueError:
    """The error for a question that only a built layer can answer."""
    return ValueError(
        f"You tried to {action} on layer '{name}', but the layer isn't built. Call it on an array, or build it: "
        f"`layer.build(input_shape)`."
    )


def no_shape_yet(name: str, attribute: str) -> AttributeError:
    """The error for ``input_shape`` or ``output_shape`` of a layer that has not been built."""
    return AttributeError(f"Layer '{name}' has no {attribute} yet: call it on an array, or layer.build(input_shape).")


def no_forward(name: str) -> RuntimeError:
    """The error for a backward pass without the forward pass that it belongs to."""
    return RuntimeError(
        f"Layer '{name}': backward needs the forward pass before it. Call layer(x, training=True) first."
    )


def as_grad_output(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The upstream gradient: shaped like the layer's last output, in the layer's type."""
    grad = as_array(f"Layer '{name}'", "grad_output", value)
    if grad.shape != shape:
        raise ValueError(
            f"Layer '{name}': grad_output must have the shape of the layer's last output, {shape}. "
            f"Received: grad_output.shape={grad.shape}."
        )
    return grad if grad.dtype == dtype else grad.astype(dtype)


def as_weights(name: str, values: Any, present: list[np.ndarray]) -> list[np.ndarray]:
    """New values for a layer's weights, each checked, so that a wrong list changes nothing."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ValueError(f"set_weights on layer '{name}' takes a list of arrays, received {type(values).__name__}.")
    values = list(values)
    if len(values) != len(present):
        raise ValueError(
            f"You called `set_weights(weights)` on layer '{name}' with a weight list of length {len(values)}, but the "
            f"layer was expecting {len(present)} weights."
            + ("" if present else " A layer has no weights before it is built: layer.build(input_shape).")
        )
    arrays = [as_numeric(f"Layer '{name}'", f"weights[{index}]", value) for index, value in enumerate(values)]
    for array, weight in zip(arrays, present, strict=True):
        if array.shape != weight.shape:
            raise ValueError(
                f"Layer {name} weight shape {weight.shape} is not compatible with provided weight shape {array.shape}."
            )
    return arrays


def check_groups(name: str, filters: int, groups: int) -> None:
    """Refuse groups that do not divide the filters."""
    if filters % groups:
        raise ValueError(
            f"{name}: The number of filters must be evenly divisible by the number of groups. "
            f"Received: groups={groups}, filters={filters}."
        )


def check_group_channels(name: str, channels: int, groups: int, shape: tuple[int | None, ...]) -> None:
    """Refuse groups that do not divide the input channels."""
    if channels % groups:
        raise ValueError(
            f"Layer '{name}': The number of input channels must be evenly divisible by the number of groups. "
            f"Received groups={groups}, but the input has {channels} channels (full input shape is {shape})."
        )


def check_strides_dilation(name: str, strides: Pair, dilation_rate: Pair) -> None:
    """Refuse strides together with dilation, as Keras's layers do (the kernels can do both)."""
    if max(strides) > 1 and max(dilation_rate) > 1:
        raise ValueError(
            f"{name}: `strides > 1` not supported in conjunction with `dilation_rate > 1`. Received: "
            f"strides={strides} and dilation_rate={dilation_rate}. The function fastconv.conv2d takes both."
        )


def as_target_shape(value: Any) -> tuple[int, ...]:
    """Reshape's target: ints from -1 up, one -1 at most."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ValueError(f"Reshape: `target_shape` must be a tuple of ints, received {shown(value)}.")
    shape = tuple(as_index("Reshape", "target_shape", size) for size in value)
    if min(shape, default=0) < -1:
        raise ValueError(
            "Each dimension in `target_shape` must be a non-negative integer, or `-1` for a single unknown dimension. "
            f"Received: target_shape={shape}."
        )
    if shape.count(-1) > 1:
        raise ValueError(
            f"There must be at most one unknown dimension (-1) in `target_shape`. Received: target_shape={shape}."
        )
    return shape


def reshape_size(name: str, input_shape: tuple[int | None, ...], target_shape: tuple[int, ...]) -> ValueError:
    """The error for a reshape that would lose or invent elements."""
    return ValueError(
        f"Layer '{name}': The total size of the tensor must be unchanged. Received: input_shape={input_shape}, "
        f"target_shape={target_shape} (both without the batch axis)."
    )


def as_numeric_dtype(where: str, value: Any) -> str:
    """The name of a type of numbers; None is float32."""
    name = _policy_name(value)
    try:
        dtype = np.dtype(name or "float32")
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise ValueError(
            f"{where}: dtype must be a type of numbers, such as 'float32'. Received: dtype={shown(value)}."
        )
    return dtype.name


def check_broadcast(name: str, argument: str, shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    """Refuse an argument that cannot be spread over the input without enlarging it."""
    fits = len(shape) <= len(target) and all(
        mine in (1, theirs) for mine, theirs in zip(reversed(shape), reversed(target), strict=False)
    )
    if not fits:
        raise ValueError(
            f"Layer '{name}': `{argument}` must broadcast to the input. Received: {argument} of shape {shape}, "
            f"input of shape {target}."
        )


def axis_out_of_bounds(name: str, axis: int, shape: tuple[int | None, ...]) -> ValueError:
    """The error for an axis that the input has not."""
    return ValueError(
        f"Layer '{name}': Axis {axis} is out of bounds for input shape {shape}. Received: axis={axis}. The last axis "
        "is -1, the channels of channels_first images are 1."
    )


def as_factor(
    where: str, name: str, value: Any, *, open_low: bool = False
) -> tuple[float | tuple[float, float], tuple[float, float]]:
    """A bound of a random number, as given and as (low, high): a pair, or one number f for (-f, f), within [-1, 1]."""
    is_pair = isinstance(value, (tuple, list, np.ndarray)) and len(value) == 2
    given = tuple(value) if is_pair else (value,)
    numbers = all(isinstance(number, (int, float, np.number)) and not isinstance(number, bool) for number in given)
    if not numbers or not all(-1 <= number <= 1 for number in given) or (open_low and -1 in given):
        bounds = "(-1.0, 1.0]" if open_low else "[-1.0, 1.0]"
        raise ValueError(
            f"{where}: The `{name}` argument should be a number (or a list of two numbers) in the range {bounds}. "
            f"Received: {name}={shown(value)}."
        )
    if is_pair:
        return (float(given[0]), float(given[1])), (float(min(given)), float(max(given)))
    return float(given[0]), (-abs(float(given[0])), abs(float(given[0])))
