"""What every layer is: checks, weights, gradients, buffers. The layers' arithmetic stands in the other files.

A layer of one's own overrides ``build`` (makes weights), ``call`` (computes, and keeps with ``_keep`` what going back
needs) and ``backward`` (starts with ``_recall``):

Example:
    >>> import numpy as np
    >>> class Scale(Layer):
    ...     def build(self, input_shape):
    ...         self._factor = self.add_weight("factor", (), "ones")
    ...     def call(self, x, training=False):
    ...         self._keep(training, x.shape, x)
    ...         return x * self._factor
    ...     def backward(self, grad_output):
    ...         grad_output, x = self._recall(grad_output)
    ...         self._set_grads([np.array((grad_output * x).sum(), x.dtype)])
    ...         return grad_output * self._factor
    >>> layer = Scale(name="scale")
    >>> y = layer(np.ones((2, 3), "float32"), training=True)
    >>> grad_input = layer.backward(np.ones((2, 3), "float32"))
    >>> float(layer.grads[0])
    6.0
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from .. import _validation, initializers, regularizers
from ..ops._arrays import lined_empty, result_empty
from ..ops.inference import Step
from .naming import auto_name

Array = np.ndarray
Shape = tuple[int | None, ...]
Pair = tuple[int, int]


class _Weight(NamedTuple):
    value: Array  # lives as long as the layer: optimisers and set_weights write into it
    trainable: bool
    regularizer: Any


def _guarded_build(build: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Wrap a class's ``build``: input checked first, done once only, and a failure leaves the layer unbuilt."""

    @functools.wraps(build)
    def guarded(self: Layer, input_shape: Any) -> None:
        shape = _validation.as_shape(f"Layer '{self.name}'", "input_shape", input_shape)
        self._check_shape(shape)
        if self.built:
            return
        before = self.__dict__.copy()
        try:
            build(self, shape)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        self._input_shape = shape
        self.built = True

    return guarded


class Layer:
    """Base of all layers.

    Args:
        trainable: whether training changes the weights. Default True.
        dtype: ``"float32"`` (default) or ``"float64"``: of the weights, the arithmetic and the output. Float input of
            the other type is converted.
        name: default: the class's name in snake case, numbered.
        input_shape: shape of one sample, without the batch axis; lets a model build itself before it sees data.
        input_dim: short for ``input_shape=(input_dim,)``.
        activity_regularizer: not supported, must be None.

    Attributes:
        built: whether the weights exist.
        weights, trainable_weights, non_trainable_weights: lists of live arrays.
        grads: after ``backward``: one array for each of ``trainable_weights``, the regularisers' part included.
        input_shape, output_shape: once built, as ``build`` was told.

    Raises:
        ValueError: an argument that no layer has, or that has a wrong value.
        TypeError: called on an array that is not float32 or float64.
    """

    # Axes of the input, and how a message writes them; set by the classes that need a certain number.
    _ndim: int | None = None
    _min_ndim: int | None = None
    _max_ndim: int | None = None
    _layout = ""
    # Whether integers are converted rather than refused: images of bytes, for the layers that prepare images.
    _takes_integers = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _guarded_build(cls.__dict__["build"])  # type: ignore[method-assign]

    _edits = 0  # changes of public attributes
    _last_shapes: tuple[Any, Any] = (None, None)  # of input and output: batches are mostly of one size

    def __init__(
        self,
        *,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        activity_regularizer: Any = None,
        **unknown: Any,
    ) -> None:
        where = type(self).__name__
        _validation.refuse_unknown_arguments(where, unknown)
        _validation.refuse_unsupported(
            where, {"activity_regularizer": activity_regularizer}, "Regularise the weights: kernel_regularizer."
        )
        self.trainable = bool(trainable)
        self.dtype = _validation.as_layer_dtype(where, dtype)
        if input_dim is not None:
            input_shape = (input_dim,)
        self._input_shape_arg = None if input_shape is None else _validation.as_shape(where, "input_shape", input_shape)
        self.name = auto_name(where) if name is None else _validation.as_layer_name(name)
        self.built = False
        self.grads: list[Array] = []
        self._input_shape: Shape | None = None
        self._weights: dict[str, _Weight] = {}
        self._axis_sizes: dict[int, int] = {}  # axes whose length the weights have fixed
        self._kept: tuple[tuple[Any, ...], tuple[Any, ...]] | None = None
        self._buffers: dict[str, Array] = {}
        self._last_buffers: dict[str, tuple[Any, Any, Array]] = {}  # (shape, type, part of a buffer) as last wanted
        # The switches of a training loop. Two name the thread for which they are on, 0 for none: others may predict.
        self._reuse_buffers = 0  # write outputs and gradients into the same memory at each step
        self._emit_logits = 0  # leave out a final softmax or sigmoid, forward and back
        self._needs_input_grad = True  # False: backward may return None
        # relu's gradient, 0 where the output is 0, can be taken behind a max-pooling, from its fewer cells: every
        # gradient that the pooling passes on belongs to a cell whose value is the pooling's output.
        self._relu_grad_behind = False  # True: the layer behind takes the gradient of this layer's fused relu
        self._relu_before: Layer | None = None  # the layer for whose fused relu this one takes the gradient
        self._bias_grad: Array | None = None  # of this layer's bias, if the layer behind has computed it on the way
        self._overwrites_grad_output = False  # True: nobody reads the gradient of the output after backward

    # Forward and back

    def __call__(self, x: Any, training: bool = False) -> Array:
        """The layer's output for a batch ``x``; builds the layer on the first call.

        With ``training=True`` the layer keeps what :meth:`backward` needs (by reference: do not change ``x`` in
        between). A call that fails leaves the layer as it was.
        """
        x = self._as_input(x)
        if x.shape != self._last_shapes[0]:
            self._check_shape(x.shape)
        if self.built:
            return self.call(x, training)
        before = self.__dict__.copy()
        try:
            self.build((None, *x.shape[1:]))
            return self.call(x, training)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    @_guarded_build
    def build(self, input_shape: Shape) -> None:
        """Make the weights for an input shape, batch axis included (it may be None). Once built, a no-op."""

    def call(self, x: Array, training: bool = False) -> Array:
        """The layer's arithmetic, on a checked array."""
        raise NotImplementedError(f"{type(self).__name__} has no call().")

    def backward(self, grad_output: Any) -> Array | None:
        """Gradient of the loss in the layer's input, from that in its output; sets ``grads`` on the way.

        Args:
            grad_output: shaped like the output of the last call with ``training=True``.

        Returns:
            Array shaped like that call's input; None where a model has declared it needless.

        Raises:
            RuntimeError: no training call came before.
            ValueError: ``grad_output`` has another shape than the output.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward().")

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """Shape of the output for a shape of the input, batch axis included; None stands for unknown."""
        return self._check_shape(input_shape)

    def multiply_adds(self, input_shape: tuple[int, ...]) -> int:
        """Multiply-adds of one forward pass for a whole batch; 0 where the layer's time is not in these."""
        return 0

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        """What the layer computes in inference for one sample of this shape, before its ``inference_activation``.

        A model runs such steps as one compiled chain. None: the layer's own ``call`` is needed.
        """
        return None

    @property
    def inference_activation(self) -> Callable[[Array], Array] | None:
        """A function of the whole batch that follows the ``inference_step``."""
        return None

    def _output_shape_for(self, x: Array) -> Any:
        """``compute_output_shape(x.shape)``, remembered from one batch to the next."""
        known, output_shape = self._last_shapes
        if x.shape != known:
            output_shape = self.compute_output_shape(x.shape)
            self._last_shapes = x.shape, output_shape
        return output_shape

    @property
    def final_activation(self) -> str | None:
        """``"softmax"`` or ``"sigmoid"`` if the output is one over the last axis, which a loss may then take over.

        A model that computes the two together sets ``_emit_logits``; the layer then gives logits, and ``backward``
        expects the gradient of the logits.
        """
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        """Count the changes of settings, so that whatever was made from them is made anew."""
        object.__setattr__(self, name, value)
        if name[0] != "_" and name not in ("grads", "built"):
            self._edits += 1
            self._last_shapes = None, None

    # Weights

    def add_weight(
        self, name: str, shape: Sequence[int], initializer: Any, regularizer: Any = None, trainable: bool = True
    ) -> Array:
        """A new weight, filled by ``initializer``; for use in ``build``. The array returned is the live one."""
        shape = tuple(shape)
        initial = np.asarray(initializers.get(initializer)(shape, self.dtype))
        if initial.shape != shape:
            raise _validation.initializer_shape(shape, initial.shape)
        value = result_empty(shape, np.dtype(self.dtype))
        value[...] = initial
        # A new dictionary, so that a failing build can put the old one back.
        self._weights = {**self._weights, name: _Weight(value, trainable, regularizers.get(regularizer))}
        return value

    def _weight(self, name: str) -> Array:
        """A live weight by its name; AttributeError while it is not there."""
        if name not in self._weights:
            raise _validation.no_shape_yet(self.name, name)
        return self._weights[name].value

    @property
    def _weight_names(self) -> list[str]:
        return list(self._weights)

    @property
    def weights(self) -> list[Array]:
        return [weight.value for weight in self._weights.values()]

    @property
    def trainable_weights(self) -> list[Array]:
        return [weight.value for weight in self._trainable()]

    @property
    def non_trainable_weights(self) -> list[Array]:
        return [weight.value for weight in self._weights.values() if not (self.trainable and weight.trainable)]

    # Keras has both words.
    variables, trainable_variables, non_trainable_variables = weights, trainable_weights, non_trainable_weights

    def _trainable(self) -> list[_Weight]:
        return [weight for weight in self._weights.values() if self.trainable and weight.trainable]

    def get_weights(self) -> list[Array]:
        """Copies of the weights."""
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Overwrite the weights, in the order of ``weights``.

        Raises:
            ValueError: another number of arrays, or another shape; nothing is changed then.
        """
        values = _validation.as_weights(self.name, weights, self.weights)
        for weight, value in zip(self.weights, values, strict=True):
            np.copyto(weight, value, casting="unsafe")

    def count_params(self) -> int:
        """Number of weights, as scalars.

        Raises:
            ValueError: the layer has weights to make and is not built yet.
        """
        if not self.built and type(self).build is not Layer.build:
            raise _validation.not_built(self.name, "call `count_params`")
        return sum(weight.size for weight in self.weights)

    def regularization_loss(self) -> float:
        """Sum of the regularisers' penalties on the trainable weights."""
        return float(sum(w.regularizer(w.value) for w in self._trainable() if w.regularizer is not None))

    # Configuration

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, in Keras's form; ``from_config`` makes the layer anew from them, untrained."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": {
                "module": "keras",
                "class_name": "DTypePolicy",
                "config": {"name": self.dtype},
                "registered_name": None,
            },
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """A new layer from the result of ``get_config``."""
        return cls(**config)

    @property
    def input_shape(self) -> Shape:
        return self._built_shape("input_shape")

    @property
    def output_shape(self) -> Shape:
        return self.compute_output_shape(self._built_shape("output_shape"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: a copy made in the middle of a training has no part in it."""
        at_rest = {
            "_buffers": {},
            "_last_buffers": {},
            "_reuse_buffers": 0,
            "_emit_logits": 0,
            "_needs_input_grad": True,
            "_relu_grad_behind": False,
            "_relu_before": None,
            "_bias_grad": None,
            "_overwrites_grad_output": False,
        }
        return {**self.__dict__, **at_rest}

    # For the layers

    def _as_input(self, x: Any) -> Array:
        """``x`` as an array of the layer's type."""
        if isinstance(x, Layer):
            raise _validation.not_an_array(self.name, x)
        check = _validation.as_numeric if self._takes_integers else _validation.as_array
        x = check(f"Layer '{self.name}'", "x", x)
        return x if x.dtype == self.dtype else x.astype(self.dtype)

    def _check_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """``input_shape`` as a tuple, if the layer can take it."""
        shape = tuple(input_shape)
        _validation.check_layer_ndim(self.name, shape, self._ndim, self._min_ndim, self._max_ndim, self._layout)
        for axis, size in self._axis_sizes.items():
            _validation.check_layer_axis(self.name, shape, axis, size)
        return shape

    def _keep(self, training: bool, output_shape: tuple[Any, ...], *values: Any) -> None:
        """Keep ``values`` for ``backward``; the last thing that ``call`` does, so that a failure keeps the old ones."""
        if training:
            self._kept = output_shape, values
        elif self._reuse_buffers and self._reuse_buffers == get_ident():
            # This call has overwritten the buffers that the kept values may live in.
            self._kept = None

    def _recall(self, grad_output: Any) -> tuple[Any, ...]:
        """``grad_output``, checked, and the kept values; the first thing that ``backward`` does."""
        output_shape, values = self._kept_in_call()
        return _validation.as_grad_output(self.name, grad_output, output_shape, np.dtype(self.dtype)), *values

    def _kept_in_call(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What ``_keep`` kept: the output's shape, and the values."""
        if self._kept is None:
            raise _validation.no_forward(self.name)
        return self._kept

    def _set_grads(self, grads: list[Array]) -> None:
        """Set ``grads``, adding the regularisers' part in place."""
        for weight, grad in zip(self._trainable(), grads, strict=True):
            if weight.regularizer is not None:
                grad += weight.regularizer.gradient(weight.value)
        self.grads = grads

    def _empty(self, key: str, shape: Sequence[Any], dtype: Any = None) -> Array:
        """Uninitialised memory: new, or, with ``_reuse_buffers``, that of the last step under the same ``key``.

        A smaller batch gets the leading part. Fresh large arrays page-fault at every step, which reuse avoids.
        """
        shape = tuple(shape)
        kind = dtype or self.dtype
        if not self._reuse_buffers or self._reuse_buffers != get_ident() or not shape:
            return result_empty(shape, np.dtype(kind))
        last_shape, last_kind, last = self._last_buffers.get(key, (None, None, None))
        if last is not None and last_shape == shape and last_kind is kind:
            return last
        dtype = np.dtype(kind)
        buffer = self._buffers.get(key)
        if (
            buffer is None
            or buffer.dtype != dtype
            or buffer.shape[1:] != shape[1:]
            or buffer.ndim != len(shape)
            or buffer.shape[0] < shape[0]
        ):
            buffer = self._buffers[key] = lined_empty(shape, dtype)
        part = buffer[: shape[0]]
        self._last_buffers[key] = shape, kind, part
        return part

    def _gives_logits(self) -> bool:
        """Whether this call leaves the final activation to the loss."""
        return self._emit_logits != 0 and self._emit_logits == get_ident() and self.final_activation is not None

    def _grad_buffer(self, key: str, grad_output: Array) -> Array:
        """Where to write a gradient like ``grad_output``: over it, where nobody reads it any more."""
        return grad_output if self._overwrites_grad_output else self._empty(key, grad_output.shape)

    def _release_buffers(self) -> None:
        """Give back the reused memory, and what was kept for ``backward``; a model does so after training."""
        self._buffers, self._last_buffers = {}, {}
        self._kept = None
        self.grads = []

    def _built_shape(self, attribute: str) -> Shape:
        if self._input_shape is None:
            raise _validation.no_shape_yet(self.name, attribute)
        return self._input_shape


def split_image_shape(shape: Shape, data_format: str) -> tuple[int | None, Shape, int | None]:
    """``(n, (h, w), c)`` of an image shape in either data format."""
    if data_format == "channels_first":
        return shape[0], shape[2:], shape[1]
    return shape[0], shape[1:3], shape[3]


def join_image_shape(n: int | None, size: Sequence[int | None], channels: int | None, data_format: str) -> Shape:
    """The inverse of :func:`split_image_shape`."""
    return (n, channels, *size) if data_format == "channels_first" else (n, *size, channels)


def as_data_format(where: str, value: str | None) -> Any:
    """``"channels_last"`` (also for None) or ``"channels_first"``."""
    return (
        "channels_last"
        if value is None
        else _validation.as_choice(where, "data_format", value, _validation.DATA_FORMATS)
    )


def image_layout(data_format: str) -> str:
    """How a message writes the axes of an image batch."""
    return "(n, c, h, w)" if data_format == "channels_first" else "(n, h, w, c)"
