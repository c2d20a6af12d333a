"""Checks and errors of models, training, data and files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .ops import MAX_SIZE, as_array, import_array, shown


class ModelFileError(ValueError):
    """A file that cannot be read as the model, or the weights, that it should hold."""


class DataFileError(ValueError):
    """A data file that is damaged, truncated, oversized or another file than it should be."""

    def __init__(self, path: Any, problem: str, advice: str = "") -> None:
        super().__init__(f"{path} {problem}." + (f" {advice}" if advice else ""))
        self.path, self.problem = path, problem


def missing_extra(what: str, package: str, extra: str) -> ImportError:
    """The error for an optional package that is not installed, with the command that installs it."""
    return ImportError(f'{what} needs {package}, which is not installed: pip install "fastconv[{extra}]"', name=package)


def as_labels(where: str, name: str, value: Any, classes: int | None = None) -> np.ndarray:
    """Class numbers (n,) of integers; one-hot rows or probabilities (n, classes) become the number of their maximum."""
    labels = as_numeric(where, name, value)
    if labels.ndim == 2 and labels.shape[1] > 1:
        if labels.dtype.kind == "f" and np.isnan(labels).any():
            raise ValueError(f"{where}: {name} holds NaN, so no class is the largest. Remove these rows.")
        labels = labels.argmax(axis=1)
    labels = labels.reshape(-1) if labels.ndim == 2 else labels
    if labels.ndim != 1:
        raise ValueError(
            f"{where}: {name} must be class numbers (n,) or one row per class (n, classes), received "
            f"{name}.shape={labels.shape} of {labels.dtype}."
        )
    return as_class_numbers(where, name, labels, classes)


def as_class_numbers(where: str, name: str, labels: np.ndarray, classes: int | None = None) -> np.ndarray:
    """Labels of any shape as int64: whole numbers from 0, below ``classes`` if that is known."""
    right = (labels >= 0) & (labels < (MAX_SIZE if classes is None else classes))  # NaN is neither
    if labels.dtype.kind == "f":
        right &= labels == np.floor(labels)
    if not right.all():
        place = tuple(int(i) for i in np.argwhere(~right)[0])
        limit = "" if classes is None else f" and below {classes}"
        raise ValueError(
            f"{where}: {name} must be class numbers, whole, from 0{limit}; received {labels[place]} at index "
            f"{place[0] if len(place) == 1 else place}. Mend the labels" + (", or num_classes." if classes else ".")
        )
    return labels.astype(np.int64)


def check_same_length(where: str, **arrays: np.ndarray) -> None:
    """Refuse arrays whose first axes differ."""
    if len({len(array) for array in arrays.values()}) > 1:
        received = ", ".join(f"{name}.shape={array.shape}" for name, array in arrays.items())
        raise ValueError(f"{where}: {' and '.join(arrays)} must have the same length, received {received}.")


def as_images(where: str, name: str, value: Any) -> np.ndarray:
    """Model input: float32 or float64, at least one axis; images of bytes are refused."""
    if type(value) is not np.ndarray:
        value = import_array(where, name, value)
    if value.dtype == np.uint8:
        raise TypeError(
            f"{where}: {name} must be float32 or float64, received uint8. "
            f'For images of bytes: {name}.astype("float32") / 255.'
        )
    value = as_array(where, name, value)
    if value.ndim == 0:
        raise ValueError(f"{where}: {name} must have a batch axis, received a scalar.")
    return value


def one_sample(where: str, shape: tuple[int, ...]) -> ValueError:
    """The error for a single sample in the place of a batch."""
    return ValueError(
        f"{where}: x must be a batch (n, {', '.join(map(str, shape))}), received x.shape={shape}, which is one sample. "
        "Add the batch axis: x[None]."
    )


def as_numeric(where: str, name: str, value: Any) -> np.ndarray:
    """``value`` as an array of bools, integers or floats (targets, labels, sample weights)."""
    array = value if type(value) is np.ndarray else import_array(where, name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{where}: {name} must hold numbers, received dtype {array.dtype}.")
    return array


def as_class_labels(where: str, y: Any, shape: tuple[int, ...], classes: int, ignore: int | None = None) -> np.ndarray:
    """Integer labels of ``shape`` (or shape + (1,)) in 0 … classes - 1 (or equal to ``ignore``), as int64."""
    y = as_numeric(where, "y", y)
    if y.shape == (*shape, 1):
        y = y.reshape(shape)
    if y.shape != shape:
        hint = " One-hot rows want loss='categorical_crossentropy'." if y.shape == (*shape, classes) else ""
        raise ValueError(
            f"{where}: labels must have shape {shape}, one integer each, received y.shape={y.shape}.{hint}"
        )
    if y.dtype.kind == "f":
        if not np.isfinite(y).all():
            raise ValueError(f"{where}: labels hold NaN or Inf. Every label must be an integer 0 … {classes - 1}.")
        if (y != np.floor(y)).any():
            raise ValueError(
                f"{where}: labels must be integers, received {y[y != np.floor(y)].flat[0]!r}. "
                "Rows of probabilities want loss='categorical_crossentropy'."
            )
    wrong = (y < 0) | (y >= classes) if y.dtype.kind != "b" else np.zeros(shape, bool)
    if ignore is not None:
        wrong &= y != ignore
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"{where}: labels must be 0 … {classes - 1}, received {y[place]} at index "
            f"{place[0] if len(place) == 1 else place}. The predictions have {classes} classes: "
            "widen the last layer or mend the labels."
        )
    return np.asarray(y, dtype=np.int64, order="C")


def as_targets(where: str, y: Any, shape: tuple[int, ...], dtype: np.dtype, *, one_hot: bool) -> np.ndarray:
    """Finite targets of exactly ``shape``, as ``dtype``; one axis of length 1 too few or too many is mended."""
    y = as_numeric(where, "y", y)
    if y.shape != shape and ((*y.shape, 1) == shape or y.shape == (*shape, 1)) and not one_hot:
        y = y.reshape(shape)
    if y.shape != shape:
        hint = ""
        if one_hot and y.shape in (shape[:-1], (*shape[:-1], 1)):
            hint = (
                " Integer labels want loss='sparse_categorical_crossentropy', "
                f"or fastconv.utils.to_categorical(y, {shape[-1]})."
            )
        raise ValueError(
            f"{where}: targets must have the predictions' shape {shape}, received y.shape={y.shape}.{hint}"
        )
    y = np.ascontiguousarray(y, dtype=dtype)
    if not np.isfinite(y).all():
        raise ValueError(f"{where}: targets hold NaN or Inf. Remove these samples, or give them another value.")
    return y


def as_sample_weight(
    where: str, value: Any, n: int, dtype: np.dtype, losses: tuple[int, ...] | None = None
) -> np.ndarray:
    """Finite weights whose first axis has length ``n``.

    losses: the losses' shape, (n, …), of which the weights may have the first axes; an axis of length 1 too many is
    dropped, as in Keras. None: not known yet.
    """
    weight = as_numeric(where, "sample_weight", value)
    if losses is not None and weight.ndim == len(losses) + 1 and weight.shape[-1] == 1:
        weight = weight[..., 0]
    if weight.ndim == 0 or len(weight) != n:
        raise ValueError(
            f"{where}: sample_weight must have one weight per sample ({n}), received shape {weight.shape}."
        )
    if losses is not None and weight.shape != losses[: weight.ndim]:
        raise ValueError(
            f"{where}: sample_weight must have one weight per sample, shape ({n},), or per loss, shape {losses}, "
            f"received shape {weight.shape}."
        )
    weight = np.ascontiguousarray(weight, dtype=dtype)
    if not np.isfinite(weight).all():
        raise ValueError(f"{where}: sample_weight holds NaN or Inf; every weight must be finite.")
    return weight


def check_new_weights(where: str, new: list[np.ndarray], old: list[np.ndarray], names: list[str]) -> None:
    """Refuse a list of weights that does not match the present ones in number and shapes."""
    if len(new) != len(old):
        raise ValueError(f"{where}: expected {len(old)} arrays, received {len(new)}.")
    for array, present, name in zip(new, old, names, strict=True):
        if array.shape != present.shape:
            raise ValueError(f"{where}: {name} has shape {present.shape}, received an array of shape {array.shape}.")


def unknown_name(where: str, kind: str, value: Any, known: Iterable[str]) -> ValueError:
    """The error for a name that is none of the ``known`` ones."""
    return ValueError(f"{where}: unknown {kind} {shown(value)}. Known: {', '.join(sorted(known))}.")


def wrong_type(where: str, name: str, value: Any, expected: str) -> TypeError:
    """The error for an argument of a type that is not understood."""
    return TypeError(f"{where}: {name} must be {expected}, received {shown(value)} of type {type(value).__name__}.")


def wrong_state(where: str, problem: str, remedy: str) -> ValueError:
    """The error for a call made in the wrong order, or on an object that cannot answer it."""
    return ValueError(f"{where}: {problem} {remedy}")


def rate_is_scheduled(where: str, schedule: Any, value: Any) -> TypeError:
    """The error for a number in the place of a schedule, which would be overruled at the next step."""
    return TypeError(
        f"{where}: the learning rate follows {type(schedule).__name__} and cannot be set to {value!r}. Set another "
        "schedule, or make the optimizer with a number as learning_rate."
    )


def unsupported(where: str, what: str, remedy: str) -> NotImplementedError:
    """The error for an option of Keras that this version does not have."""
    return NotImplementedError(f"{where}: {what} is not available in this version of fastconv. {remedy}")


def bad_file(path: Any, reason: str) -> ModelFileError:
    """The error for a file that cannot be read as what it should be."""
    return ModelFileError(f"Cannot load {str(path)!r}: {reason}")


def training_failed(problem: str) -> RuntimeError:
    """The error for a training that cannot go on."""
    return RuntimeError(f"Training stopped: {problem}")


def model_in_training(where: str) -> RuntimeError:
    """The error for a second thread that wants to work on a model in training."""
    return RuntimeError(
        f"{where}: another thread is training this model. Wait for it, or give each thread a model of its own: "
        "copy.deepcopy(model). predict may be called meanwhile."
    )


def layer_in_training(where: str, name: str) -> RuntimeError:
    """The error for a second thread that wants to train a layer, in whatever model."""
    return RuntimeError(
        f"{where}: another thread is training layer '{name}', as a part of another model. Wait for it, or give each "
        "model layers of its own: copy.deepcopy(model)."
    )


def no_model_shape(name: str, attribute: str) -> AttributeError:
    """The error for the shape of a model that nobody has told it yet."""
    return AttributeError(
        f"Sequential '{name}' has no {attribute} yet: call it on an array, build(input_shape), or start with "
        "Input(shape)."
    )


def file_exists(where: str, path: str) -> FileExistsError:
    """The error for a file that must not be replaced."""
    return FileExistsError(f"{where}: {path!r} exists. Pass overwrite=True, or another name.")


def no_samples(where: str) -> ValueError:
    """The error for an empty batch where there is nothing to measure."""
    return ValueError(f"{where}: x has no samples; pass one at least.")


def no_onnx_form(where: str, name: str, what: str) -> ValueError:
    """The error for a layer or an activation that export does not know."""
    return ValueError(
        f"{where}: layer {name!r} ({what}) has no ONNX form. Export knows this package's own layers and activations; "
        "put the layer's work before or behind the model."
    )
