"""Reading of IDX files, the format that MNIST and its relatives are distributed in.

An IDX file is a big-endian header and the raw elements::

    byte 0, 1   zero
    byte 2      element type; 0x08 is uint8, the only one that these data sets use
    byte 3      d, number of axes
    4·d bytes   size of each axis, uint32
    rest        the elements, last axis fastest

A file is judged before it is used: header, then length against the header, then checksum. No more than the expected
number of bytes is ever read out of it, so a file that unpacks to far more than it should is refused, not unpacked.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .._validation import DataFileError

GZIP_MAGIC = b"\x1f\x8b"
UINT8 = 0x08
# Well above the largest relative of MNIST (EMNIST ByClass, 697,932 images of 28x28: 0.55 GB).
MAX_BYTES = 2**30
_CHUNK = 1 << 20
# MNIST's files hold 4 to 6 times their size. What claims more than this many times, and is large, is a bomb.
MAX_EXPANSION, SMALL = 200, 2**24


def read_idx(path: str | Path, shape: tuple[int | None, ...], *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Read one IDX file of uint8, gzip-compressed or not, and refuse it unless it is whole.

    Args:
        path: the file; gzip is recognised by its first two bytes, not by its name.
        shape: expected shape, e.g. ``(60000, 28, 28)``; None stands for any size.
        max_bytes: upper bound of the elements' bytes, whatever the header says.

    Returns:
        uint8 array of the shape that the header names; a new, writable array.

    Raises:
        DataFileError: not an IDX file of uint8, another shape, truncated, longer than its header says, or damaged.
            The message names the file and the fault.
        OSError: the file cannot be opened or read.

    Example:
        >>> import struct, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels"
        >>> _ = path.write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 3) + bytes([7, 2, 1]))
        >>> read_idx(path, (None,)).tolist()
        [7, 2, 1]
    """
    path = Path(path)
    with path.open("rb") as raw:
        compressed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        if not compressed:
            return _read_stream(path, raw, shape, max_bytes)
        try:
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read_stream(path, stream, shape, max_bytes)
        except EOFError:
            raise DataFileError(path, "is truncated: its gzip stream ends too early") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataFileError(path, f"is damaged ({error})") from None


def _read_stream(
    path: Path,
    stream: BinaryIO | gzip.GzipFile,
    shape: tuple[int | None, ...],
    max_bytes: int,
) -> np.ndarray:
    header = stream.read(4)
    if len(header) < 4 or header[:2] != b"\0\0":
        raise DataFileError(path, f"is not an IDX file: it begins with {header!r}")
    if header[2] != UINT8 or header[3] != len(shape):
        raise DataFileError(
            path,
            f"must hold uint8 (type 0x08) with {len(shape)} axes, its header says type 0x{header[2]:02x} "
            f"with {header[3]} axes",
        )
    sizes = stream.read(4 * len(shape))
    if len(sizes) < 4 * len(shape):
        raise DataFileError(path, "is truncated within its header")
    # Python ints: four axes of uint32 overflow 64 bits.
    found = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4))
    if any(want is not None and want != have for want, have in zip(shape, found, strict=True)):
        raise DataFileError(path, f"has shape {found}, expected {_shape_text(shape)}")
    count = math.prod(found)
    if count > SMALL and count > MAX_EXPANSION * path.stat().st_size:
        raise DataFileError(
            path, f"claims {count:,} bytes of content, more than {MAX_EXPANSION} times its own {path.stat().st_size:,}"
        )
    if count > max_bytes:
        raise DataFileError(path, f"claims {count:,} bytes of content, more than the {max_bytes:,} allowed")

    data = bytearray()  # grows with what is really there, so a header that lies costs no memory
    while len(data) < count:
        chunk = stream.read(min(_CHUNK, count - len(data)))
        if not chunk:
            raise DataFileError(path, f"is truncated: {len(data):,} of {count:,} bytes of content are there")
        data += chunk
    # Reading past the end also makes gzip check its own length and CRC-32.
    if stream.read(1):
        raise DataFileError(path, f"is oversized: content goes on after the {count:,} bytes that its header declares")
    return np.frombuffer(data, dtype=np.uint8).reshape(found)


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file of uint8 of this ``shape``; the array's bytes in C order follow it."""
    return bytes((0, 0, UINT8, len(shape))) + b"".join(size.to_bytes(4, "big") for size in shape)


def check_content(path: Path, array: np.ndarray, expected: str) -> None:
    """Refuse ``path``, read as ``array``, unless its decompressed content has the checksum ``"<algorithm>:<hex>"``."""
    _check_digest(path, expected, idx_header(array.shape), array.data)


def check_file(path: Path, expected: str) -> None:
    """Refuse ``path`` unless the file as it lies there has the checksum ``"<algorithm>:<hex>"``."""
    _check_digest(path, expected, path.read_bytes())


def _check_digest(path: Path, expected: str, *parts: bytes | memoryview) -> None:
    algorithm, _, digest = expected.partition(":")
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    for part in parts:
        hasher.update(part)
    if hasher.hexdigest() != digest:
        raise DataFileError(path, f"has the {algorithm} checksum {hasher.hexdigest()}, expected {digest}")


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return (
        "(" + ", ".join("n" if size is None else str(size) for size in shape) + ("," if len(shape) == 1 else "") + ")"
    )
