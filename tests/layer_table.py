"""Every layer: how to make it, what it takes, and its Keras config."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from fastconv import layers

DTYPE = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}


def initializer(name: str, **config: object) -> dict[str, object]:
    return {"module": "keras.initializers", "class_name": name, "config": config, "registered_name": None}


GLOROT = initializer("GlorotUniform", seed=None, input_axes=None, output_axes=None)
KERNEL = {
    "activation": "linear", "use_bias": True, "kernel_initializer": GLOROT, "bias_initializer": initializer("Zeros"),
    "kernel_regularizer": None, "bias_regularizer": None, "kernel_constraint": None, "bias_constraint": None,
}  # fmt: skip
SAMPLING = {
    "fill_mode": "reflect", "interpolation": "bilinear", "seed": None, "fill_value": 0.0,
    "data_format": "channels_last",
}  # fmt: skip
POOL = {"pool_size": (2, 2), "padding": "valid", "strides": (2, 2), "data_format": "channels_last"}

# Name → (factory, an input shape, default name, the config that Keras 3.15 writes beside name, trainable, dtype).
LAYERS: dict[str, tuple[Callable[..., layers.Layer], tuple[int, ...], str, dict[str, object]]] = {
    "Conv2D": (lambda **k: layers.Conv2D(3, 2, **k), (2, 6, 5, 4), "conv2d", {
        "filters": 3, "kernel_size": (2, 2), "strides": (1, 1), "padding": "valid", "data_format": "channels_last",
        "dilation_rate": (1, 1), "groups": 1, "activity_regularizer": None, **KERNEL,
    }),
    "MaxPooling2D": (layers.MaxPooling2D, (2, 6, 5, 4), "max_pooling2d", POOL),
    "AveragePooling2D": (layers.AveragePooling2D, (2, 6, 5, 4), "average_pooling2d", POOL),
    "GlobalMaxPooling2D": (layers.GlobalMaxPooling2D, (2, 6, 5, 4), "global_max_pooling2d",
        {"data_format": "channels_last", "keepdims": False}),
    "GlobalAveragePooling2D": (layers.GlobalAveragePooling2D, (2, 6, 5, 4), "global_average_pooling2d",
        {"data_format": "channels_last", "keepdims": False}),
    "Dense": (lambda **k: layers.Dense(7, **k), (2, 4), "dense",
        {"units": 7, "quantization_config": None, **KERNEL}),
    "Flatten": (layers.Flatten, (2, 6, 5, 4), "flatten", {"data_format": "channels_last"}),
    "Reshape": (lambda **k: layers.Reshape((4, -1), **k), (2, 6, 2), "reshape", {"target_shape": (4, -1)}),
    "Dropout": (lambda **k: layers.Dropout(0.5, **k), (2, 6), "dropout",
        {"rate": 0.5, "seed": None, "noise_shape": None}),
    "Activation": (lambda **k: layers.Activation("relu", **k), (2, 6), "activation", {"activation": "relu"}),
    "ReLU": (layers.ReLU, (2, 6), "re_lu", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}),
    "LeakyReLU": (layers.LeakyReLU, (2, 6), "leaky_re_lu", {"negative_slope": 0.3}),
    "Softmax": (layers.Softmax, (2, 6), "softmax", {"axis": -1}),
    "ZeroPadding2D": (layers.ZeroPadding2D, (2, 6, 5, 4), "zero_padding2d",
        {"padding": ((1, 1), (1, 1)), "data_format": "channels_last"}),
    "DepthwiseConv2D": (lambda **k: layers.DepthwiseConv2D(2, depth_multiplier=2, **k), (2, 6, 5, 4),
        "depthwise_conv2d", {
            "kernel_size": (2, 2), "strides": (1, 1), "padding": "valid", "data_format": "channels_last",
            "dilation_rate": (1, 1), "depth_multiplier": 2, "activity_regularizer": None,
            **{key.replace("kernel", "depthwise"): value for key, value in KERNEL.items()},
        }),
    "SeparableConv2D": (lambda **k: layers.SeparableConv2D(3, 2, **k), (2, 6, 5, 4), "separable_conv2d", {
        "filters": 3, "kernel_size": (2, 2), "strides": (1, 1), "padding": "valid", "data_format": "channels_last",
        "dilation_rate": (1, 1), "depth_multiplier": 1, "activity_regularizer": None,
        **{key.replace("kernel", "depthwise"): value for key, value in KERNEL.items()},
        **{key.replace("kernel", "pointwise"): value for key, value in KERNEL.items()},
    }),
    "Conv2DTranspose": (lambda **k: layers.Conv2DTranspose(3, 2, **k), (2, 6, 5, 4), "conv2d_transpose", {
        "filters": 3, "kernel_size": (2, 2), "strides": (1, 1), "padding": "valid", "output_padding": None,
        "data_format": "channels_last", "dilation_rate": (1, 1), "activity_regularizer": None, **KERNEL,
    }),
    "BatchNormalization": (layers.BatchNormalization, (3, 6, 5, 4), "batch_normalization", {
        "axis": -1, "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True,
        "beta_initializer": initializer("Zeros"), "gamma_initializer": initializer("Ones"),
        "moving_mean_initializer": initializer("Zeros"), "moving_variance_initializer": initializer("Ones"),
        "beta_regularizer": None, "gamma_regularizer": None, "beta_constraint": None, "gamma_constraint": None,
        "synchronized": False, "renorm": False, "renorm_clipping": None, "renorm_momentum": 0.99,
    }),
    "RandomTranslation": (lambda **k: layers.RandomTranslation(0.2, 0.3, **k), (4, 6, 5, 3), "random_translation",
        {"height_factor": 0.2, "width_factor": 0.3, **SAMPLING}),
    "RandomRotation": (lambda **k: layers.RandomRotation(0.1, **k), (4, 6, 5, 3), "random_rotation",
        {"factor": (-0.1, 0.1), **SAMPLING}),
    "RandomZoom": (lambda **k: layers.RandomZoom(0.1, **k), (4, 6, 5, 3), "random_zoom",
        {"height_factor": 0.1, "width_factor": None, **SAMPLING}),
    "RandomFlip": (layers.RandomFlip, (6, 4, 5, 3), "random_flip",
        {"mode": "horizontal_and_vertical", "seed": None, "data_format": "channels_last"}),
    "Rescaling": (lambda **k: layers.Rescaling(0.5, **k), (2, 6), "rescaling", {"scale": 0.5, "offset": 0.0}),
}  # fmt: skip
EVERY = pytest.mark.parametrize("kind", LAYERS)
KERNELS = pytest.mark.parametrize("kind", ["Conv2D", "Conv2DTranspose", "Dense"])


def make(kind: str, **kwargs: object) -> layers.Layer:
    return LAYERS[kind][0](**kwargs)


# Names and shapes of the weights.
WEIGHTS: dict[str, dict[str, tuple[int, ...]]] = {
    "Conv2D": {"kernel": (2, 2, 4, 3), "bias": (3,)},
    "DepthwiseConv2D": {"kernel": (2, 2, 4, 2), "bias": (8,)},
    "SeparableConv2D": {"depthwise_kernel": (2, 2, 4, 1), "pointwise_kernel": (1, 1, 4, 3), "bias": (3,)},
    "Conv2DTranspose": {"kernel": (2, 2, 3, 4), "bias": (3,)},
    "Dense": {"kernel": (4, 7), "bias": (7,)},
    "BatchNormalization": {"gamma": (4,), "beta": (4,), "moving_mean": (4,), "moving_variance": (4,)},
}


def batch(kind: str, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=LAYERS[kind][1]).astype(dtype)


def lists(value: object) -> object:
    """What a JSON file makes of a config."""
    return json.loads(json.dumps(value))
