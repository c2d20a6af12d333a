"""Penalties on weights, added to the loss: L1, L2 and both together. Names, defaults and configs are Keras's.

A regulariser is a callable ``weight -> float`` with a method ``gradient(weight) -> array``. Any object with the two
serves, so a penalty of one's own is a class of four lines:

Example:
    >>> import numpy as np
    >>> class Centred:
    ...     def __call__(self, weight):
    ...         return float(weight.sum()) ** 2
    ...     def gradient(self, weight):
    ...         return np.full_like(weight, 2 * weight.sum())
    >>> get(Centred())(np.array([1.0, 2.0]))
    9.0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import _objects, _validation


class Regularizer:
    """Base of the regularisers."""

    def __call__(self, weight: np.ndarray) -> float:
        """The penalty."""
        raise NotImplementedError

    def gradient(self, weight: np.ndarray) -> np.ndarray:
        """The derivative of the penalty, shaped like ``weight``."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """The inverse of :meth:`get_config`."""
        return cls(**config)


class L1L2(Regularizer):
    """Penalty on absolute values and on squares: ``l1 * sum(|w|) + l2 * sum(w²)``.

    Its gradient is ``l1 * sign(w) + 2 * l2 * w``; at ``w == 0`` the L1 part takes the subgradient 0.

    Args:
        l1: factor of the absolute values, not negative. Default 0.
        l2: factor of the squares, not negative. Default 0.

    Raises:
        ValueError: a factor is negative, not finite or not a number.

    Example:
        >>> import numpy as np
        >>> L1L2(l1=0.5, l2=0.25)(np.array([1.0, -2.0]))
        2.75
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = _factor("L1L2", "l1", 0.0 if l1 is None else l1)
        self.l2 = _factor("L1L2", "l2", 0.0 if l2 is None else l2)

    def __call__(self, weight: np.ndarray) -> float:
        # Summed in float64: a float32 sum over a million squares would lose three digits of the penalty.
        penalty = 0.0
        if self.l1:
            penalty += self.l1 * float(np.abs(weight).sum(dtype=np.float64))
        if self.l2:
            penalty += self.l2 * float(np.square(weight).sum(dtype=np.float64))
        return penalty

    def gradient(self, weight: np.ndarray) -> np.ndarray:
        grad = weight * weight.dtype.type(2 * self.l2)
        if self.l1:
            grad += weight.dtype.type(self.l1) * np.sign(weight)
        return grad

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """Penalty on absolute values, which drives small weights to zero: ``l1 * sum(|w|)``.

    Args:
        l1: factor, not negative. Default 0.01.

    Example:
        >>> import numpy as np
        >>> L1(0.5)(np.array([1.0, -2.0]))
        1.5
    """

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=0.01 if l1 is None else l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(L1L2):
    """Penalty on squares, the usual weight decay: ``l2 * sum(w²)`` (without the ½ of some texts, as in Keras).

    Args:
        l2: factor, not negative. Default 0.01.

    Example:
        >>> import numpy as np
        >>> L2(0.5)(np.array([1.0, -2.0]))
        2.5
    """

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=0.01 if l2 is None else l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


def _factor(where: str, name: str, value: Any) -> float:
    valid = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not valid or not math.isfinite(value) or value < 0:
        raise _validation.invalid_argument(where, name, value, "expected a non-negative float")
    return float(value)


l1, l2, l1_l2 = L1, L2, L1L2

_TABLE: dict[str, Callable[..., Regularizer]] = {
    "L1": L1, "l1": L1, "L2": L2, "l2": L2, "L1L2": L1L2, "l1l2": L1L2, "l1_l2": L1L2,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """A regulariser from its name (``"l2"``), its dictionary, its class, or itself; None stays None.

    Raises:
        ValueError: no such regulariser.
        TypeError: a function, which has no gradient here.
    """
    found = _objects.get(identifier, _TABLE, "regularizer")
    if found is not None and not callable(getattr(found, "gradient", None)):
        raise _validation.wrong_type(
            "regularizers.get", "regularizer", identifier,
            "a name, a Regularizer (subclass it to give a penalty and its gradient) or None",
        )  # fmt: skip
    return found


def serialize(regularizer: Any) -> dict[str, Any]:
    """Keras's dictionary of a regulariser."""
    return _objects.serialize(regularizer, "keras.regularizers")


def deserialize(config: Mapping[str, Any] | str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The inverse of :func:`serialize`."""
    return _objects.deserialize(config, _TABLE, "regularizer", custom_objects)
