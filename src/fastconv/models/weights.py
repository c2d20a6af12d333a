"""A model's arrays in a file: how they are named, and how they are taken back from a file that may be anyone's."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .. import _validation, layers
from ..layers.base import Layer
from ..layers.naming import to_snake_case
from . import hdf5

if TYPE_CHECKING:
    from .sequential import Sequential

Array = np.ndarray


def group_names(stack: Iterable[Layer]) -> list[str]:
    """Each layer's group in a weights file: its class in snake case, numbered from the second on, as in Keras."""
    counts: dict[str, int] = {}
    names = []
    for layer in stack:
        name = to_snake_case(type(layer).__name__)
        count = counts.get(name, 0)
        counts[name] = count + 1
        names.append(f"{name}_{count}" if count else name)
    return names


def _numbered(arrays: Iterable[Array]) -> dict[str, Any]:
    return {"vars": {str(i): array for i, array in enumerate(arrays)}}


def weights_tree(model: Sequential) -> dict[str, Any]:
    """All weights, nested as Keras nests them."""
    tree: dict[str, Any] = {
        "layers": {
            name: _numbered(layer.weights) for name, layer in zip(group_names(model.layers), model.layers, strict=True)
        },
        "vars": {},
    }
    if model.optimizer is not None:
        # JAX's and Keras's counters are int32.
        iterations, *others = model.optimizer.variables
        tree["optimizer"] = _numbered([iterations.astype(np.int32), *others])
    return tree


class Store:
    """The arrays of a weights file by group; raises `bad_file` for all that is wrong with it."""

    def __init__(self, path: Any, data: bytes, name: str) -> None:
        self._path = path
        # Every array may be read once (the step counter twice): a small file never becomes large in memory.
        self._left = len(data) + 8
        self._h5 = self._npz = None
        try:
            if name.endswith(".h5"):
                self._h5 = hdf5.File(data)
            else:
                self._npz = zipfile.ZipFile(io.BytesIO(data))
        except (hdf5.FormatError, zipfile.BadZipFile) as error:
            self.fail(f"its weights are damaged: {error}.")

    def fail(self, reason: str) -> NoReturn:
        """Raise the error of this file."""
        raise _validation.bad_file(self._path, reason)

    def arrays(self, group: str) -> list[hdf5.Dataset]:
        """The arrays ``group/vars/0``, ``group/vars/1``, … in their order."""
        try:
            found = self._npz_group(f"{group}/vars/") if self._h5 is None else self._h5.group(f"{group}/vars")
        except (hdf5.FormatError, ValueError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
            self.fail(f"its weights are damaged: {error}.")
        names = [str(i) for i in range(len(found))]
        if set(names) != found.keys():
            self.fail(f"the weights of {group!r} are numbered {', '.join(sorted(found))}.")
        return [found[name] for name in names]

    def read(self, entry: hdf5.Dataset) -> Array:
        """One array, in memory."""
        self._left -= entry.dtype.itemsize * int(np.prod(entry.shape, dtype=np.float64))
        if self._left < 0:
            self.fail("its arrays are larger than the file.")
        try:
            return entry.read()
        except (hdf5.FormatError, ValueError, OverflowError, OSError, EOFError, zipfile.BadZipFile) as error:
            self.fail(f"its weights are damaged: {error}.")

    def _npz_group(self, prefix: str) -> dict[str, hdf5.Dataset]:
        assert self._npz is not None
        members = {info.filename: info for info in self._npz.infolist()}
        found = {}
        for filename, info in members.items():
            if filename.startswith(prefix) and filename.endswith(".npy"):
                found[filename[len(prefix) : -len(".npy")]] = self._npy(info)
        return found

    def _npy(self, info: zipfile.ZipInfo) -> hdf5.Dataset:
        assert self._npz is not None
        if info.compress_type != zipfile.ZIP_STORED:
            raise hdf5.FormatError("its .npz is compressed; numpy.savez stores arrays")
        with self._npz.open(info) as member:
            version = np.lib.format.read_magic(member)
            if version not in ((1, 0), (2, 0)):
                raise hdf5.FormatError(f"its .npy format is {version}")
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(member)
            if dtype.kind not in "iuf":
                raise hdf5.FormatError(f"{info.filename!r} is of type {dtype}; only numbers are read, never objects")

        def read() -> Array:
            assert self._npz is not None
            with self._npz.open(info) as member:
                return np.lib.format.read_array(member, allow_pickle=False)

        return hdf5.Dataset(tuple(shape), dtype, read)


def take_weights(store: Store, stack: list[Layer]) -> None:
    """Make each layer, when it is built, take its weights from the file instead of its initialisers.

    The shapes are compared first: a config that asks for more than the file holds is refused before memory is.
    """
    weighty = [layer for layer in stack if not isinstance(layer, layers.InputLayer)]
    for layer, group in zip(weighty, group_names(weighty), strict=True):
        layer.add_weight = _taker(store, layer, group)  # type: ignore[method-assign]


def _taker(store: Store, layer: Layer, group: str) -> Callable[..., Array]:
    waiting = iter(store.arrays(f"layers/{group}"))

    def add_weight(
        name: str, shape: Any, initializer: Any = None, regularizer: Any = None, trainable: bool = True
    ) -> Array:
        entry = next(waiting, None)
        if entry is None or entry.shape != tuple(shape):
            held = "none" if entry is None else f"one of shape {entry.shape}"
            store.fail(f"weight {name!r} of layer {layer.name!r} has shape {tuple(shape)}, the file holds {held}.")
        value = store.read(entry)
        return type(layer).add_weight(layer, name, shape, lambda *_, **__: value, regularizer, trainable)

    return add_weight
