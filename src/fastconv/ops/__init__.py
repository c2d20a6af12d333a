"""The functional API: stateless, thread-safe functions on NumPy arrays. The only door to the compiled core."""

from .activations import relu, relu_grad, softmax, softmax_grad
from .conv import conv2d, conv2d_grad_input, conv2d_grad_kernel, explain_conv2d
from .dense import bias_grad, dense, dense_grad_input, dense_grad_kernel
from .im2col import col2im, im2col
from .pooling import avg_pool2d, avg_pool2d_grad, max_pool2d, max_pool2d_grad

__all__ = [
    "avg_pool2d",
    "avg_pool2d_grad",
    "bias_grad",
    "col2im",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_kernel",
    "dense",
    "dense_grad_input",
    "dense_grad_kernel",
    "explain_conv2d",
    "im2col",
    "max_pool2d",
    "max_pool2d_grad",
    "relu",
    "relu_grad",
    "softmax",
    "softmax_grad",
]
