"""The stack of layers under a model: adding, building, shapes, the pass through all of them, weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import _validation
from ..layers import InputLayer
from ..layers.base import Layer
from ..layers.naming import auto_name
from .inference import Inference
from .interrupts import InterruptGuard

Array = np.ndarray
Shape = tuple[int | None, ...]

# Shapes of samples for which a model keeps its inference plans: a model of images of any size may see many.
INFERENCE_SHAPES = 8


class LayerStack:
    """What `Sequential` is before it is trained; see there.

    Args:
        layers: Layers, or None to ``add`` them later.
        name: Default: the class's name in snake case, numbered.
    """

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        self.name = auto_name(type(self).__name__) if name is None else _validation.as_layer_name(name)
        self._input: InputLayer | None = None
        self._layers: list[Layer] = []
        self._built_with: Shape | None = None
        self._inferences: dict[tuple[tuple[int, ...], bool], Inference] = {}
        if layers is not None and not isinstance(layers, Iterable):
            raise _validation.wrong_type("Sequential", "layers", layers, "a list of layers")
        for layer in layers or ():
            self.add(layer)

    # Layers

    def add(self, layer: Layer) -> None:
        """Put a layer on top.

        Raises:
            TypeError: not a layer.
            ValueError: a name that is there already, a second input, or a layer that the output so far does not fit.
        """
        where = f"Sequential '{self.name}'"
        if isinstance(layer, LayerStack):
            raise _validation.wrong_type(where, "layer", layer, "a layer; a model's layers are added one by one")
        if not isinstance(layer, Layer):
            raise _validation.wrong_type(where, "layer", layer, "a fastconv layer")
        if isinstance(layer, InputLayer):
            if self._input is not None or self._layers:
                raise _validation.wrong_state(where, "an Input must be the first layer.", "Leave this one out.")
            self._input = layer
            return
        if any(other.name == layer.name for other in self._layers):
            raise _validation.wrong_state(
                where, f"a layer named {layer.name!r} is in this model already.", "Names must differ: give it another."
            )
        shape = self._known_input_shape(layer)
        if shape is not None:
            layer.build(self._stack_shape(self._layers, shape))
            self._built_with = shape
        self._layers.append(layer)

    def pop(self) -> Layer:
        """Take the last layer off, and return it.

        Raises:
            ValueError: the model has no layers.
        """
        if not self._layers:
            raise _validation.wrong_state(f"Sequential '{self.name}'", "there is no layer to pop.", "Add one first.")
        layer = self._layers.pop()
        if not self._layers:
            self._built_with = None
        return layer

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the input."""
        return list(self._layers)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place.

        Raises:
            ValueError: no such layer, or neither name nor index given.
        """
        where = f"Sequential '{self.name}'.get_layer"
        if (name is None) == (index is None):
            raise _validation.wrong_state(where, "give a name or an index.", "Exactly one of them.")
        if index is not None:
            index = _validation.as_index(where, "index", index)
            if not -len(self._layers) <= index < len(self._layers):
                raise _validation.unknown_name(where, "index", index, map(str, range(len(self._layers))))
            return self._layers[index]
        for layer in self._layers:
            if layer.name == name:
                return layer
        raise _validation.unknown_name(where, "layer", name, (layer.name for layer in self._layers))

    # Shapes

    def _known_input_shape(self, layer: Layer | None = None) -> Shape | None:
        """Shape of the model's input, batch axis first, if any layer says it; ``layer`` is about to become a layer."""
        if self._built_with is not None:
            return self._built_with
        if self._input is not None:
            return tuple(self._input.batch_shape)
        first = self._layers[0] if self._layers else layer
        if first is None or (self._layers and layer is not None):
            return None
        if first._input_shape_arg is not None:
            return (None, *first._input_shape_arg)
        return (None, *first.input_shape[1:]) if first.built and hasattr(first, "input_shape") else None

    @staticmethod
    def _stack_shape(layers: Sequence[Layer], shape: Sequence[int | None]) -> Shape:
        for layer in layers:
            shape = layer.compute_output_shape(tuple(shape))
        return tuple(shape)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """Shape of the output for a shape of the input, batch axis included."""
        self._require_layers()
        return self._stack_shape(self._layers, input_shape)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make the weights for an input shape, batch axis first (it may be None)."""
        self._require_layers()
        shape = _validation.as_shape(f"Sequential '{self.name}'.build", "input_shape", input_shape)
        known = self._known_input_shape()
        if known is not None and tuple(known[1:]) != shape[1:]:
            raise _validation.wrong_state(
                f"Sequential '{self.name}'.build", f"the input shape is {known} already, received {shape}.",
                "Make a new model."
            )  # fmt: skip
        self._stack_shape(self._layers, shape)  # Whatever does not fit is found before any weight is made.
        running = shape
        for layer in self._layers:
            layer.build(running)
            running = layer.compute_output_shape(running)
        self._built_with = shape

    def _build_for(self, x_shape: Shape) -> None:
        """Build for data of this shape, if the model is not built yet."""
        if not self.built:
            self.build((None, *x_shape[1:]))

    @property
    def built(self) -> bool:
        """Whether the weights exist."""
        return bool(self._layers) and self._built_with is not None and all(layer.built for layer in self._layers)

    @property
    def input_shape(self) -> Shape:
        """Shape of the input, (None, …).

        Raises:
            AttributeError: not known yet.
        """
        return self._shape_or_error("input_shape")

    @property
    def output_shape(self) -> Shape:
        """Shape of the output, (None, …).

        Raises:
            AttributeError: not known yet.
        """
        return self._stack_shape(self._layers, self._shape_or_error("output_shape"))

    def _shape_or_error(self, attribute: str) -> Shape:
        shape = self._known_input_shape()
        if shape is None:
            raise _validation.no_model_shape(self.name, attribute)
        return shape

    def _require_layers(self) -> None:
        if not self._layers:
            raise _validation.wrong_state(
                f"Sequential '{self.name}'", "the model has no layers.", "Add one: model.add(…)."
            )

    def _dtype(self) -> np.dtype:
        self._require_layers()
        return np.dtype(self._layers[0].dtype)

    def _as_input(self, where: str, x: Any) -> Array:
        """``x`` as an array of numbers that the first layer takes, with the declared number of axes.

        As in Keras a last axis of length 1 is added or dropped where `Input` declares it so: images (n, 28, 28) serve
        for ``Input((28, 28, 1))``.
        """
        self._require_layers()
        integers = getattr(self._layers[0], "_takes_integers", False)
        x = _validation.as_numeric(where, "x", x) if integers else _validation.as_images(where, "x", x)
        known = self._known_input_shape()
        if known is not None and x.shape == known[1:] and x.size != 1:
            raise _validation.one_sample(where, x.shape)
        if known is not None and x.ndim == len(known) - 1 and known[-1] == 1:
            return x[..., None]
        if known is not None and x.ndim == len(known) + 1 and x.shape[-1] == 1:
            return x[..., 0]
        return x

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: without what is compiled for these very layers."""
        return {**self.__dict__, "_inferences": {}}

    # Computing

    def __call__(self, x: Any, training: bool = False) -> Array:
        """The output for a batch; with ``training=True`` dropout and its kin are active and ``backward`` may follow."""
        x = self._as_input(f"Sequential '{self.name}'", x)
        if not training:
            return self._inference(x.shape[1:])(x)
        if not self.built:
            self.compute_output_shape(x.shape)
            self._build_for(x.shape)
        for layer in self._layers:
            x = layer(x, training=True)
        return x

    def _inference(self, x_shape: tuple[int, ...], logits: bool = False) -> Inference:
        """What computes the outputs for samples of this shape; kept, since the next batch will be of the same shape."""
        found = self._inferences.get((x_shape, logits))
        if found is None or not found.fits(self._layers):
            if not self.built:
                self.compute_output_shape((None, *x_shape))
                self._build_for((None, *x_shape))
            found = Inference(self._layers, x_shape, logits)
            # A new dictionary: another thread may be reading the old one.
            recent = [*self._inferences.items()][1 - INFERENCE_SHAPES :]
            self._inferences = {**dict(recent), (x_shape, logits): found}
        return found

    def backward(self, grad_output: Any) -> Array | None:
        """Gradient in the input from that in the output of the last training call; fills every ``layer.grads``."""
        for layer in reversed(self._layers):
            grad_output = layer.backward(grad_output)
        return grad_output

    # Weights

    @property
    def weights(self) -> list[Array]:
        """All weights, layer by layer: live arrays."""
        return [weight for layer in self._layers for weight in layer.weights]

    @property
    def trainable_weights(self) -> list[Array]:
        """The weights that training moves."""
        return [weight for layer in self._layers for weight in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Array]:
        """The weights that training leaves alone."""
        return [weight for layer in self._layers for weight in layer.non_trainable_weights]

    # Keras has both words.
    variables, trainable_variables, non_trainable_variables = weights, trainable_weights, non_trainable_weights

    @property
    def trainable(self) -> bool:
        """Whether any layer is trainable; setting it sets every layer's."""
        return any(layer.trainable for layer in self._layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self._layers:
            layer.trainable = bool(value)

    def get_weights(self) -> list[Array]:
        """Copies of all weights."""
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all weights, in the order of ``get_weights``. Nothing changes unless every array fits.

        Raises:
            ValueError: another number of arrays, or another shape.
        """
        present = self.weights
        values = _validation.as_weights(self.name, weights, present)
        guard = InterruptGuard()
        with guard.installed(), guard:
            for weight, value in zip(present, values, strict=True):
                np.copyto(weight, value, casting="unsafe")

    def count_params(self) -> int:
        """Number of weights, as scalars.

        Raises:
            ValueError: the model is not built yet.
        """
        if not self.built:
            raise _validation.not_built(self.name, "call `count_params`")
        return sum(weight.size for weight in self.weights)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"
