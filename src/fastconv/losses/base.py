"""What all losses share: checks, weights and the reduction."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import _validation

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)


class Loss:
    """Base of the losses: checks, weights and the reduction; subclasses compute one loss per sample.

    Args:
        name: Shown in logs and files. Defaults to the class's own name in snake case.
        reduction: ``"sum_over_batch_size"`` (default, the same as ``"mean"``): Σ w·loss / number of losses;
            ``"sum"``: Σ w·loss; ``"mean_with_sample_weight"``: Σ w·loss / Σ w; ``"none"`` or None: all losses,
            unreduced.
        dtype: ``"float32"``, ``"float64"`` or None, as Keras has it; a loss is computed in the type of the predictions.
    """

    default_name: ClassVar[str] = "loss"
    # "softmax" or "sigmoid" where the loss of that activation's output may be computed from its input z.
    joins: str | None = None
    # Over which a loss is summed.
    axis: int = -1

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        self.name = name or self.default_name
        self.reduction = _validation.as_choice(type(self).__name__, "reduction", reduction, REDUCTIONS)
        _validation.as_layer_dtype(type(self).__name__, dtype)

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
            sample_weight = _validation.as_sample_weight(
                where, sample_weight, len(y_pred), y_pred.dtype, self.losses_shape(y_pred.shape)
            )
        return self.compute(targets, y_pred, sample_weight)

    def prepare_targets(self, y_true: Any, pred_shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
        """Checked targets in the form that ``compute`` takes; done once for all batches of a data set."""
        raise NotImplementedError

    def losses_shape(self, pred_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the losses for predictions of this shape: without the axis over which a loss is summed."""
        axis = self.axis % len(pred_shape)
        return pred_shape[:axis] + pred_shape[axis + 1 :]

    def compute(
        self, targets: np.ndarray, y_pred: np.ndarray, weight: np.ndarray | None = None, *, on_logits: bool = False
    ) -> tuple[float | np.ndarray, np.ndarray]:
        """``value_and_grad`` on targets that are prepared already.

        With ``on_logits``, y_pred holds z, the input of the activation that the loss joins, and the gradient is that
        in z.
        """
        # Infinite predictions are values: their loss is inf or nan, and no warning says it again at every batch.
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
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
