"""From a picture of one handwritten digit to what a network trained on MNIST expects.

A photograph or a drawing looks nothing like MNIST: dark ink on bright paper, any size, the digit anywhere. The steps
below are those by which MNIST's own images were made, so that a new digit looks like the ones that the network has
learnt from.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

BOX, SIZE = 20, 28
# Ink fainter than this part of the darkest is taken for paper: its grain, shadows, JPEG's noise.
FAINT = 0.2


def read_digit(path: str | Path) -> np.ndarray:
    """Read a picture of one digit and bring it into MNIST's form.

    1. Grey values; what is transparent counts as white paper.
    2. Bright ink on a dark ground: turned over if the picture's border is bright.
    3. Paper to 0, darkest ink to 1, faint traces removed.
    4. Cropped to the ink, scaled to a box of 20x20 with its proportions kept.
    5. Placed in 28x28 so that its centre of mass is at pixel (14, 14).

    Args:
        path: PNG, JPEG, PGM, GIF, BMP… (all that Pillow reads), or ``.npy`` with a 2-D array of grey values.

    Returns:
        float32 (28, 28), 0 to 1.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a picture, or there is no ink on it.
        ImportError: Pillow, which comes with matplotlib, is not installed.
    """
    return normalise_digit(read_grey(path))


def read_grey(path: str | Path) -> np.ndarray:
    """Grey values (h, w) between 0 and 1 of a picture file, transparent parts white."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no picture {path}.")
    if path.suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{path} is not a readable NumPy file ({error}).") from None
        if array.ndim != 2 or array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise ValueError(
                f"{path} must hold a 2-D array of grey values, it has shape {array.shape} of {array.dtype}."
            )
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        return (array.astype(np.float64) - low) / ((high - low) or 1.0)
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError('Reading pictures needs Pillow: pip install "fastconv[examples]"') from None
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)  # photographs lie as the camera was held
            if picture.mode.startswith(("I", "F")):  # 16 bits and more
                deep = np.asarray(picture, dtype=np.float64)
                return deep / max(deep.max(), 65535.0 if picture.mode.startswith("I") else 1.0)
            picture = picture.convert("RGBA")
            paper = Image.new("RGBA", picture.size, "white")
            return np.asarray(Image.alpha_composite(paper, picture).convert("L"), dtype=np.float64) / 255.0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a picture that can be read ({error}).") from None


def normalise_digit(grey: np.ndarray) -> np.ndarray:
    """Steps 2 to 5 of :func:`read_digit` on grey values (h, w); returns float32 (28, 28)."""
    if grey.ndim != 2 or min(grey.shape, default=0) < 2:
        raise ValueError(f"A picture must have at least 2x2 pixels, this one has shape {grey.shape}.")
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    if paper > 0.5 * (grey.min() + grey.max()):
        grey, paper = 1.0 - grey, 1.0 - paper
    ink = np.clip(grey - paper, 0.0, None)
    darkest = ink.max()
    if darkest < 0.05:
        raise ValueError("The picture has no ink: it is (almost) of one brightness.")
    ink = ink / darkest
    ink[ink < FAINT] = 0.0
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = BOX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    small = resize(ink, height, width)
    small /= small.max()
    mass = small.sum()
    top = round(SIZE / 2 - float(small.sum(axis=1) @ np.arange(height)) / mass)
    left = round(SIZE / 2 - float(small.sum(axis=0) @ np.arange(width)) / mass)
    top, left = min(max(top, 0), SIZE - height), min(max(left, 0), SIZE - width)
    digit = np.zeros((SIZE, SIZE), dtype=np.float32)
    digit[top : top + height, left : left + width] = small
    return digit


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale (h, w) by averaging areas: each new pixel is the mean of the old ones under it, parts of them included."""
    return _area_weights(picture.shape[0], height) @ picture @ _area_weights(picture.shape[1], width).T


def _area_weights(old: int, new: int) -> np.ndarray:
    """(new, old) matrix: the share of old cell j that lies under new cell i, each row adding up to 1."""
    edges = np.arange(new + 1) * (old / new)
    cells = np.arange(old)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return np.clip(overlap, 0.0, None) * (new / old)
