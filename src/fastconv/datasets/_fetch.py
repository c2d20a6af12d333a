"""Finding the four files of an MNIST-like data set: the user's directory, the cache, or a verified download.

A file that comes over the network is written beside its final place under another name, checked (length, header,
labels, checksum), and only then renamed: whatever lies in the cache under its real name was whole when it was put
there, and it is checked again at each load. `pooch <https://www.fatiando.org/pooch>`__ does the transfer and knows the
user's cache folder.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._validation import DataFileError, missing_extra
from ._idx import check_content, check_file, idx_header, read_idx

Split = tuple[np.ndarray, np.ndarray]

IMAGE_SHAPE = (28, 28)
CLASSES = 10
# Seconds. A machine without a network must know it within a few; READ_TIMEOUT is how long a mirror may send nothing.
PROBE_TIMEOUT = 4.0
CONNECT_TIMEOUT = 4.0
READ_TIMEOUT = 10.0


@dataclass(frozen=True)
class DataFile:
    """One IDX file: its name, how many items it holds, and the checksums of its content and of its .gz."""

    name: str
    count: int
    content_hash: str | None = None
    gzip_hash: str | None = None

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of one item: (28, 28) for images, () for labels."""
        return IMAGE_SHAPE if "images" in self.name else ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the standard file."""
        return (self.count, *self.item_shape)


@dataclass(frozen=True)
class Dataset:
    """Four files and where they may be: folders inside a user's data directory, and mirrors on the network."""

    name: str
    title: str
    files: tuple[DataFile, DataFile, DataFile, DataFile]
    folders: tuple[str, ...]
    mirrors: tuple[str, ...]

    @property
    def mirrors_variable(self) -> str:
        """Environment variable that replaces the mirrors, e.g. ``FASTCONV_MNIST_MIRRORS``."""
        return f"FASTCONV_{self.name.upper()}_MIRRORS"


class DownloadError(ConnectionError):
    """No mirror could be reached, or none has the file."""


def load(dataset: Dataset, path: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Load ``dataset`` from ``path``, else from ``FASTCONV_DATA_DIR``, else from the cache, else from its mirrors.

    Args:
        dataset: which files.
        path: directory of the four files, or an ``.npz`` file as Keras keeps it. Default None: the order above. Keras's
            default, the bare name ``"mnist.npz"``, means None too where no such file exists.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``, uint8 of shapes (n, 28, 28) and (n,).

    Raises:
        FileNotFoundError: ``path`` or ``FASTCONV_DATA_DIR`` is given and a file is missing there.
        DataFileError: a file there is damaged, or every mirror that sent one sent it damaged or in part.
        DownloadError: not in the cache, and no mirror can be reached.
        ImportError: pooch is needed and is not installed.
    """
    if path is not None and not (os.fspath(path) == f"{dataset.name}.npz" and not os.path.exists(path)):
        place = Path(path).expanduser()
        if place.suffix == ".npz":
            return _load_npz(place)
        return _load_directory(dataset, place, f"path={os.fspath(path)!r}", folders=(*dataset.folders, ""))
    data_dir = os.environ.get("FASTCONV_DATA_DIR")
    if data_dir:
        return _load_directory(dataset, Path(data_dir).expanduser(), "FASTCONV_DATA_DIR", folders=dataset.folders)
    return _load_cached(dataset)


def mirrors_of(dataset: Dataset) -> tuple[str, ...]:
    """The mirrors to try, in turn: the environment variable's if it is set (empty: no network), else the usual ones."""
    override = os.environ.get(dataset.mirrors_variable)
    return dataset.mirrors if override is None else tuple(override.replace(",", " ").split())


def cache_dir(dataset: Dataset) -> Path:
    """``<base>/<data set>``; base is ``FASTCONV_CACHE_DIR`` or the operating system's cache folder of this user."""
    chosen = os.environ.get("FASTCONV_CACHE_DIR")
    base = Path(chosen).expanduser() if chosen else Path(_import_pooch(dataset).os_cache("fastconv"))
    return base / dataset.name


# -- a directory of the user -------------------------------------------------------------------------------------------


def _load_directory(dataset: Dataset, root: Path, source: str, folders: tuple[str, ...]) -> tuple[Split, Split]:
    """Read the four files, compressed or not, from the first of ``folders`` in ``root`` that holds any of them."""
    if not root.is_dir():
        raise FileNotFoundError(f"{source}: {root} is not a directory. It must hold {_wanted(dataset, folders)}.")
    tried = [root / folder for folder in folders]
    for place in tried:
        found = [_spelling(place, file.name) for file in dataset.files]
        if any(found):
            break
    else:
        raise FileNotFoundError(
            f"{source}: {root} holds no {dataset.title} files; looked in {', '.join(map(str, tried))} for "
            f"{_wanted(dataset, folders)}. "
            + ("Unset FASTCONV_DATA_DIR to use the cache or a download." if source == "FASTCONV_DATA_DIR" else "")
        )
    missing = [file.name for file, path in zip(dataset.files, found, strict=True) if path is None]
    if missing:
        raise FileNotFoundError(f"{source}: {place} lacks {' and '.join(missing)} (with or without .gz).")
    paths = [path for path in found if path is not None]
    arrays = [_read_user_file(file, path) for file, path in zip(dataset.files, paths, strict=True)]
    data = _pair_up(arrays, paths)
    standard = dataset.files[0].count, dataset.files[2].count
    present = len(arrays[0]), len(arrays[2])
    if present != standard:
        warnings.warn(
            f"{place} holds {present[0]:,} and {present[1]:,} images, the full {dataset.title} {standard[0]:,} and "
            f"{standard[1]:,}: results on it do not compare with published ones.",
            stacklevel=4,
        )
    return data


def _spelling(place: Path, name: str) -> Path | None:
    """The file ``name`` in ``place``, with or without .gz, or as unpackers on Windows spell it."""
    for candidate in (f"{name}.gz", name, name.replace("-idx", ".idx")):
        if (place / candidate).is_file():
            return place / candidate
    return None


def _read_user_file(file: DataFile, path: Path) -> np.ndarray:
    """A file of the user: any number of items, but one of the standard length must be the standard file."""
    array = read_idx(path, (None, *file.item_shape))
    if file.content_hash is not None and array.shape == file.shape:
        check_content(path, array, file.content_hash)
    if not file.item_shape:
        _check_labels(array, path)
    return array


def _load_npz(path: Path) -> tuple[Split, Split]:
    """The archive that Keras keeps: x_train, y_train, x_test, y_test."""
    if not path.is_file():
        raise FileNotFoundError(f"load_data: there is no file {path}.")
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = [np.ascontiguousarray(archive[name]) for name in names]
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataFileError(path, f"is not a readable archive of {', '.join(names)} ({error})") from None
    for name, array in zip(names, arrays, strict=True):
        item_shape = IMAGE_SHAPE if name.startswith("x") else ()
        if array.dtype != np.uint8 or array.shape[1:] != item_shape or array.ndim != 1 + len(item_shape):
            raise DataFileError(path, f"holds {name} of shape {array.shape} and type {array.dtype}, expected uint8")
        if not item_shape:
            _check_labels(array, path)
    return _pair_up(arrays, [path] * 4)


def _wanted(dataset: Dataset, folders: tuple[str, ...]) -> str:
    folder = f"{folders[0]}/" if folders[0] else ""
    return ", ".join(f"{folder}{file.name}.gz" for file in dataset.files)


# -- the cache and the network -----------------------------------------------------------------------------------------


def _load_cached(dataset: Dataset) -> tuple[Split, Split]:
    """Read the four files from the cache, downloading those that it lacks or that have been damaged there."""
    place = cache_dir(dataset)
    arrays: list[np.ndarray | None] = []
    for file in dataset.files:
        path = place / f"{file.name}.gz"
        try:
            arrays.append(_read_standard(file, path))
        except OSError:  # not there, or not to be read
            arrays.append(None)
        except DataFileError as error:
            warnings.warn(f"{error} It is deleted from the cache.", stacklevel=4)
            path.unlink(missing_ok=True)
            arrays.append(None)
    if any(array is None for array in arrays):
        mirrors = reachable(dataset, mirrors_of(dataset))
        with _writable(place) as folder:
            for i, file in enumerate(dataset.files):
                if arrays[i] is None:
                    arrays[i] = _download(dataset, file, folder, mirrors)
    whole = [array for array in arrays if array is not None]
    return _pair_up(whole, [place / file.name for file in dataset.files])


@contextlib.contextmanager
def _writable(place: Path) -> Iterator[Path]:
    """``place``, made if need be; where it cannot be written, a temporary directory and a warning."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        warnings.warn(
            f"The cache {place} cannot be written ({error}), so a download is not kept. "
            "Set FASTCONV_CACHE_DIR to a directory that can.",
            stacklevel=6,
        )
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    else:
        yield place


def reachable(dataset: Dataset, mirrors: tuple[str, ...]) -> list[str]:
    """Those of ``mirrors``, in their order, that answer at all within a few seconds; asked at the same time.

    The threads are daemons, because a name look-up on a blocked network can hang longer than anyone should wait.

    Raises:
        DownloadError: none does.
    """
    if not mirrors:
        raise DownloadError(f"{dataset.title} is not in the cache and {dataset.mirrors_variable} names no mirror.")
    _import_pooch(dataset)
    import requests

    network_errors: tuple[type[Exception], ...] = (*_network_errors(), ValueError)  # ValueError: not a URL
    answers: dict[str, str] = {}

    def ask(mirror: str) -> None:
        try:
            url = _url(mirror, dataset.files[-1])
            requests.head(url, timeout=(CONNECT_TIMEOUT, PROBE_TIMEOUT), allow_redirects=True).close()
            answers[mirror] = ""
        except network_errors as error:
            answers[mirror] = _reason(error)

    threads = [threading.Thread(target=ask, args=(mirror,), daemon=True) for mirror in mirrors]
    deadline = time.monotonic() + PROBE_TIMEOUT
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    failures = {mirror: answers.get(mirror, f"no answer within {PROBE_TIMEOUT:g} s") for mirror in mirrors}
    found = [mirror for mirror in mirrors if failures[mirror] == ""]
    if not found:
        raise DownloadError(f"{dataset.title} cannot be downloaded: {_list(failures)}.")
    return found


def _download(dataset: Dataset, file: DataFile, folder: Path, mirrors: list[str]) -> np.ndarray:
    """Fetch one file into ``folder`` from the first of ``mirrors`` that sends it whole.

    A mirror that stops answering is taken out of ``mirrors``, so that the next file does not wait for it again.
    """
    failures: dict[str, str] = {}
    damaged = False
    for mirror in tuple(mirrors):
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{file.name}.", suffix=".part")
        os.close(handle)
        part = Path(name)
        try:
            _transfer(file, _url(mirror, file), part)
            array = _read_standard(file, part)
            os.replace(part, folder / f"{file.name}.gz")
            return array
        except DataFileError as error:
            damaged = True
            failures[mirror] = f"sent a file that {error.problem}"
            warnings.warn(f"{_url(mirror, file)} {error.problem}: refused and deleted.", stacklevel=5)
        except _network_errors() as error:
            failures[mirror] = _reason(error)
            if getattr(error, "response", None) is None:
                mirrors.remove(mirror)
                if (arrived := part.stat().st_size) > 0:
                    damaged = True
                    failures[mirror] += f" after {arrived:,} bytes"
        finally:
            part.unlink(missing_ok=True)
    if damaged:
        raise DataFileError(
            f"{file.name}.gz of {dataset.title}",
            f"came whole from no mirror that sent it: {_list(failures)}",
            f"Put good copies into a directory and set FASTCONV_DATA_DIR to it, or name another mirror in "
            f"{dataset.mirrors_variable}.",
        )
    raise DownloadError(f"{file.name}.gz of {dataset.title} cannot be downloaded: {_list(failures)}.")


class _BoundedFile:
    """A file that takes no more than ``limit`` bytes, so that a server cannot fill the disk."""

    def __init__(self, path: Path, limit: int) -> None:
        self._file, self._left, self._path, self._limit = path.open("wb"), limit, path, limit

    def write(self, chunk: bytes) -> None:
        self._left -= len(chunk)
        if self._left < 0:
            raise DataFileError(self._path, f"is oversized: more than {self._limit:,} bytes were sent")
        self._file.write(chunk)

    def flush(self) -> None:
        """pooch flushes after each chunk; the buffer is left to fill instead."""

    def close(self) -> None:
        self._file.close()


def _transfer(file: DataFile, url: str, part: Path) -> None:
    """Download ``url`` into ``part`` with a progress bar on stderr."""
    import pooch
    from tqdm import tqdm

    # gzip of incompressible bytes is larger than they are, by less than a thousandth.
    raw_size = len(idx_header(file.shape)) + int(np.prod(file.shape, dtype=np.int64))
    target = _BoundedFile(part, raw_size + raw_size // 1000 + 4096)
    # pooch puts the real total in; it asks bool(bar), for which tqdm wants some total from the start.
    bar = tqdm(
        total=raw_size, desc=f"Downloading {file.name}.gz", unit="B", unit_scale=True, leave=True, file=sys.stderr
    )
    try:
        fetch = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=1 << 16,
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            headers={
                "Accept-Encoding": "identity"
            },  # a server that unpacks the .gz on its way would change its checksum
        )
        fetch(url, target, None)
    finally:
        bar.close()
        target.close()


def _read_standard(file: DataFile, path: Path) -> np.ndarray:
    """Read a cached or downloaded file, which must be the standard one to the byte."""
    array = read_idx(path, file.shape)
    if file.content_hash is not None:
        check_content(path, array, file.content_hash)
    elif file.gzip_hash is not None:
        check_file(path, file.gzip_hash)
    if not file.item_shape:
        _check_labels(array, path)
    return array


def _network_errors() -> tuple[type[Exception], ...]:
    """What a failing connection raises; other OSErrors, such as a full disk, are not a mirror's fault."""
    import requests

    return (requests.RequestException, ConnectionError, TimeoutError)


def _url(mirror: str, file: DataFile) -> str:
    return f"{mirror.rstrip('/')}/{file.name}.gz"


def _reason(error: Exception) -> str:
    """One short clause for an exception of requests, whose own texts nest several others."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"answers {response.status_code} {response.reason}"
    kind = type(error).__name__
    return {
        "ConnectTimeout": "no answer in time",
        "ReadTimeout": "no answer in time",
        "ProxyError": "the proxy refuses the connection",
        "SSLError": "its certificate is not accepted",
        "ConnectionError": "no connection",
        "ChunkedEncodingError": "the connection broke off",
    }.get(kind, f"{kind}: {error}")


def _list(failures: dict[str, str]) -> str:
    return "; ".join(f"{mirror} ({reason})" for mirror, reason in failures.items())


def _import_pooch(dataset: Dataset) -> Any:
    try:
        import pooch
    except ImportError:
        raise missing_extra(f"{dataset.name}.load_data (to find its cache and download)", "pooch", "examples") from None
    return pooch


# -- both --------------------------------------------------------------------------------------------------------------


def _check_labels(array: np.ndarray, path: Path) -> None:
    if array.size and array.max() >= CLASSES:
        raise DataFileError(path, f"holds the label {array.max()}, expected labels from 0 to {CLASSES - 1}")


def _pair_up(arrays: list[np.ndarray], paths: list[Path]) -> tuple[Split, Split]:
    """Train and test pairs of (images, labels), refused if their lengths differ."""
    x_train, y_train, x_test, y_test = arrays
    for images, labels, path in ((x_train, y_train, paths[0]), (x_test, y_test, paths[2])):
        if len(images) != len(labels):
            raise DataFileError(path, f"holds {len(images):,} images, but there are {len(labels):,} labels")
    return (x_train, y_train), (x_test, y_test)
