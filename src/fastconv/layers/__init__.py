"""Layers: arguments, defaults, shapes and names of Keras 3, computing on NumPy arrays with fastconv's kernels.

A layer works alone or in a `fastconv.models.Sequential`:

Example:
    >>> import numpy as np
    >>> from fastconv import layers
    >>> layer = layers.Conv2D(8, 3, padding="same", activation="relu")
    >>> y = layer(np.ones((4, 28, 28, 1), "float32"), training=True)
    >>> grad_input = layer.backward(np.ones_like(y))
    >>> [grad.shape for grad in layer.grads]
    [(3, 3, 1, 8), (8,)]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import _objects
from .activation import Activation, LeakyReLU, ReLU, Softmax
from .augmentation import RandomFlip, RandomRotation, RandomTranslation, RandomZoom
from .base import Layer
from .convolution import Conv2D, Convolution2D
from .core import Dense, Input, InputLayer
from .depthwise import DepthwiseConv2D, SeparableConv2D, SeparableConvolution2D
from .normalization import BatchNormalization
from .pooling import (
    AveragePooling2D,
    AvgPool2D,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling2D,
)
from .preprocessing import Rescaling
from .regularization import Dropout
from .reshaping import Flatten, Reshape, ZeroPadding2D
from .transpose import Conv2DTranspose, Convolution2DTranspose

__all__ = [
    "Activation",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Conv2D",
    "Conv2DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "Input",
    "InputLayer",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling2D",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "Rescaling",
    "Reshape",
    "SeparableConv2D",
    "SeparableConvolution2D",
    "Softmax",
    "ZeroPadding2D",
    "deserialize",
    "serialize",
]

# The classes that a config may name.
_TABLE: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        Activation, AveragePooling2D, BatchNormalization, Conv2D, Conv2DTranspose, Dense, DepthwiseConv2D, Dropout,
        Flatten, GlobalAveragePooling2D, GlobalMaxPooling2D, InputLayer, LeakyReLU, MaxPooling2D, RandomFlip,
        RandomRotation, RandomTranslation, RandomZoom, ReLU, Rescaling, Reshape, SeparableConv2D, Softmax,
        ZeroPadding2D,
    )
}  # fmt: skip


def serialize(layer: Layer) -> dict[str, Any]:
    """Keras's dictionary of a layer: class, config and, once built, the input shape. Weights are not in it.

    Example:
        >>> serialize(Flatten(name="flat"))["class_name"]
        'Flatten'
    """
    config = _objects.serialize(layer, "keras.layers")
    if layer.built and not isinstance(layer, InputLayer):
        config["build_config"] = {"input_shape": layer.input_shape}
    return config


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Layer:
    """A new layer from :func:`serialize`'s dictionary, or from Keras's; not built. Unknown classes are refused.

    Args:
        config: the dictionary.
        custom_objects: classes of your own, by name.

    Raises:
        ValueError: the dictionary names no layer of this module, or holds wrong arguments.

    Example:
        >>> deserialize(serialize(Flatten(name="flat")))
        <Flatten name=flat, built=False>
    """
    layer: Layer = _objects.deserialize(config, _TABLE, "layer", custom_objects)
    return layer
