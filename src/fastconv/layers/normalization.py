"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validation, initializers, ops, regularizers
from .base import Array, Layer, Shape
from .kernel_layer import optional


class BatchNormalization(Layer):
    """Each channel shifted and scaled to mean 0 and variance 1 over the batch, then to a learnt mean and deviation.

    ``y = gamma · (x - mean) / sqrt(variance + epsilon) + beta``, channel by channel. In training the moments are those
    of the batch, and ``moving_mean = momentum · moving_mean + (1 - momentum) · mean``, ``moving_variance`` likewise,
    follow them; outside training the moving ones stand in their place. A layer with ``trainable=False`` is frozen: it
    uses the moving moments in training too, and leaves them as they are.

    Input shape, output shape:
        Any of at least 2 axes; the output is shaped like the input.

    Weights:
        ``gamma``, ``beta`` (trainable; without ``scale`` or ``center`` they are missing), ``moving_mean``,
        ``moving_variance`` (not trainable), each ``(x.shape[axis],)``.

    Args:
        axis: the axis of the channels. Default -1; 1 behind a convolution with ``data_format="channels_first"``.
        momentum: how much of the moving moments is kept at each step. Default 0.99.
        epsilon: added to the variance, against a division by 0. Default 0.001.
        center: whether there is a ``beta``. Default True.
        scale: whether there is a ``gamma``. Default True; needless in front of a linear layer or of ReLU and one.
        beta_initializer, gamma_initializer: defaults ``"zeros"``, ``"ones"``.
        moving_mean_initializer, moving_variance_initializer: defaults ``"zeros"``, ``"ones"``.
        beta_regularizer, gamma_regularizer: default none.
        beta_constraint, gamma_constraint, renorm, synchronized: not supported, must be None or False.
        renorm_clipping, renorm_momentum: without effect, since they belong to ``renorm``.
        **kwargs: ``name``, ``trainable``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a wrong argument; an axis that the input has not, or whose length is not known.

    Example:
        >>> import numpy as np
        >>> layer = BatchNormalization(epsilon=1e-6)
        >>> layer(np.array([[1.0], [3.0]], "float32"), training=True).round(3)
        array([[-1.],
               [ 1.]], dtype=float32)
        >>> layer.moving_mean
        array([0.02], dtype=float32)

    References:
        Ioffe, Szegedy: Batch normalization, arXiv:1502.03167.
    """

    _min_ndim = 2

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        where = "BatchNormalization"
        _validation.refuse_unsupported(
            where,
            {"beta_constraint": beta_constraint, "gamma_constraint": gamma_constraint},
            "Use a regularizer, or change layer.weights between training steps.",
        )
        _validation.refuse_unsupported(
            where,
            {"renorm": renorm or None, "synchronized": synchronized or None},
            "Leave it out: the moments are those of the batch.",
        )
        # Keras 2 and some of its files hold the axis in a list.
        axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
        self.axis = _validation.as_index(where, "axis", axis)
        self.momentum = _validation.as_number(where, "momentum", momentum, 0, 1)
        self.epsilon = _validation.as_number(where, "epsilon", epsilon, 0)
        self.center = bool(center)
        self.scale = bool(scale)
        self.renorm_clipping = renorm_clipping
        self.renorm_momentum = renorm_momentum
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)
        channels = input_shape[self.axis]
        if channels is None:
            raise _validation.unknown_axis(self.name, input_shape, self.axis)
        if self.scale:
            self.add_weight("gamma", (channels,), self.gamma_initializer, self.gamma_regularizer)
        if self.center:
            self.add_weight("beta", (channels,), self.beta_initializer, self.beta_regularizer)
        self.add_weight("moving_mean", (channels,), self.moving_mean_initializer, trainable=False)
        self.add_weight("moving_variance", (channels,), self.moving_variance_initializer, trainable=False)
        self._ndim = len(input_shape)
        self._axis_sizes = {self.axis: channels}

    @property
    def gamma(self) -> Array | None:
        """The live scale; None without one."""
        return self._weights["gamma"].value if "gamma" in self._weights else None

    @property
    def beta(self) -> Array | None:
        """The live offset; None without one."""
        return self._weights["beta"].value if "beta" in self._weights else None

    @property
    def moving_mean(self) -> Array:
        """The live moving mean."""
        return self._weight("moving_mean")

    @property
    def moving_variance(self) -> Array:
        """The live moving variance."""
        return self._weight("moving_variance")

    def call(self, x: Array, training: bool = False) -> Array:
        learning = training and self.trainable
        if learning and x.size:
            mean, variance = ops.channel_moments(x, self.axis)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        y = ops.batch_normalization(
            x, mean, variance, self.axis, self.beta, self.gamma, self.epsilon, out=self._empty("output", x.shape)
        )
        if learning and x.size:
            # Both computed first: an interrupt between the two copies costs one batch's share, not the scale.
            moved = [
                old * self.momentum + new * (1 - self.momentum)
                for old, new in ((self.moving_mean, mean), (self.moving_variance, variance))
            ]
            np.copyto(self.moving_mean, moved[0])
            np.copyto(self.moving_variance, moved[1])
        elif training:
            mean, variance = mean.copy(), variance.copy()
        self._keep(training, y.shape, x, mean, variance, learning)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, x, mean, variance, learning = self._recall(grad_output)
        out = self._empty("grad_input", x.shape)
        if learning:
            grad_input, grad_gamma, grad_beta = ops.batch_normalization_grad(
                grad_output, x, mean, variance, self.axis, self.gamma, self.epsilon, out=out
            )
            self._set_grads([grad_gamma] * self.scale + [grad_beta] * self.center)
            return grad_input if self._needs_input_grad else None
        self._set_grads([])
        if not self._needs_input_grad:
            return None
        # Frozen moments: the map is linear, and its own adjoint.
        nothing = np.zeros_like(mean)
        return ops.batch_normalization(
            grad_output, nothing, variance, self.axis, None, self.gamma, self.epsilon, out=out
        )

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = tuple(input_shape)
        if not -len(shape) <= self.axis < len(shape):
            raise _validation.axis_out_of_bounds(self.name, self.axis, shape)
        return self._check_shape(shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            "beta_regularizer": optional(regularizers.serialize, self.beta_regularizer),
            "gamma_regularizer": optional(regularizers.serialize, self.gamma_regularizer),
            "beta_constraint": None,
            "gamma_constraint": None,
            "synchronized": False,
            "renorm": False,
            "renorm_clipping": self.renorm_clipping,
            "renorm_momentum": self.renorm_momentum,
        }
