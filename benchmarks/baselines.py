"""What else one would write in Python, beside the naive loops: NumPy's sliding windows, SciPy's correlate2d."""

from __future__ import annotations

import importlib.util
from functools import partial

import numpy as np
from layer_lists import ConvLayer
from timing import Contender
from workloads import Workload

# Multiply-adds that correlate2d is given; its time is scaled like that of the naive loops.
SCIPY_WORK = 20_000_000


def missing() -> list[str]:
    """The names of those that are not installed."""
    return [] if importlib.util.find_spec("scipy") else ["SciPy"]


def contenders(work: Workload) -> list[Contender]:
    """Those that can do this work: the forward pass of a convolution, for SciPy one of one channel with stride 1."""
    layer = work.layer
    if not isinstance(layer, ConvLayer) or work.operation != "forward" or layer.groups > 1:
        return []
    # How many threads the BLAS takes is its own affair: 0 stands for that.
    found = [Contender("NumPy windows", 0, partial(numpy_windows, layer, work.x, work.kernel))]
    if scipy_can(layer) and not missing():
        found.append(scipy_contender(work, SCIPY_WORK)[0])
    return found


def numpy_windows(layer: ConvLayer, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """All windows as a view, then one tensor product: im2col in two lines of NumPy, the product by its BLAS."""
    pads = ((0, 0), *layer.pads, (0, 0))
    padded = np.pad(x, pads) if np.any(pads) else x
    spans = tuple((layer.window[axis] - 1) * layer.dilation[axis] + 1 for axis in (0, 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(1, 2))
    (sh, sw), (dh, dw) = layer.strides, layer.dilation
    return np.tensordot(windows[:, ::sh, ::sw, :, ::dh, ::dw], kernel, axes=([4, 5, 3], [0, 1, 2]))


def scipy_contender(work: Workload, limit: int) -> tuple[Contender, Workload]:
    """SciPy on a part of the work of about ``limit`` multiply-adds, and that part."""
    part = work.part(limit)
    scale, note = work.share(part)
    call = partial(scipy_correlate, part.layer, part.x, part.kernel)
    return Contender("SciPy correlate2d", 1, call, scale=scale, note=note), part


def scipy_can(layer: ConvLayer) -> bool:
    """correlate2d knows no channels, strides or dilation, and centres "same" as we do for odd windows only."""
    plain = layer.x_shape[3] == 1 and layer.strides == layer.dilation == (1, 1)
    centred = layer.padding == "same" and layer.window[0] % 2 == layer.window[1] % 2 == 1
    return plain and (layer.padding == "valid" or centred)


def scipy_correlate(layer: ConvLayer, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """One call for each image and filter."""
    from scipy.signal import correlate2d

    y = np.empty(layer.y_shape, x.dtype)
    for image in range(layer.x_shape[0]):
        for f in range(layer.filters):
            y[image, :, :, f] = correlate2d(x[image, :, :, 0], kernel[:, :, 0, f], mode=layer.padding)
    return y
