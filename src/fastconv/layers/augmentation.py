"""Layers that change images at random, in training only: as if the data set were larger than it is.

`Sequential.fit` trains, ``evaluate`` and ``predict`` do not; called alone, a layer acts with ``training=True``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _random, _validation
from .base import Array, Layer, Shape, as_data_format, image_layout
from .resampling import FILL_MODES, INTERPOLATIONS, Resampler, Sampling

FLIP_MODES = ("horizontal", "vertical", "horizontal_and_vertical")


class _Augmentation(Layer):
    """Base of the augmentation layers: one image or a batch, of any numbers, in either data format."""

    _min_ndim, _max_ndim = 3, 4
    _takes_integers = True

    def __init__(self, seed: int | None, data_format: str | None, bounding_box_format: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        where = type(self).__name__
        _validation.refuse_unsupported(
            where, {"bounding_box_format": bounding_box_format}, "Images are changed, without boxes."
        )
        self.seed = None if seed is None else _validation.as_seed(where, seed)
        self.data_format = as_data_format(where, data_format)
        self._layout = image_layout(self.data_format)
        self._generator = _random.derive(self.seed)

    def _images(self, array: Array) -> Array:
        """One image or a batch of the layer's data format, seen as (n, h, w, c)."""
        batch = array if array.ndim == 4 else array[None]
        return np.moveaxis(batch, 1, -1) if self.data_format == "channels_first" else batch

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return self._check_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed, "data_format": self.data_format}


class _RandomAffine(_Augmentation):
    """Base of the layers that draw an affine map for each image; a class overrides ``_maps``."""

    def __init__(
        self,
        fill_mode: str,
        interpolation: str,
        seed: int | None,
        fill_value: float,
        data_format: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        where = type(self).__name__
        self.fill_mode = _validation.as_choice(where, "fill_mode", fill_mode, FILL_MODES)
        self.interpolation = _validation.as_choice(where, "interpolation", interpolation, INTERPOLATIONS)
        self.fill_value = _validation.as_number(where, "fill_value", fill_value)
        self._sampling = Sampling(self.interpolation, self.fill_mode, self.fill_value)

    def _maps(self, n: int, h: int, w: int) -> Array:
        """n random maps (n, 6), see `resampling`."""
        raise NotImplementedError

    def _uniform(self, bounds: tuple[float, float], n: int) -> Array:
        return self._generator.uniform(*bounds, n)

    def call(self, x: Array, training: bool = False) -> Array:
        if not training or not x.size:
            self._keep(training, x.shape, None)
            return x
        images, y = self._images(x), self._empty("output", x.shape)
        resampler = Resampler(self._maps(*images.shape[:3]), images.shape, x.dtype, self._sampling)
        resampler.forward(images, self._images(y))
        self._keep(training, y.shape, resampler)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, resampler = self._recall(grad_output)
        if not self._needs_input_grad:
            return None
        if resampler is None:
            return grad_output
        grad_input = self._empty("grad_input", grad_output.shape)
        resampler.backward(self._images(grad_output), self._images(grad_input))
        return grad_input

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "fill_mode": self.fill_mode,
            "interpolation": self.interpolation,
            "fill_value": self.fill_value,
        }


class RandomTranslation(_RandomAffine):
    """In training each image is shifted by a random part of its height and width; outside it passes unchanged.

    ``y[i, j] = x[i - dy, j - dx]`` with ``dy = h · u``, ``u`` uniform in the height's bounds, and ``dx`` likewise,
    drawn anew for each image.

    Input shape, output shape:
        ``(n, h, w, c)``, or one image ``(h, w, c)``; with ``data_format="channels_first"`` c stands before h. The
        numbers may be integers; the output is of the layer's type and of the input's shape.

    Args:
        height_factor: bounds (low, high) of the shift down as part of the height, from -1 to 1; one number f is
            (-f, f).
        width_factor: likewise of the shift to the right as part of the width.
        fill_mode: what is beyond the border: ``"reflect"`` (default) d c b a | a b c d | d c b a, ``"wrap"`` a b c d |
            a b c d | a b c d, ``"nearest"`` a a a | a b c d | d d d, ``"constant"``: ``fill_value``.
        interpolation: ``"bilinear"`` (default) or ``"nearest"``: how a value between pixels is read.
        seed: non-negative int, for a sequence of its own; None: from `fastconv.utils.set_random_seed`.
        fill_value: for ``fill_mode="constant"``. Default 0.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a factor outside its range, an unknown mode, input that has not 3 or 4 axes.

    Example:
        >>> import numpy as np
        >>> layer = RandomTranslation(0.2, 0.2, fill_mode="constant", seed=1)
        >>> x = np.ones((8, 28, 28, 1), "float32")
        >>> bool((layer(x) == x).all()), bool((layer(x, training=True) == x).all())
        (True, False)

    References:
        Simard, Steinkraus, Platt: Best practices for convolutional neural networks applied to visual document
        analysis, ICDAR 2003.
    """

    def __init__(
        self,
        height_factor: float | tuple[float, float],
        width_factor: float | tuple[float, float],
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        where = "RandomTranslation"
        self.height_factor, self._height_bounds = _validation.as_factor(where, "height_factor", height_factor)
        self.width_factor, self._width_bounds = _validation.as_factor(where, "width_factor", width_factor)

    def _maps(self, n: int, h: int, w: int) -> Array:
        down = self._uniform(self._height_bounds, n) * h
        return translation_maps(down, self._uniform(self._width_bounds, n) * w)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


class RandomRotation(_RandomAffine):
    """In training each image is turned about its middle by a random angle; outside it passes unchanged.

    Positive angles turn counter-clockwise.

    Input shape, output shape:
        ``(n, h, w, c)``, or one image ``(h, w, c)``; with ``data_format="channels_first"`` c stands before h. The
        numbers may be integers; the output is of the layer's type and of the input's shape.

    Args:
        factor: bounds (low, high) of the angle as part of a full turn, from -1 to 1; one number f is (-f, f): 0.1 is
            ±36°.
        fill_mode, interpolation, seed, fill_value, data_format: as :class:`RandomTranslation`.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a factor outside its range, an unknown mode, input that has not 3 or 4 axes.

    Example:
        >>> import numpy as np
        >>> layer = RandomRotation((0.25, 0.25), interpolation="nearest")
        >>> x = np.arange(4, dtype="float32").reshape(1, 2, 2, 1)
        >>> layer(x, training=True)[0, :, :, 0]
        array([[1., 3.],
               [0., 2.]], dtype=float32)
    """

    def __init__(
        self,
        factor: float | tuple[float, float],
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        _, self.factor = _validation.as_factor("RandomRotation", "factor", factor)

    def _maps(self, n: int, h: int, w: int) -> Array:
        return rotation_maps(self._uniform(self.factor, n) * 360, h, w)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


class RandomZoom(_RandomAffine):
    """In training each image is made smaller or larger about its middle by a random factor; outside it passes.

    ``y[i, j] = x[(h - 1) / 2 · (1 - z) + z · i, …]`` with ``z = 1 + u`` and ``u`` uniform in the bounds: positive
    numbers show more of the scene, negative ones less.

    Input shape, output shape:
        ``(n, h, w, c)``, or one image ``(h, w, c)``; with ``data_format="channels_first"`` c stands before h. The
        numbers may be integers; the output is of the layer's type and of the input's shape.

    Args:
        height_factor: bounds (low, high) of u for the height, above -1 up to 1; one number f is (-f, f).
        width_factor: likewise for the width. Default None: as the height, so that nothing is distorted.
        fill_mode, interpolation, seed, fill_value, data_format: as :class:`RandomTranslation`.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a factor outside its range, an unknown mode, input that has not 3 or 4 axes.

    Example:
        >>> import numpy as np
        >>> layer = RandomZoom((1.0, 1.0), fill_mode="constant")
        >>> x = np.ones((1, 5, 5, 1), "float32")
        >>> layer(x, training=True)[0, :, :, 0]
        array([[0., 0., 0., 0., 0.],
               [0., 1., 1., 1., 0.],
               [0., 1., 1., 1., 0.],
               [0., 1., 1., 1., 0.],
               [0., 0., 0., 0., 0.]], dtype=float32)
    """

    def __init__(
        self,
        height_factor: float | tuple[float, float],
        width_factor: float | tuple[float, float] | None = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        where = "RandomZoom"
        self.height_factor, self._height_bounds = _validation.as_factor(
            where, "height_factor", height_factor, open_low=True
        )
        self.width_factor: Any = None
        self._width_bounds: tuple[float, float] | None = None
        if width_factor is not None:
            self.width_factor, self._width_bounds = _validation.as_factor(
                where, "width_factor", width_factor, open_low=True
            )

    def _maps(self, n: int, h: int, w: int) -> Array:
        vertical = 1 + self._uniform(self._height_bounds, n)
        horizontal = vertical if self._width_bounds is None else 1 + self._uniform(self._width_bounds, n)
        return zoom_maps(vertical, horizontal, h, w)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


class RandomFlip(_Augmentation):
    """In training each image is mirrored with probability 1/2; outside it passes unchanged.

    Input shape, output shape:
        ``(n, h, w, c)``, or one image ``(h, w, c)``; with ``data_format="channels_first"`` c stands before h. The
        numbers may be integers; the output is of the layer's type and of the input's shape.

    Args:
        mode: ``"horizontal"`` (left and right change places), ``"vertical"`` (top and bottom), or
            ``"horizontal_and_vertical"`` (default): both at once or none, as in Keras 3: one draw for each image.
        seed: non-negative int, for a sequence of its own; None: from `fastconv.utils.set_random_seed`.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: an unknown mode, input that has not 3 or 4 axes.

    Example:
        >>> import numpy as np
        >>> layer = RandomFlip("horizontal", seed=0)
        >>> x = np.tile(np.array([1.0, 2.0], "float32").reshape(1, 1, 2, 1), (4, 1, 1, 1))
        >>> sorted(set(map(tuple, layer(x, training=True)[:, 0, :, 0].tolist())))
        [(1.0, 2.0), (2.0, 1.0)]
    """

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.mode = _validation.as_choice("RandomFlip", "mode", mode, FLIP_MODES)

    def call(self, x: Array, training: bool = False) -> Array:
        if not training or not x.size:
            self._keep(training, x.shape, None)
            return x
        chosen = self._generator.random(len(x) if x.ndim == 4 else 1) <= 0.5
        y = self._flip(x, chosen, self._empty("output", x.shape))
        self._keep(training, y.shape, chosen)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, chosen = self._recall(grad_output)
        if not self._needs_input_grad:
            return None
        if chosen is None:
            return grad_output
        # A mirror is its own adjoint.
        return self._flip(grad_output, chosen, self._empty("grad_input", grad_output.shape))

    def _flip(self, x: Array, chosen: Array, out: Array) -> Array:
        rows = slice(None, None, -1 if "vertical" in self.mode else 1)
        cols = slice(None, None, -1 if "horizontal" in self.mode else 1)
        images, mirrored = self._images(x), self._images(out)
        np.copyto(out, x)
        mirrored[chosen] = images[chosen][:, rows, cols]
        return out

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


def translation_maps(down: Array, right: Array) -> Array:
    """Maps (n, 6) that shift images by so many pixels."""
    one, zero = np.ones_like(down), np.zeros_like(down)
    return np.stack([one, zero, -right, zero, one, -down], axis=1)


def rotation_maps(degrees: Array, h: int, w: int) -> Array:
    """Maps (n, 6) that turn images about their middle, counter-clockwise."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    x, y = (w - 1) / 2, (h - 1) / 2
    return np.stack([cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos], axis=1)


def zoom_maps(vertical: Array, horizontal: Array, h: int, w: int) -> Array:
    """Maps (n, 6) that show so many times the height and width of the scene, about the middle."""
    zero = np.zeros_like(vertical)
    return np.stack(
        [horizontal, zero, (w - 1) / 2 * (1 - horizontal), zero, vertical, (h - 1) / 2 * (1 - vertical)], axis=1
    )
