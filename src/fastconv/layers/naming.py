"""Names of layers and models that were given none: ``conv2d``, ``conv2d_1``, … counted over the life of the process."""

from __future__ import annotations

import re
import threading

_lock = threading.Lock()
_counts: dict[str, int] = {}


def to_snake_case(name: str) -> str:
    """Keras's rule: ``MaxPooling2D`` → ``max_pooling2d``, ``ReLU`` → ``re_lu``.

    Example:
        >>> to_snake_case("GlobalAveragePooling2D")
        'global_average_pooling2d'
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def auto_name(class_name: str) -> str:
    """The next free name of a class."""
    name = to_snake_case(class_name)
    with _lock:
        count = _counts.get(name, 0)
        _counts[name] = count + 1
    return f"{name}_{count}" if count else name


def reset_names() -> None:
    """Start all counts anew, as Keras's ``clear_session`` does."""
    with _lock:
        _counts.clear()
