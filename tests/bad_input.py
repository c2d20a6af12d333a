"""How a wrong call is tested: its text as a user would type it, the error, and that nothing has changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fastconv import _random

# (call, error, pattern that the message must hold)
Case = tuple[str, Any, str]


def fingerprint(value: Any, seen: dict[int, int] | None = None) -> Any:
    """All that can be reached from an object: arrays to the bit, private attributes included."""
    seen = {} if seen is None else seen
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, type)):
        return value if value == value else "nan"
    if id(value) in seen:
        return ("again", seen[id(value)])
    seen[id(value)] = len(seen)
    if isinstance(value, np.ndarray):
        content = value.tolist() if value.dtype.hasobject else value.tobytes()
        return value.shape, str(value.dtype), value.strides, content
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, Mapping):
        return [(fingerprint(key, seen), fingerprint(item, seen)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [fingerprint(item, seen) for item in value]
    if type(value).__module__.startswith("fastconv"):
        return type(value).__name__, fingerprint(vars(value), seen) if hasattr(value, "__dict__") else None
    return type(value).__name__


def check(case: Case, names: dict[str, Any]) -> None:
    """Make the wrong call among ``names``: the error and its words are right, and all of ``names`` is as before."""
    call, error, pattern = case
    # A constructor may have drawn seeds before it comes to the wrong argument.
    generator = None if re.search(r"(layers|initializers)\.[A-Z]", call) else _random.default_generator()
    before = fingerprint(names), fingerprint(generator)
    with pytest.raises(error) as caught:
        eval(call, dict(names))
    message = str(caught.value)
    assert re.search(pattern, message), f"{pattern!r} is not in: {message}"
    assert len(message) < 900, message
    after = fingerprint(names), fingerprint(generator)
    assert before == after, f"{call} has changed what it was given, or what it was called on"


def spoken_for(cases: list[Case], name: str) -> bool:
    """Whether a table holds a wrong call of ``name``."""
    return any(re.search(rf"\b{re.escape(name)}\(", call) for call, _, _ in cases)
