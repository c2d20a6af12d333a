"""The published articles' loop programs, complete and in float64: slow, plain, and right.

Every function loops over its output elements one at a time, so that each line can be read beside the formula in its
docstring. This is the oracle of the tests and the baseline of the benchmarks, and it is where to start reading if you
want to know what a convolution does. Names and arguments are those of the fast functions in ``fastconv``, except that
there is no ``algorithm`` and no ``out`` to choose.

Two faults that the articles' printed loops are known for are mended here:

- the stride really moves the window (output cell ``row`` reads from input row ``row * stride``), and
- a maximum starts from the first real cell of its window, not from 0, so a window of negatives gives a negative.

A padded cell is never read: a sum skips it and a maximum never picks it.

Example:
    >>> import numpy as np
    >>> from fastconv import reference
    >>> image = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> edges = np.array([[1.0, -1.0]]).reshape(1, 2, 1, 1)
    >>> reference.conv2d(image, edges, strides=2)[0, :, :, 0]
    array([[-1., -1.],
           [-1., -1.]])
    >>> reference.max_pool2d(-image, 2)[0, :, :, 0]
    array([[ -0.,  -2.],
           [ -8., -10.]])
"""

from .conv import col2im, conv2d, conv2d_grad_input, conv2d_grad_kernel, im2col
from .depthwise import depthwise_conv2d, depthwise_conv2d_grad_input, depthwise_conv2d_grad_kernel
from .filters import convolve2d, correlate2d
from .l2_pooling import l2_pool2d, l2_pool2d_grad
from .normalization import batch_normalization, batch_normalization_grad, channel_moments
from .pooling import avg_pool2d, avg_pool2d_grad, max_pool2d, max_pool2d_grad
from .transpose import conv2d_transpose, conv2d_transpose_grad_input, conv2d_transpose_grad_kernel
from .winograd import conv2d_winograd, winograd_matrices

__all__ = [
    "avg_pool2d",
    "avg_pool2d_grad",
    "batch_normalization",
    "batch_normalization_grad",
    "channel_moments",
    "col2im",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_kernel",
    "conv2d_transpose",
    "conv2d_transpose_grad_input",
    "conv2d_transpose_grad_kernel",
    "conv2d_winograd",
    "convolve2d",
    "correlate2d",
    "depthwise_conv2d",
    "depthwise_conv2d_grad_input",
    "depthwise_conv2d_grad_kernel",
    "im2col",
    "l2_pool2d",
    "l2_pool2d_grad",
    "max_pool2d",
    "max_pool2d_grad",
    "winograd_matrices",
]
