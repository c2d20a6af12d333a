"""The package's source of random numbers: one generator that `utils.set_random_seed` seeds, and its descendants.

Initialisers draw their seed here when they are made, layers such as Dropout take a generator of their own, so that
after ``set_random_seed`` the same program makes the same numbers, whatever else runs in between.
"""

from __future__ import annotations

import threading

import numpy as np

_lock = threading.Lock()
_generator: np.random.Generator | None = None


def default_generator() -> np.random.Generator:
    """The generator that everything unseeded descends from; made from the system's entropy on first use."""
    global _generator
    with _lock:
        if _generator is None:
            _generator = np.random.default_rng()
        return _generator


def set_seed(seed: int | None) -> None:
    """Start the default generator anew from ``seed`` (None: from the system's entropy)."""
    global _generator
    fresh = np.random.default_rng(seed)
    with _lock:
        _generator = fresh


def new_seed() -> int:
    """A seed drawn from the default generator."""
    return int(default_generator().integers(2**31))


def derive(seed: int | None = None) -> np.random.Generator:
    """A generator of its own: from ``seed``, or, without one, from a seed drawn from the default generator."""
    return np.random.default_rng(new_seed() if seed is None else seed)
