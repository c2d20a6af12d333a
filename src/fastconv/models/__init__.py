"""Models: `Sequential`, a stack of layers that is trained, evaluated, saved and loaded as in Keras."""

from .saving import load_model
from .sequential import Sequential

__all__ = ["Sequential", "load_model"]
