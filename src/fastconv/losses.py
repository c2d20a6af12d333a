"""Losses: how far predictions are from targets, with the gradient that training follows.

Every loss is a callable object, as in Keras, and gives its gradient with its value through ``value_and_grad``.
Crossentropies on logits use log-sum-exp, so that logits of ±1e4 neither overflow nor lose the gradient.
`Sequential.fit` joins a final
softmax to a crossentropy and works on its logits: the gradient is then (p - t) / n, with no division by a tiny p.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from . import _validation

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)
EPSILON = 1e-7  # Probabilities are clipped to [EPSILON, 1 - EPSILON], as keras.config.epsilon() has it.


class Loss:
    """Base of the losses: checks, weights and the reduction; subclasses compute one loss per sample.

    Args:
        name: Shown in logs and files. Defaults to the class's own name in snake case.
        reduction: ``"sum_over_batch_size"`` (default, the same as ``"mean"``): Σ w·loss / number of losses;
            ``"sum"``: Σ w·loss; ``"mean_with_sample_weight"``: Σ w·loss / Σ w; ``"none"`` or None: all losses,
            unreduced.
    """

    default_name: ClassVar[str] = "loss"
    # True where the loss of softmax(z) may be computed from z itself.
    joins_softmax: bool = False

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size") -> None:
        self.name = name or self.default_name
        self.reduction = _validation.as_choice(type(self).__name__, "reduction", reduction, REDUCTIONS)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float | np.ndarray:
        """The reduced loss, a float (an array of losses with ``reduction=None``)."""
        return self.value_and_grad(y_true, y_pred, sample_weight)[0]

    def value_and_grad(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> tuple[float | np.ndarray, np.ndarray]:
        """The reduced loss and its gradient with respect to ``y_pred``.

        Args:
            y_true: Targets, (n, …); see the class for their shape.
            y_pred: Predictions (n, …, classes), float32 or float64.
            sample_weight: None, or one weight per sample (n,) or per loss (n, …).

        Returns:
            (loss, gradient shaped and typed like y_pred). Unreduced losses come with the gradient of their weighted
            sum.

        Raises:
            ValueError: shapes that do not fit, labels out of range, NaN in targets or weights.
            TypeError: predictions that are not float32 or float64.

        Example:
            >>> import numpy as np
            >>> from fastconv.losses import MeanSquaredError
            >>> value, grad = MeanSquaredError().value_and_grad([[1.0], [3.0]], np.array([[2.0], [3.0]]))
            >>> value, grad.tolist()
            (0.5, [[1.0], [0.0]])
        """
        where = type(self).__name__
        y_pred = _validation.as_array(where, "y_pred", y_pred)
        targets = self.prepare_targets(y_true, y_pred.shape, y_pred.dtype, where)
        if sample_weight is not None:
            sample_weight = _validation.as_sample_weight(where, sample_weight, len(y_pred), y_pred.dtype)
        return self.compute(targets, y_pred, sample_weight)

    def prepare_targets(self, y_true: Any, pred_shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
        """Checked targets in the form that ``compute`` takes; done once for all batches of a data set."""
        raise NotImplementedError

    def compute(
        self, targets: np.ndarray, y_pred: np.ndarray, weight: np.ndarray | None = None, *, on_logits: bool = False
    ) -> tuple[float | np.ndarray, np.ndarray]:
        """``value_and_grad`` on targets that are prepared already.

        With ``on_logits``, y_pred holds the logits z of predictions softmax(z), and the gradient is that of z.
        """
        losses, grad, mask = self._losses(targets, y_pred, on_logits)
        scale = self._scale(losses, weight, mask)
        if self.reduction in (None, "none"):
            value: float | np.ndarray = losses if isinstance(scale, float) else losses * scale
        elif isinstance(scale, float):
            value = float(losses.sum()) * scale
        else:
            value = float((losses * scale).sum())
        grad *= scale if isinstance(scale, float) else self._align(scale)
        return value, grad

    def _losses(
        self, targets: np.ndarray, y_pred: np.ndarray, on_logits: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Losses (n, …), a fresh array with the gradient of their sum, and a mask of the losses that count."""
        raise NotImplementedError

    def _align(self, scale: np.ndarray) -> np.ndarray:
        """``scale``, one number per loss, shaped to multiply the gradient."""
        return scale[..., None]

    def _scale(self, losses: np.ndarray, weight: np.ndarray | None, mask: np.ndarray | None) -> float | np.ndarray:
        """What each loss is multiplied with in the reduced sum."""
        divisor = 1.0
        if self.reduction in ("sum_over_batch_size", "mean"):
            divisor = float(losses.size if mask is None else np.count_nonzero(mask))
        if weight is not None:
            weight = weight.reshape(weight.shape + (1,) * (losses.ndim - weight.ndim))
            weight = np.broadcast_to(weight, losses.shape)
        if mask is not None:
            weight = mask.astype(losses.dtype) if weight is None else weight * mask
        if self.reduction == "mean_with_sample_weight":
            divisor = float(losses.size if weight is None else weight.sum(dtype=np.float64))
        factor = 1.0 / divisor if divisor else 0.0
        return factor if weight is None else (weight * losses.dtype.type(factor))

    def get_config(self) -> dict[str, Any]:
        """Arguments that ``from_config`` rebuilds the loss from; keys as in Keras."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """A loss from what ``get_config`` gave."""
        return cls(**{key: value for key, value in config.items() if key != "dtype"})


class MeanSquaredError(Loss):
    """Mean of squared differences: loss[i] = mean over the last axis of (y_true - y_pred)².

    Targets and predictions have one shape (n, …, k); targets (n,) also fit predictions (n, 1).

    Args:
        reduction: see `Loss`.
        name: Defaults to ``"mean_squared_error"``.

    Example:
        >>> from fastconv.losses import MeanSquaredError
        >>> import numpy as np
        >>> MeanSquaredError()([[0.0, 1.0]], np.array([[0.0, 3.0]]))
        2.0
    """

    default_name = "mean_squared_error"

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(name, reduction)

    def prepare_targets(self, y_true: Any, pred_shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
        return _validation.as_targets(where, y_true, pred_shape, dtype, one_hot=False)

    def _losses(
        self, targets: np.ndarray, y_pred: np.ndarray, on_logits: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        difference = y_pred - targets
        last = max(1, y_pred.shape[-1])
        losses = np.einsum("...i,...i->...", difference, difference) / y_pred.dtype.type(last)
        difference *= y_pred.dtype.type(2 / last)
        return losses, difference, None


class _Crossentropy(Loss):
    """What both crossentropies share: -Σ t·log p over the class axis, from logits or from probabilities."""

    def __init__(self, from_logits: bool, axis: int, reduction: str | None, name: str | None) -> None:
        super().__init__(name, reduction)
        self.from_logits = bool(from_logits)
        self.axis = _validation.as_index(type(self).__name__, "axis", axis)

    @property
    def joins_softmax(self) -> bool:  # type: ignore[override]
        """Softmax runs over the last axis, so only a loss over that axis can take its logits."""
        return not self.from_logits and self.axis == -1

    def _class_axis(self, where: str, ndim: int) -> int:
        if ndim < 2 or not -ndim <= self.axis < ndim or self.axis % ndim == 0:
            raise _validation.wrong_state(
                where,
                f"predictions with {ndim} axes have no class axis {self.axis}.",
                "Predictions must be shaped (n, …, classes).",
            )
        return self.axis % ndim

    def _align(self, scale: np.ndarray) -> np.ndarray:
        return np.expand_dims(scale, self.axis)

    def _losses(
        self, targets: np.ndarray, y_pred: np.ndarray, on_logits: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        z = np.moveaxis(y_pred, self.axis, -1)
        losses, grad, mask = (self._from_logits if on_logits or self.from_logits else self._from_probabilities)(
            targets, z
        )
        return losses, np.ascontiguousarray(np.moveaxis(grad, -1, self.axis)), mask

    def _from_logits(self, targets: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        raise NotImplementedError

    def _from_probabilities(
        self, targets: np.ndarray, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        raise NotImplementedError


def _shifted_softmax(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(z - max z, log Σ exp(z - max z), softmax z) over the last axis; no exponent is above 0, so nothing overflows."""
    shifted = z - z.max(axis=-1, keepdims=True)
    p = np.exp(shifted)
    total = p.sum(axis=-1, keepdims=True)
    p /= total
    return shifted, np.log(total[..., 0]), p


def _clipped_crossentropy(t: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses and gradient for probabilities: normalised, then clipped to [EPSILON, 1 - EPSILON] as Keras does.

    The gradient is that of exactly this formula: zero where the clip holds, and through q = p / Σ p otherwise.
    """
    total = p.sum(axis=-1, keepdims=True)
    q = p / total
    low, high = p.dtype.type(EPSILON), p.dtype.type(1 - EPSILON)
    clipped = np.clip(q, low, high)
    losses = -(t * np.log(clipped)).sum(axis=-1)
    grad_q = -(t / clipped)
    grad_q *= (q >= low) & (q <= high)
    return losses, (grad_q - (grad_q * q).sum(axis=-1, keepdims=True)) / total


class CategoricalCrossentropy(_Crossentropy):
    """Crossentropy with one-hot (or soft) targets: loss[i] = -Σ_c t[i, c]·log p[i, c].

    Targets and predictions are both shaped (n, …, classes).

    Args:
        from_logits: Predictions are logits z; p = softmax(z). Default False: probabilities, normalised and clipped to
            [1e-7, 1 - 1e-7].
        label_smoothing: s in [0, 1]: t becomes t·(1 - s) + s / classes. Default 0.
        axis: The class axis. Default -1.
        reduction, name: see `Loss`.

    Raises:
        ValueError: shapes that differ (integer labels want `SparseCategoricalCrossentropy`), NaN in the targets.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import CategoricalCrossentropy
        >>> round(CategoricalCrossentropy(from_logits=True)([[0, 1]], np.array([[0.0, 0.0]])), 6)
        0.693147
    """

    default_name = "categorical_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, axis, reduction, name)
        self.label_smoothing = _validation.as_number(type(self).__name__, "label_smoothing", label_smoothing, 0, 1)

    def prepare_targets(self, y_true: Any, pred_shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
        self._class_axis(where, len(pred_shape))
        return _validation.as_targets(where, y_true, pred_shape, dtype, one_hot=True)

    def _smoothed(self, targets: np.ndarray) -> np.ndarray:
        t = np.moveaxis(targets, self.axis, -1)
        if self.label_smoothing:
            t = t * t.dtype.type(1 - self.label_smoothing) + t.dtype.type(self.label_smoothing / t.shape[-1])
        return t

    def _from_logits(self, targets: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        t = self._smoothed(targets)
        shifted, log_total, p = _shifted_softmax(z)
        mass = t.sum(axis=-1)
        losses = log_total * mass - np.einsum("...c,...c->...", t, shifted)
        p *= mass[..., None]
        p -= t
        return losses, p, None

    def _from_probabilities(
        self, targets: np.ndarray, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        return *_clipped_crossentropy(self._smoothed(targets), p), None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
        }


class SparseCategoricalCrossentropy(_Crossentropy):
    """Crossentropy with integer labels: loss[i] = -log p[i, label[i]].

    Labels are shaped (n, …) or (n, …, 1), integers (of any type) in 0 … classes - 1; predictions (n, …, classes).

    Args:
        from_logits: Predictions are logits z; p = softmax(z). Default False: probabilities, normalised and clipped to
            [1e-7, 1 - 1e-7].
        ignore_class: A label whose samples count nothing (their share of the mean is left out too). Default None.
        axis: The class axis. Default -1.
        reduction, name: see `Loss`.

    Raises:
        ValueError: labels that are out of range, NaN or not whole, or whose shape does not fit.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import SparseCategoricalCrossentropy
        >>> SparseCategoricalCrossentropy(from_logits=True)([0], np.array([[1e4, -1e4]]))
        0.0
    """

    default_name = "sparse_categorical_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, axis, reduction, name)
        where = type(self).__name__
        self.ignore_class = None if ignore_class is None else _validation.as_index(where, "ignore_class", ignore_class)

    def prepare_targets(self, y_true: Any, pred_shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
        axis = self._class_axis(where, len(pred_shape))
        shape = pred_shape[:axis] + pred_shape[axis + 1 :]
        return _validation.as_class_labels(where, y_true, shape, pred_shape[axis], self.ignore_class)

    def _masked(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if self.ignore_class is None:
            return labels, None
        mask = labels != self.ignore_class
        return np.where(mask, labels, 0), mask

    def _from_logits(self, targets: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        labels, mask = self._masked(targets)
        shifted, log_total, p = _shifted_softmax(z)
        rows, columns = np.arange(labels.size), labels.reshape(-1)
        flat = p.reshape(-1, z.shape[-1])
        losses = log_total - shifted.reshape(flat.shape)[rows, columns].reshape(labels.shape)
        flat[rows, columns] -= 1
        return losses, flat.reshape(z.shape), mask

    def _from_probabilities(
        self, targets: np.ndarray, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        labels, mask = self._masked(targets)
        one_hot = (labels[..., None] == np.arange(p.shape[-1])).astype(p.dtype)
        return *_clipped_crossentropy(one_hot, p), mask

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "axis": self.axis,
        }


def mean_squared_error(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean squared error of each sample, (n, …) for predictions (n, …, k). See `MeanSquaredError`.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import mse
        >>> mse([[0.0, 1.0]], np.array([[0.0, 3.0]])).tolist()
        [2.0]
    """
    return np.asarray(MeanSquaredError(reduction=None)(y_true, y_pred))


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> np.ndarray:
    """Crossentropy of each sample with one-hot targets, (n, …). See `CategoricalCrossentropy`.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import categorical_crossentropy
        >>> categorical_crossentropy([[0, 1]], np.array([[0.5, 0.5]])).round(4).tolist()
        [0.6931]
    """
    return np.asarray(CategoricalCrossentropy(from_logits, label_smoothing, axis, reduction=None)(y_true, y_pred))


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> np.ndarray:
    """Crossentropy of each sample with integer labels, (n, …). See `SparseCategoricalCrossentropy`.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import sparse_categorical_crossentropy
        >>> sparse_categorical_crossentropy([1], np.array([[0.5, 0.5]])).round(4).tolist()
        [0.6931]
    """
    loss = SparseCategoricalCrossentropy(from_logits, ignore_class, axis, reduction=None)
    losses = np.asarray(loss(y_true, y_pred))
    return losses


mse = mean_squared_error

_CLASSES: dict[str, type[Loss]] = {
    cls.__name__: cls for cls in (CategoricalCrossentropy, SparseCategoricalCrossentropy, MeanSquaredError)
}
_BY_NAME: dict[str, type[Loss]] = _CLASSES | {cls.default_name: cls for cls in _CLASSES.values()}
_BY_NAME |= {"mse": MeanSquaredError, "MSE": MeanSquaredError}
_BY_FUNCTION: dict[Callable[..., Any], type[Loss]] = {
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    mean_squared_error: MeanSquaredError,
}


def get(identifier: Any) -> Loss | None:
    """The loss that ``identifier`` names: a name, a `Loss`, one of this module's functions, a config, or None.

    Raises:
        ValueError: an unknown name.
        TypeError: anything else; a function of your own has no gradient here, subclass `Loss` instead.

    Example:
        >>> from fastconv import losses
        >>> losses.get("mse").name
        'mean_squared_error'
    """
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        if identifier not in _BY_NAME:
            raise _validation.unknown_name("losses.get", "loss", identifier, _BY_NAME)
        return _BY_NAME[identifier]()
    if isinstance(identifier, dict):
        name, config = identifier.get("class_name"), identifier.get("config")
        if name == "function" and isinstance(config, str):
            return get(config)
        if not isinstance(name, str) or name not in _CLASSES or not isinstance(config, dict):
            raise _validation.unknown_name("losses.get", "loss", name, _CLASSES)
        return _CLASSES[name].from_config(config)
    if callable(identifier) and identifier in _BY_FUNCTION:
        return _BY_FUNCTION[identifier]()
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    raise _validation.wrong_type(
        "losses.get", "loss", identifier, "a name, a Loss (subclass it to give a loss and its gradient) or None"
    )
