"""First values of weights. Names, defaults, distributions and configs are those of Keras 3.

An initialiser is a callable ``(shape, dtype=None) -> array``; any callable of that form serves. A random one without a
seed draws its seed once, when it is made, from the generator that `fastconv.utils.set_random_seed` governs; as in Keras
the same object gives the same numbers each time that it is called.

References:
    Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010, eq. 16.
    He et al.: Delving deep into rectifiers, arXiv:1502.01852, section 2.2.
    LeCun et al.: Efficient BackProp, 1998, section 4.6.
    Saxe et al.: Exact solutions to the nonlinear dynamics of learning in deep linear neural networks, arXiv:1312.6120.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import _objects, _random, _validation

Shape = Sequence[int]

# Standard deviation of a normal distribution of deviation 1 that is cut at ±2: sqrt(1 - 4 φ(2) / (2 Φ(2) - 1)).
_TRUNCATED_STDDEV = 0.87962566103423978


def compute_fans(
    shape: Shape, input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
) -> tuple[int, int]:
    """Inputs that one output sums over, and outputs that one input feeds: ``(fan_in, fan_out)``.

    A matrix is ``(fan_in, fan_out)``; a convolution kernel ``(kh, kw, in, out)`` has ``kh * kw * in`` and ``kh * kw *
    out``.

    Example:
        >>> compute_fans((5, 5, 6, 16))
        (150, 400)
    """
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
    if len(shape) < 1:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _truncated_normal(generator: np.random.Generator, shape: Shape, mean: float, stddev: float) -> np.ndarray:
    """Normal numbers, those beyond two standard deviations drawn again until none is left (float64)."""
    values = generator.standard_normal(math.prod(shape))
    outside = np.flatnonzero(np.abs(values) > 2)
    while outside.size:
        values[outside] = generator.standard_normal(outside.size)
        outside = outside[np.abs(values[outside]) > 2]
    return (values * stddev + mean).reshape(tuple(shape))


class Initializer:
    """Base of the initialisers."""

    def __call__(self, shape: Shape, dtype: Any = None) -> np.ndarray:
        """A new array of ``shape`` and ``dtype`` (None: float32)."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """The inverse of :meth:`get_config`."""
        return cls(**config)


class Constant(Initializer):
    """Every weight the same value.

    Args:
        value: the value, or an array that broadcasts to the weight's shape. Default 0.

    Example:
        >>> Constant(0.1)((2,), "float64")
        array([0.1, 0.1])
    """

    def __init__(self, value: Any = 0.0) -> None:
        _validation.as_numeric("Constant", "value", value)
        self.value = value

    def __call__(self, shape: Shape, dtype: Any = None) -> np.ndarray:
        return np.full(tuple(shape), self.value, dtype or np.float32)

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value.tolist() if isinstance(self.value, (np.ndarray, np.generic)) else self.value}


class Zeros(Initializer):
    """Every weight 0: the usual start of a bias.

    Example:
        >>> Zeros()((3,))
        array([0., 0., 0.], dtype=float32)
    """

    def __call__(self, shape: Shape, dtype: Any = None) -> np.ndarray:
        return np.zeros(tuple(shape), dtype or np.float32)


class Ones(Initializer):
    """Every weight 1.

    Example:
        >>> Ones()((3,))
        array([1., 1., 1.], dtype=float32)
    """

    def __call__(self, shape: Shape, dtype: Any = None) -> np.ndarray:
        return np.ones(tuple(shape), dtype or np.float32)


class Identity(Initializer):
    """The identity matrix times ``gain``; for 2-D weights only.

    Args:
        gain: factor. Default 1.

    Raises:
        ValueError: the shape to fill is not 2-D.

    Example:
        >>> Identity(2.0)((2, 2), "float64")
        array([[2., 0.],
               [0., 2.]])
    """

    def __init__(self, gain: float = 1.0) -> None:
        _validation.as_number("Identity", "gain", gain)
        self.gain = gain

    def __call__(self, shape: Shape, dtype: Any = None) -> np.ndarray:
        if len(shape) != 2:
            raise _validation.initializer_rank(
                "Identity matrix initializer can only be used for 2D matrices", "a Dense layer's kernel", shape
            )
        return np.eye(*shape, dtype=dtype or np.float32) * np.dtype(dtype or np.float32).type(self.gain)

    def get_config(self) -> dict[str, Any]:
        # Keras 3.15 leaves the gain out, so that its own files forget it; it accepts the key.
        return {"gain": self.gain} if self.gain != 1.0 else {}


class RandomInitializer(Initializer):
    """Base of the initialisers that draw random numbers.

    Args:
        seed: a non-negative int, or None: drawn, once, from the generator that `fastconv.utils.set_random_seed`
        governs.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = None if seed is None else _validation.as_seed(type(self).__name__, seed)
        self._drawn_seed = _random.new_seed() if self.seed is None else self.seed

    def __call__(self, shape: Shape, dtype: Any = None) -> np.ndarray:
        # Drawn in float64 whatever the type, so that a float32 model starts at the rounded weights of its float64 twin.
        return self._draw(np.random.default_rng(self._drawn_seed), tuple(shape)).astype(dtype or np.float32, copy=False)

    def _draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class RandomNormal(RandomInitializer):
    """Normal numbers.

    Args:
        mean: default 0.
        stddev: standard deviation, default 0.05.
        seed: see :class:`RandomInitializer`.

    Example:
        >>> RandomNormal(seed=1)((3, 4)).shape
        (3, 4)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        _validation.as_number(type(self).__name__, "mean", mean)
        _validation.as_number(type(self).__name__, "stddev", stddev, 0)
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def _draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return generator.normal(self.mean, self.stddev, shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(RandomNormal):
    """Normal numbers; those further than two standard deviations from the mean are drawn again.

    ``stddev`` is the deviation before the cut; what remains deviates by 0.88 of it.

    Args:
        mean: default 0.
        stddev: standard deviation before the cut, default 0.05.
        seed: see :class:`RandomInitializer`.

    Example:
        >>> bool(abs(TruncatedNormal(stddev=0.1, seed=1)((1000,))).max() <= 0.2)
        True
    """

    def _draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return _truncated_normal(generator, shape, self.mean, self.stddev)


class RandomUniform(RandomInitializer):
    """Evenly spread numbers in ``[minval, maxval)``.

    Args:
        minval: lower end, default -0.05.
        maxval: upper end, default 0.05.
        seed: see :class:`RandomInitializer`.

    Example:
        >>> bool(abs(RandomUniform(seed=1)((1000,))).max() <= 0.05)
        True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        _validation.as_number(type(self).__name__, "minval", minval)
        _validation.as_number(type(self).__name__, "maxval", maxval, minval)
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def _draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return generator.uniform(self.minval, self.maxval, shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


class VarianceScaling(RandomInitializer):
    """Random numbers of variance ``scale / n``, where n is fan_in, fan_out or their mean.

    ``"truncated_normal"`` is widened by 1 / 0.8796, so that its variance after the cut at two deviations is the one
    asked for; ``"uniform"`` spreads over ±sqrt(3 scale / n).

    Args:
        scale: positive float. Default 1.
        mode: ``"fan_in"`` (default), ``"fan_out"`` or ``"fan_avg"``.
        distribution: ``"truncated_normal"`` (default; also ``"normal"``), ``"untruncated_normal"`` or ``"uniform"``.
        seed: see :class:`RandomInitializer`.
        input_axes, output_axes: the axes that count as inputs and as outputs; both or neither. Default: by the shape,
            see :func:`compute_fans`.

    Raises:
        ValueError: scale not positive, unknown mode or distribution.

    Example:
        >>> weights = VarianceScaling(scale=2.0, seed=1)((400, 500))
        >>> round(float(weights.var()) * 400, 1)
        2.0
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        where = type(self).__name__
        if not _validation.as_number(where, "scale", scale) > 0:
            raise _validation.invalid_argument(where, "scale", scale, "expected a positive float")
        self.scale = scale
        self.mode = _validation.as_choice(where, "mode", mode, ("fan_in", "fan_out", "fan_avg"))
        distribution = distribution.lower() if isinstance(distribution, str) else distribution
        self.distribution = _validation.as_choice(
            where,
            "distribution",
            "truncated_normal" if distribution == "normal" else distribution,
            ("uniform", "truncated_normal", "untruncated_normal"),
        )
        self.input_axes = input_axes
        self.output_axes = output_axes
        super().__init__(seed)

    def _draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        count = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, count)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return generator.uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return generator.normal(0.0, math.sqrt(variance), shape)
        return _truncated_normal(generator, shape, 0.0, math.sqrt(variance) / _TRUNCATED_STDDEV)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class _Preset(VarianceScaling):
    """A VarianceScaling with a name of its own, whose config holds the seed and the axes only."""

    _settings: tuple[float, str, str]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(*self._settings, seed=seed, input_axes=input_axes, output_axes=output_axes)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed, "input_axes": self.input_axes, "output_axes": self.output_axes}


class GlorotUniform(_Preset):
    """Uniform in ±sqrt(6 / (fan_in + fan_out)): Keras's default for kernels."""

    _settings = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Preset):
    """Truncated normal of variance 2 / (fan_in + fan_out)."""

    _settings = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Preset):
    """Uniform in ±sqrt(6 / fan_in); made for ReLU."""

    _settings = (2.0, "fan_in", "uniform")


class HeNormal(_Preset):
    """Truncated normal of variance 2 / fan_in; made for ReLU."""

    _settings = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Preset):
    """Uniform in ±sqrt(3 / fan_in)."""

    _settings = (1.0, "fan_in", "uniform")


class LecunNormal(_Preset):
    """Truncated normal of variance 1 / fan_in; made for SELU."""

    _settings = (1.0, "fan_in", "truncated_normal")


class Orthogonal(RandomInitializer):
    """Rows or columns (the fewer) orthonormal, times ``gain``; a kernel counts as the matrix ``(kh * kw * in, out)``.

    The Q of a normal matrix's QR factorisation, with the signs of R's diagonal taken out, which makes it uniform over
    the orthogonal matrices.

    Args:
        gain: factor. Default 1.
        seed: see :class:`RandomInitializer`.

    Raises:
        ValueError: the shape to fill has fewer than two axes.

    Example:
        >>> import numpy as np
        >>> q = Orthogonal(seed=1)((3, 3), "float64")
        >>> np.allclose(q @ q.T, np.eye(3))
        True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        _validation.as_number("Orthogonal", "gain", gain)
        super().__init__(seed)
        self.gain = gain

    def _draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) < 2:
            raise _validation.initializer_rank(
                "The tensor to initialize must be at least two-dimensional", "a kernel", shape
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(generator.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        return self.gain * (q.T if rows < columns else q).reshape(shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain}


zeros, ones, constant, identity = Zeros, Ones, Constant, Identity
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling, orthogonal = VarianceScaling, Orthogonal
glorot_uniform, glorot_normal, he_uniform, he_normal = GlorotUniform, GlorotNormal, HeUniform, HeNormal
lecun_uniform, lecun_normal = LecunUniform, LecunNormal

_TABLE: dict[str, Callable[..., Initializer]] = {
    "Zeros": Zeros, "zeros": Zeros, "zero": Zeros,
    "Ones": Ones, "ones": Ones, "one": Ones,
    "Constant": Constant, "constant": Constant,
    "Identity": Identity, "identity": Identity,
    "RandomNormal": RandomNormal, "random_normal": RandomNormal, "normal": RandomNormal,
    "RandomUniform": RandomUniform, "random_uniform": RandomUniform, "uniform": RandomUniform,
    "TruncatedNormal": TruncatedNormal, "truncated_normal": TruncatedNormal,
    "VarianceScaling": VarianceScaling, "variance_scaling": VarianceScaling,
    "GlorotUniform": GlorotUniform, "glorot_uniform": GlorotUniform,
    "GlorotNormal": GlorotNormal, "glorot_normal": GlorotNormal,
    "HeUniform": HeUniform, "he_uniform": HeUniform,
    "HeNormal": HeNormal, "he_normal": HeNormal,
    "LecunUniform": LecunUniform, "lecun_uniform": LecunUniform,
    "LecunNormal": LecunNormal, "lecun_normal": LecunNormal,
    "Orthogonal": Orthogonal, "orthogonal": Orthogonal,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """An initialiser from its name, its dictionary, its class, an array (the values themselves), or itself.

    Raises:
        ValueError: no such initialiser.

    Example:
        >>> type(get("he_normal")).__name__
        'HeNormal'
    """
    if isinstance(identifier, (np.ndarray, np.generic)):
        return _FromArray(np.array(identifier))
    return _objects.get(identifier, _TABLE, "initializer")


class _FromArray(Initializer):
    """The values of a given array, whose shape must be the weight's."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __call__(self, shape: Shape, dtype: Any = None) -> np.ndarray:
        if tuple(shape) != self.values.shape:
            raise _validation.initializer_shape(tuple(shape), self.values.shape)
        return self.values.astype(dtype or np.float32)

    def get_config(self) -> dict[str, Any]:
        raise _validation.not_serializable("keras.initializers", self.values)


def serialize(initializer: Any) -> dict[str, Any]:
    """Keras's dictionary of an initialiser."""
    return _objects.serialize(initializer, "keras.initializers")


def deserialize(config: Mapping[str, Any] | str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The inverse of :func:`serialize`."""
    return _objects.deserialize(config, _TABLE, "initializer", custom_objects)
