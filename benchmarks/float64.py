"""Convolution and its gradients in float64, one matrix product for each tap of the kernel: the measure of the errors.

The naive loops would need hours for a whole large layer. This needs NumPy alone, no line of fastconv's, and every run
of the programs and of the benchmarks holds it against the naive loops on a part of the layer.
"""

from __future__ import annotations

import numpy as np
from layer_lists import ConvLayer


def conv2d(layer: ConvLayer, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """``y[.., f] = sum over taps and channels of x[shifted by the tap, c] * kernel[tap, c, f]``."""
    padded = _padded(layer, x)
    y = np.zeros(layer.y_shape)
    for tap, channels, filters in _taps_and_groups(layer):
        y[..., filters] += _times(padded[_cells(layer, tap)][..., channels], kernel[tap][:, filters])
    return y


def conv2d_grad_input(layer: ConvLayer, grad_output: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Every tap's product goes back to the cells that the tap was read from."""
    padded = np.zeros(_padded_shape(layer))
    grads = grad_output.astype(np.float64)
    for tap, channels, filters in _taps_and_groups(layer):
        padded[_cells(layer, tap)][..., channels] += _times(grads[..., filters], kernel[tap][:, filters].T)
    return padded[_interior(layer)]


def conv2d_grad_kernel(layer: ConvLayer, x: np.ndarray, grad_output: np.ndarray) -> np.ndarray:
    """Each tap gathers the product of its cells and the output's gradients over all images and pixels."""
    padded, grads = _padded(layer, x), grad_output.astype(np.float64)
    grad_kernel = np.zeros(layer.kernel_shape)
    for tap, channels, filters in _taps_and_groups(layer):
        cells, outputs = padded[_cells(layer, tap)][..., channels], grads[..., filters]
        grad_kernel[tap][:, filters] = cells.reshape(-1, cells.shape[3]).T @ outputs.reshape(-1, outputs.shape[3])
    return grad_kernel


def _times(images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each pixel times the matrix, as one product: NumPy would do one for each row of each image."""
    product = images.reshape(-1, len(matrix)) @ matrix.astype(np.float64)
    return product.reshape(*images.shape[:3], -1)


def _taps_and_groups(layer: ConvLayer) -> list[tuple[tuple[int, int], slice, slice]]:
    inputs, outputs = layer.x_shape[3] // layer.groups, layer.filters // layer.groups
    groups = [(slice(g * inputs, (g + 1) * inputs), slice(g * outputs, (g + 1) * outputs)) for g in range(layer.groups)]
    return [(tap, *group) for tap in np.ndindex(*layer.window) for group in groups]


def _padded_shape(layer: ConvLayer) -> tuple[int, ...]:
    n, h, w, channels = layer.x_shape
    vertical, horizontal = layer.pads
    return n, h + sum(vertical), w + sum(horizontal), channels


def _interior(layer: ConvLayer) -> tuple[slice, ...]:
    (top, _), (left, _) = layer.pads
    return slice(None), slice(top, top + layer.x_shape[1]), slice(left, left + layer.x_shape[2])


def _padded(layer: ConvLayer, x: np.ndarray) -> np.ndarray:
    padded = np.zeros(_padded_shape(layer))
    padded[_interior(layer)] = x
    return padded


def _cells(layer: ConvLayer, tap: tuple[int, int]) -> tuple[slice, ...]:
    """The padded cells that this tap meets, one for each output pixel."""
    rows, cols = (
        slice(tap[axis] * layer.dilation[axis],
              tap[axis] * layer.dilation[axis] + (layer.output_hw[axis] - 1) * layer.strides[axis] + 1,
              layer.strides[axis])
        for axis in (0, 1)
    )  # fmt: skip
    return slice(None), rows, cols
