"""Image data sets that the examples train on: ``mnist`` and ``fashion_mnist``, called as in Keras.

Example:
    >>> from fastconv import datasets
    >>> (x_train, y_train), (x_test, y_test) = datasets.mnist.load_data()  # doctest: +SKIP
    >>> x_train.shape, x_train.dtype  # doctest: +SKIP
    ((60000, 28, 28), dtype('uint8'))
"""

from . import fashion_mnist, mnist

__all__ = ["fashion_mnist", "mnist"]
