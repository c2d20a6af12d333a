"""HDF5, as much of it as Keras's weight files use: groups, and contiguous arrays of numbers.

Keras 3 keeps a model's weights in ``model.weights.h5``; its other layout, ``.npz`` with pickled dictionaries, is
refused by Keras itself (3.15: "Object arrays cannot be loaded when allow_pickle=False"). These 250 lines write such
files and read them without the h5py package; and what they read they check, where a C library would be trusted with a
stranger's pointers: every offset is held against the end of the file, every array against its declared size, and
nothing is allocated that the file does not hold.

What h5py writes by default (``libver="earliest"``) is superblock version 0, object headers version 1, groups as B-trees
of symbol tables; that is the part implemented. Chunked, compressed, linked or external data are refused.

References:
    The HDF Group, "HDF5 File Format Specification Version 3.0", sections II.A, III.A, III.B, III.D, IV.A.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Tree = Mapping[str, Any]  # name → Tree (a group) or array (a dataset)

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = 2**64 - 1
_NODE_CHILDREN = 32  # Twice the K of internal B-tree nodes; 16 is the library's default.
_MAX_RANK = 32  # The format's own limit on dataspaces.

_DATASPACE, _DATATYPE, _FILL, _EXTERNAL, _LAYOUT, _FILTER, _CONTINUATION, _SYMBOLS = 1, 3, 5, 7, 8, 11, 16, 17

# Properties of IEEE floats: bit offset, precision, exponent at, exponent bits, mantissa at, mantissa bits, exponent
# bias.
_FLOAT_PROPERTIES = {
    2: (0, 16, 10, 5, 0, 10, 15),
    4: (0, 32, 23, 8, 0, 23, 127),
    8: (0, 64, 52, 11, 0, 52, 1023),
}


class FormatError(Exception):
    """The bytes are not HDF5, or not of the part that is read here."""


class Dataset(NamedTuple):
    """An array in a file: what it is, and how to read it (a fresh copy in native byte order)."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


# Writing


class _Writer:
    """Objects are laid one after another into one buffer, children before their parents, who hold their addresses."""

    def __init__(self, leaf_k: int) -> None:
        self.data = bytearray(96)
        self.leaf_k = leaf_k

    def put(self, block: bytes) -> int:
        """Append a block at the next multiple of 8; its address."""
        self.data += bytes(-len(self.data) % 8)
        address = len(self.data)
        self.data += block
        return address

    def header(self, messages: list[tuple[int, bytes]]) -> int:
        """Object header version 1."""
        body = b""
        for kind, content in messages:
            content += bytes(-len(content) % 8)
            body += struct.pack("<HHB3x", kind, len(content), 0) + content
        return self.put(struct.pack("<BxHII4x", 1, len(messages), 1, len(body)) + body)

    def dataset(self, array: np.ndarray) -> int:
        """A contiguous dataset; its object header's address."""
        shape = array.shape
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        address = self.put(array.tobytes()) if array.nbytes else _UNDEFINED
        layout = struct.pack("<BBQQ", 3, 1, address, array.nbytes)
        space = struct.pack(f"<BBB5x{len(shape)}Q", 1, len(shape), 0, *shape)
        # Fill value version 2: space allocated late, fill written if set, none defined.
        return self.header(
            [(_DATASPACE, space), (_DATATYPE, _datatype(array.dtype)), (_FILL, b"\x02\x02\x02\x00"), (_LAYOUT, layout)]
        )

    def group(self, tree: Tree) -> tuple[int, int, int]:
        """A group and all below it; the addresses of its header, B-tree and heap."""
        names = sorted(tree, key=lambda name: name.encode())
        entries = []
        heap = bytearray(8)  # Offset 0 is the empty name, the B-tree's first key.
        for name in names:
            child = tree[name]
            if isinstance(child, Mapping):
                header, btree, names_heap = self.group(child)
                entry = struct.pack("<QQI4xQQ", len(heap), header, 1, btree, names_heap)
            else:
                entry = struct.pack("<QQI4x16x", len(heap), self.dataset(np.asarray(child)), 0)
            entries.append((len(heap), entry))
            encoded = name.encode() + b"\0"
            heap += encoded + bytes(-len(encoded) % 8)
        leaf = 2 * self.leaf_k
        keys, children = [0], []
        for start in range(0, len(entries), leaf):
            part = entries[start : start + leaf]
            block = struct.pack("<4sBxH", b"SNOD", 1, len(part)) + b"".join(entry for _, entry in part)
            children.append(self.put(block + bytes(40 * (leaf - len(part)))))
            keys.append(part[-1][0])
        node = struct.pack("<4sBBHQQ", b"TREE", 0, 0, len(children), _UNDEFINED, _UNDEFINED)
        for key, child_address in zip(keys, children, strict=False):
            node += struct.pack("<QQ", key, child_address)
        node += struct.pack("<Q", keys[-1])
        btree = self.put(node + bytes(24 + 16 * _NODE_CHILDREN + 8 - len(node)))
        # A free list that starts at 1 is an empty one.
        heap_address = self.put(struct.pack("<4sB3xQQQ", b"HEAP", 0, len(heap), 1, self.put(bytes(heap))))
        return self.header([(_SYMBOLS, struct.pack("<QQ", btree, heap_address))]), btree, heap_address

    def finish(self, root: tuple[int, int, int]) -> bytes:
        """Fill in the superblock; the whole file."""
        header, btree, heap = root
        block = SIGNATURE + struct.pack("<8BHHI", 0, 0, 0, 0, 0, 8, 8, 0, self.leaf_k, _NODE_CHILDREN // 2, 0)
        block += struct.pack("<QQQQ", 0, _UNDEFINED, len(self.data), _UNDEFINED)
        block += struct.pack("<QQI4xQQ", 0, header, 1, btree, heap)
        self.data[: len(block)] = block
        return bytes(self.data)


def _datatype(dtype: np.dtype) -> bytes:
    """Datatype message, version 1, of a little-endian IEEE float or integer."""
    size = dtype.itemsize
    if dtype.kind == "f":
        return struct.pack("<4BIHHBBBBI", 0x11, 0x20, 8 * size - 1, 0, size, *_FLOAT_PROPERTIES[size])
    return struct.pack("<4BIHH", 0x10, 0x08 if dtype.kind == "i" else 0, 0, 0, size, 0, 8 * size)


def _largest(tree: Tree) -> int:
    return max([len(tree), *(_largest(child) for child in tree.values() if isinstance(child, Mapping))])


def dump(tree: Tree) -> bytes:
    """An HDF5 file of nested groups of arrays, as bytes.

    Args:
        tree: name → array of floats or integers, or name → dict of the same kind.

    Example:
        >>> import numpy as np
        >>> File(dump({"layers": {"0": np.arange(3)}})).group("layers")["0"].read().tolist()
        [0, 1, 2]
    """
    # A B-tree of one level holds 32 leaves of 2·leaf_k names: enough for the largest group.
    writer = _Writer(max(4, -(-_largest(tree) // (2 * _NODE_CHILDREN))))
    return writer.finish(writer.group(tree))


# Reading


class File:
    """An HDF5 file in memory. Nothing is copied before a dataset is read.

    Args:
        data: The file's bytes.

    Raises:
        FormatError: not HDF5, damaged, or using what is not read here.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        if bytes(self._data[:8]) != SIGNATURE:
            raise FormatError("it is not an HDF5 file")
        version, offsets, lengths = self._unpack("<B4xBB", 8)
        if version > 1 or (offsets, lengths) != (8, 8):
            raise FormatError(f"HDF5 superblock version {version} is not supported; save it with libver='earliest'")
        start = 24 if version == 0 else 28
        if self._unpack("<Q", start)[0] != 0:
            raise FormatError("its HDF5 base address is not 0")
        self._root = self._unpack("<Q", start + 32 + 8)[0]
        self._budget = len(data)  # Headers and tree nodes that may still be read; stops cycles.

    def group(self, path: str) -> dict[str, Dataset]:
        """The datasets directly in a group, by name; empty if there is no such group."""
        address = self._root
        for name in path.split("/"):
            children = self._children(address)
            if name not in children:
                return {}
            address = children[name]
        found = {}
        for name, child in self._children(address).items():
            messages = self._messages(child)
            if _SYMBOLS not in messages:
                found[name] = self._dataset(name, messages)
        return found

    def _unpack(self, layout: str, at: int) -> tuple[Any, ...]:
        size = struct.calcsize(layout)
        if at < 0 or at + size > len(self._data):
            raise FormatError("its HDF5 data end too early")
        return struct.unpack_from(layout, self._data, at)

    def _spend(self) -> None:
        self._budget -= 8
        if self._budget < 0:
            raise FormatError("its HDF5 structure runs in a circle")

    def _messages(self, address: int) -> dict[int, tuple[int, int]]:
        """Kind → (address, size) of the messages of an object header; of a repeated kind the first."""
        version, count, length = self._unpack("<BxH4xI", address)
        if version != 1:
            raise FormatError("its HDF5 object headers are of a later version than h5py's default")
        blocks = [(address + 16, length)]
        messages: dict[int, tuple[int, int]] = {}
        while blocks:
            at, left = blocks.pop()
            while left >= 8 and count > 0:
                self._spend()
                kind, size = self._unpack("<HH", at)
                self._unpack(f"<{size}x", at + 8)
                if kind == _CONTINUATION:
                    blocks.append(self._unpack("<QQ", at + 8))
                messages.setdefault(kind, (at + 8, size))
                at, left, count = at + 8 + size, left - 8 - size, count - 1
        return messages

    def _children(self, address: int) -> dict[str, int]:
        """Name → object header address of everything in a group."""
        messages = self._messages(address)
        if _SYMBOLS not in messages:
            raise FormatError("its HDF5 groups are not of the kind that h5py writes by default")
        btree, heap = self._unpack("<QQ", messages[_SYMBOLS][0])
        signature, size, _, names = self._unpack("<4s4xQQQ", heap)
        if signature != b"HEAP" or names + size > len(self._data):
            raise FormatError("an HDF5 name table is damaged")
        found: dict[str, int] = {}
        nodes = [(btree, 64)]
        while nodes:
            self._spend()
            at, limit = nodes.pop()
            signature, kind, level, used = self._unpack("<4sBBH", at)
            if signature != b"TREE" or kind != 0 or level >= limit:
                raise FormatError("an HDF5 group index is damaged")
            for i in range(used):
                (child,) = self._unpack("<Q", at + 24 + 16 * i + 8)
                if level:
                    nodes.append((child, level))
                else:
                    self._read_symbols(child, names, size, found)
        return found

    def _read_symbols(self, at: int, names: int, size: int, found: dict[str, int]) -> None:
        signature, count = self._unpack("<4s2xH", at)
        if signature != b"SNOD":
            raise FormatError("an HDF5 group index is damaged")
        for i in range(count):
            self._spend()
            offset, header, cache = self._unpack("<QQI", at + 8 + 40 * i)
            if cache > 1:
                raise FormatError("it holds an HDF5 link, which is not followed")
            if offset >= size:
                raise FormatError("an HDF5 name table is damaged")
            name = bytes(self._data[names + offset : names + min(size, offset + 1024)]).split(b"\0")[0]
            found[name.decode("utf-8", "replace")] = header

    def _dataset(self, name: str, messages: dict[int, tuple[int, int]]) -> Dataset:
        if _FILTER in messages or _EXTERNAL in messages or not {_DATASPACE, _DATATYPE, _LAYOUT} <= messages.keys():
            raise FormatError(f"its HDF5 dataset {name!r} is compressed, external or incomplete")
        shape = self._shape(messages[_DATASPACE][0])
        dtype = self._dtype(name, messages[_DATATYPE][0])
        size = math.prod(shape) * dtype.itemsize
        at = messages[_LAYOUT][0]
        version, kind = self._unpack("<BB", at)
        if version != 3 or kind not in (0, 1):
            raise FormatError(f"its HDF5 dataset {name!r} is chunked or of another layout than contiguous")
        start, stored = self._unpack("<QQ", at + 2) if kind == 1 else (at + 4, self._unpack("<H", at + 2)[0])
        if size and (stored != size or start + size > len(self._data)):
            raise FormatError(f"its HDF5 dataset {name!r} declares {size} bytes and holds {stored}")

        def read() -> np.ndarray:
            flat = np.frombuffer(self._data[start : start + size] if size else b"", dtype)
            return flat.reshape(shape).astype(dtype.newbyteorder("="), copy=True)

        return Dataset(shape, dtype.newbyteorder("="), read)

    def _shape(self, at: int) -> tuple[int, ...]:
        version, rank = self._unpack("<BB", at)
        if version not in (1, 2) or rank > _MAX_RANK:
            raise FormatError("an HDF5 dataspace is damaged")
        return self._unpack(f"<{rank}Q", at + (8 if version == 1 else 4))

    def _dtype(self, name: str, at: int) -> np.dtype:
        kind, bits, sign, _, size = self._unpack("<4BI", at)
        order = ">" if bits & 1 else "<"
        if kind & 15 == 0 and size in (1, 2, 4, 8):
            return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
        properties = _FLOAT_PROPERTIES.get(size)
        if kind & 15 == 1 and sign == 8 * size - 1 and self._unpack("<HHBBBBI", at + 8) == properties:
            return np.dtype(f"{order}f{size}")
        raise FormatError(f"its HDF5 dataset {name!r} is of another type than integers or IEEE floats")
