"""Fashion-MNIST: 70,000 pictures of ten kinds of clothing, 28x28 grey values; a harder drop-in for MNIST.

References:
    H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms",
    arXiv:1708.07747 (2017).
"""

from __future__ import annotations

import os

from . import _fetch
from ._fetch import DataFile, Dataset, Split

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# The publishers give MD5 sums of the .gz files. The files have the names of MNIST's, so there is no looking directly in
# FASTCONV_DATA_DIR, where MNIST's may lie.
FASHION_MNIST = Dataset(
    name="fashion_mnist",
    title="Fashion-MNIST",
    files=(
        DataFile("train-images-idx3-ubyte", 60000, gzip_hash="md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        DataFile("train-labels-idx1-ubyte", 60000, gzip_hash="md5:25c81989df183df01b3e8a0aad5dffbe"),
        DataFile("t10k-images-idx3-ubyte", 10000, gzip_hash="md5:bef4ecab320f06d8554ea6380940ec79"),
        DataFile("t10k-labels-idx1-ubyte", 10000, gzip_hash="md5:bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    folders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw"),
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
)


def load_data(path: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Load Fashion-MNIST as Keras does, from the first of these places that is given or has it.

    1. ``path``, a directory or an ``.npz`` file as Keras keeps it.
    2. ``fashion_mnist/`` in the directory that the environment variable ``FASTCONV_DATA_DIR`` names. If it is set, no
       other place is looked at and no network is touched.
    3. The user's cache (``FASTCONV_CACHE_DIR``, or what the operating system uses).
    4. A download into the cache, from several mirrors in turn; the publishers' checksums are checked.
       ``FASTCONV_FASHION_MNIST_MIRRORS`` replaces the mirrors.

    Args:
        path: where the files are. Default None: the places above.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: uint8 images (60000, 28, 28) and (10000, 28, 28), uint8 labels
        (60000,) and (10000,); ``CLASS_NAMES[label]`` is a label's name.

    Raises:
        FileNotFoundError: a file is missing in ``path`` or ``FASTCONV_DATA_DIR``.
        ValueError: a file there is damaged; or mirrors answered, but none sent a whole file that passes its checks.
        ConnectionError: there is no network and the files are in none of the places. Unlike MNIST's, no part of this
            data set comes with a package.
        ImportError: pooch is needed: ``pip install "fastconv[examples]"``.

    Example:
        >>> from fastconv.datasets import fashion_mnist
        >>> (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()  # doctest: +SKIP
        >>> fashion_mnist.CLASS_NAMES[y_train[0]]  # doctest: +SKIP
        'Ankle boot'
    """
    try:
        return _fetch.load(FASHION_MNIST, path)
    except _fetch.DownloadError as error:
        raise _fetch.DownloadError(
            f"{error} Get the four files on a machine with a network, put them into fashion_mnist/ of a directory and "
            "set FASTCONV_DATA_DIR to it."
        ) from None
