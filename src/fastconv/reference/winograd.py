"""Winograd's convolution as its formula: three small matrices, made from a handful of points."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ._arguments import float_type, pads_and_output, round_to

# Besides infinity. Those of F(4x4) lie near 1, where powers are alike in size: less is lost to rounding.
POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}
Matrices = tuple[np.ndarray, np.ndarray, np.ndarray]


def winograd_matrices(m: int) -> Matrices:
    """The matrices Bt, G and At of F(m, 3), with which ``At @ ((G @ g) * (Bt @ d))`` slides the filter g over d.

    A filter g of 3 taps that slides over m cells adds up, output by output, what the product of two polynomials adds
    up, coefficient by coefficient, read backwards. A polynomial of m + 2 coefficients is known by its values at m + 2
    points, and values are multiplied one by one: m + 2 multiplications instead of 3*m. G evaluates g at the points, At
    holds their powers, and Bt the coefficients of the polynomials that vanish at all points but one (Lagrange's).
    Infinity, the last point, takes the leading coefficient.

    Args:
        m: outputs, 2 or 4.

    Returns:
        Bt (m + 2, m + 2), G (m + 2, 3), At (m, m + 2).

    Example:
        >>> winograd_matrices(2)[1]
        array([[-1. ,  0. ,  0. ],
               [ 0.5,  0.5,  0.5],
               [ 0.5, -0.5,  0.5],
               [ 0. ,  0. ,  1. ]])

    References:
        A. Lavin, S. Gray, "Fast algorithms for convolutional neural networks", arXiv:1509.09308, section 4.
        B. Barabasz et al., "Error analysis and improving the accuracy of Winograd convolution", arXiv:1803.10986.
    """
    points = POINTS[m]
    bt: list[list[float]] = []
    g: list[list[float]] = []
    powers: list[list[float]] = []
    for point in points:
        others = [other for other in points if other != point]
        scale = float(np.prod([point - other for other in others]))
        bt.append([*_coefficients(others), 0.0])
        g.append([point**tap / scale for tap in range(3)])
        powers.append([point**row for row in range(m)])
    bt.append(_coefficients(points))
    g.append([0.0, 0.0, 1.0])
    powers.append([0.0] * (m - 1) + [1.0])
    return np.array(bt), np.array(g) + 0.0, np.array(powers).T


def _coefficients(roots: list[float] | tuple[float, ...]) -> list[float]:
    """Of the polynomial (x - root) * ..., the constant first."""
    result = [1.0]
    for root in roots:
        shifted, padded = [0.0, *result], [*result, 0.0]
        result = [below - root * here for below, here in zip(shifted, padded, strict=True)]
    return result


def conv2d_winograd(
    x: Any, kernel: Any, bias: Any = None, *, padding: Any = "valid", matrices: Matrices | None = None
) -> np.ndarray:
    """What :func:`conv2d` does, with a 3x3 kernel, tile by tile: transform, multiply point by point, transform back.

    Tiles of m x m output cells need (m + 2) x (m + 2) input cells d; in two dimensions every matrix works on both
    sides, first on the columns, then on the rows::

        y = At @ (sum over c of (G @ kernel[:, :, c, f] @ G.T) * (Bt @ d[:, :, c] @ Bt.T)) @ At.T + bias[f]

    Args:
        x: images, ``(n, h, w, c)``.
        kernel: ``(3, 3, c, filters)``.
        bias: ``(filters,)``, or None for no bias.
        padding: as for ``conv2d``.
        matrices: of ``winograd_matrices``. Default: those of F(2, 3).

    Returns:
        ``(n, oh, ow, filters)``.

    Example:
        >>> image = np.arange(16.0).reshape(1, 4, 4, 1)
        >>> conv2d_winograd(image, np.ones((3, 3, 1, 1)))[0, :, :, 0]
        array([[45., 54.],
               [81., 90.]])

    References:
        A. Lavin, S. Gray, arXiv:1509.09308, section 4.1.
    """
    bt, g, at = winograd_matrices(2) if matrices is None else matrices
    m, alpha = at.shape
    dtype = float_type(*(array for array in (x, kernel, bias) if array is not None))
    images, taps = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    n, h, w, _ = images.shape
    ((top, bottom), (left, right)), (oh, ow) = pads_and_output((h, w), (3, 3), (1, 1), (1, 1), padding)
    # Room for whole tiles: what lies beyond the last output cell is thrown away.
    rows, cols = -(-oh // m) * m, -(-ow // m) * m
    padded = np.pad(images, ((0, 0), (top, bottom + rows - oh), (left, right + cols - ow), (0, 0)))
    transformed_kernel = np.einsum("pa,abcf,qb->pqcf", g, taps, g)
    y = np.empty((n, rows, cols, taps.shape[3]))
    for image, row, col in product(range(n), range(0, rows, m), range(0, cols, m)):
        tile = np.einsum("pa,abc,qb->pqc", bt, padded[image, row : row + alpha, col : col + alpha], bt)
        products = np.einsum("pqc,pqcf->pqf", tile, transformed_kernel)
        y[image, row : row + m, col : col + m] = np.einsum("ip,pqf,jq->ijf", at, products, at)
    y = y[:, :oh, :ow] + (0 if bias is None else np.asarray(bias, np.float64))
    return round_to(y, dtype)
