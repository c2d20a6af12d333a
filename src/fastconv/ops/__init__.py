"""The functional API: stateless, thread-safe functions on NumPy arrays. The only door to the compiled core."""

from .activations import dropout, relu, relu_grad, softmax, softmax_grad
from .conv import conv2d, conv2d_grad_input, conv2d_grad_kernel, explain_conv2d
from .conv_pooled import conv2d_max_pool2d, conv2d_max_pool2d_grad_input, conv2d_max_pool2d_grad_kernel
from .dense import bias_grad, dense, dense_grad_input, dense_grad_kernel, relu_bias_grad
from .depthwise import depthwise_conv2d, depthwise_conv2d_grad_input, depthwise_conv2d_grad_kernel
from .filters import convolve2d, correlate2d
from .im2col import col2im, im2col
from .l2_pooling import l2_pool2d, l2_pool2d_grad
from .normalization import batch_normalization, batch_normalization_grad, channel_moments
from .pooling import (
    avg_pool2d,
    avg_pool2d_grad,
    max_pool2d,
    max_pool2d_grad,
    max_pool2d_grad_unchecked,
)
from .transpose import conv2d_transpose, conv2d_transpose_grad_input, conv2d_transpose_grad_kernel

__all__ = [
    "avg_pool2d",
    "avg_pool2d_grad",
    "batch_normalization",
    "batch_normalization_grad",
    "bias_grad",
    "channel_moments",
    "col2im",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_kernel",
    "conv2d_max_pool2d",
    "conv2d_max_pool2d_grad_input",
    "conv2d_max_pool2d_grad_kernel",
    "conv2d_transpose",
    "conv2d_transpose_grad_input",
    "conv2d_transpose_grad_kernel",
    "convolve2d",
    "correlate2d",
    "dense",
    "dense_grad_input",
    "dense_grad_kernel",
    "depthwise_conv2d",
    "depthwise_conv2d_grad_input",
    "depthwise_conv2d_grad_kernel",
    "dropout",
    "explain_conv2d",
    "im2col",
    "l2_pool2d",
    "l2_pool2d_grad",
    "max_pool2d",
    "max_pool2d_grad",
    "max_pool2d_grad_unchecked",
    "relu",
    "relu_bias_grad",
    "relu_grad",
    "softmax",
    "softmax_grad",
]
