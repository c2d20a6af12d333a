"""Saving and loading: ``.keras`` files that Keras 3 reads, and Keras 3's own.

A ``.keras`` file is a zip archive of ``config.json`` (layers, compile settings), ``metadata.json`` and
``model.weights.h5`` (weights, optimizer state); see `hdf5` for why the weights are HDF5. Archives with
``model.weights.npz`` of plain arrays, named ``layers/conv2d/vars/0``, are read too.

A file may come from a stranger. Nothing is unpickled; classes are made only from the tables of `layers`, `losses`,
`metrics` and `optimizers`; no array is allocated that the file does not hold, since every weight is compared with the
file before it is made; whatever is wrong ends in one ValueError. A save is atomic: the new file is complete on the disk
before it takes the old one's name.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validation, layers, losses, metrics, optimizers
from ..layers.base import Layer
from . import hdf5
from .weights import Store, group_names, take_weights, weights_tree

if TYPE_CHECKING:
    from .sequential import Sequential

_CONFIG, _METADATA, _H5, _NPZ = "config.json", "metadata.json", "model.weights.h5", "model.weights.npz"
_MAX_JSON = 16 * 2**20  # A thousand layers need about 1 MB.
_MAX_EXPANSION = 20  # Keras and fastconv store members uncompressed; what expands further is a bomb.
_POLICY = "DTypePolicy"
# Keys of layers' configs that earlier releases of Keras 3 do not know; here their values can only be the defaults.
_LATER_KEYS = ("quantization_config", "synchronized", "renorm", "renorm_clipping", "renorm_momentum")


# Configuration


def model_config(model: Sequential) -> dict[str, Any]:
    """Name and layers of a model, as ``keras.Sequential.get_config`` gives them."""
    inner = ([] if model._input is None else [model._input]) + model.layers
    configs = []
    for layer in inner:
        config = layers.serialize(layer)
        if getattr(layers, type(layer).__name__, None) is not type(layer):
            config |= {"module": type(layer).__module__, "registered_name": type(layer).__name__}
        for key in _LATER_KEYS:
            config["config"].pop(key, None)
        configs.append(config)
    dtype = str(model._dtype()) if model.layers else "float32"
    policy = {"module": "keras", "class_name": _POLICY, "config": {"name": dtype}, "registered_name": None}
    config = {"name": model.name, "trainable": True, "dtype": policy, "layers": configs}
    if model.built:
        config["build_input_shape"] = list(model.input_shape)
    return config


def model_from_config(
    config: Any,
    cls: type[Sequential],
    custom_objects: Mapping[str, Any] | None = None,
    prepare: Callable[[list[Layer]], None] | None = None,
) -> Sequential:
    """A model from what ``model_config`` gave; ``prepare`` sees the layers before any of them is built."""
    where = "Sequential.from_config"
    if not isinstance(config, Mapping) or not isinstance(config.get("layers"), list):
        raise _validation.wrong_type(where, "config", config, "a dict with 'name' and 'layers'")
    stack: list[Layer] = []
    for layer_config in config["layers"]:
        if isinstance(layer_config, Mapping) and layer_config.get("class_name") == "Sequential":
            raise _validation.wrong_state(
                where, "a model within a model is not supported.", "Put its layers in one stack."
            )
        layer = layers.deserialize(layer_config, custom_objects)
        if not isinstance(layer, Layer):
            raise _validation.wrong_type(where, "layer", layer, "a fastconv layer")
        stack.append(layer)
    if prepare is not None:
        prepare(stack)
    model = cls(stack, name=config.get("name"))
    shape = config.get("build_input_shape")
    if isinstance(shape, (list, tuple)) and not model.built and model.layers:
        model.build(shape)
    return model


def _compile_config(model: Sequential) -> dict[str, Any] | None:
    """The settings of ``compile``, as Keras writes them; None if there are none."""
    if model.optimizer is None:
        return None
    return {
        "optimizer": optimizers.serialize(model.optimizer),
        "loss": None if model.loss is None else losses.serialize(model.loss),
        "loss_weights": None,
        "metrics": _metric_configs(model._metric_identifiers),
        "weighted_metrics": _metric_configs(model._weighted_identifiers),
        "run_eagerly": False,
        "steps_per_execution": 1,
        "jit_compile": "auto",
    }


def _metric_configs(identifiers: list[Any]) -> list[Any] | None:
    """Names and dictionaries of metrics, as Keras writes them; functions are left out with a warning."""
    kept: list[Any] = []
    for metric in identifiers:
        if isinstance(metric, type) and issubclass(metric, metrics.Metric):
            metric = metric()
        if isinstance(metric, metrics.Metric) and not isinstance(metric, metrics.MeanMetricWrapper):
            kept.append(metrics.serialize(metric))
        elif isinstance(metric, str):
            kept.append(metric)
        else:
            warnings.warn(f"The metric {metric!r} is a function and is not saved with the model.", stacklevel=5)
    return kept or None


def _compile_from_config(model: Sequential, config: Any, custom_objects: Mapping[str, Any] | None) -> None:
    """Compile as the file says; a setting that is not known here costs the compilation, not the model."""
    if not isinstance(config, Mapping) or config.get("optimizer") is None:
        return
    try:
        plain, weighted = (
            [
                name if isinstance(name, str) else metrics.deserialize(name, custom_objects)
                for item in config.get(key) or []
                for name in (item if isinstance(item, list) else [item])
            ]
            for key in ("metrics", "weighted_metrics")
        )
        model.compile(
            optimizers.get(config["optimizer"])
            if isinstance(config["optimizer"], str)
            else optimizers.deserialize(config["optimizer"], custom_objects),
            losses.deserialize(config.get("loss"), custom_objects),
            plain,
            weighted_metrics=weighted,
        )
    except (TypeError, ValueError, NotImplementedError, AttributeError, OverflowError) as error:
        warnings.warn(f"The model was loaded, but not compiled: {error} Call model.compile(…).", stacklevel=4)


# Files


def _member(path: Any, archive: zipfile.ZipFile, name: str, limit: int | None = None) -> bytes:
    """The bytes of an archive's member, unless it is larger than it may be."""
    try:
        info = archive.getinfo(name)
        if info.compress_size > os.path.getsize(path):
            raise _validation.bad_file(path, f"its {name} declares more bytes than the file has.")
        allowed = _MAX_EXPANSION * (info.compress_size + 1024) if limit is None else limit
        if info.file_size > allowed:
            raise _validation.bad_file(
                path, f"its {name} declares {info.file_size:,} bytes; at most {allowed:,} are read."
            )
        with archive.open(info) as file:
            return file.read(info.file_size)
    except KeyError:
        raise _validation.bad_file(path, f"it has no {name}.") from None
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, zlib.error) as error:
        raise _validation.bad_file(path, f"its {name} is damaged: {error}.") from None


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all: beside its place, to the disk, then under its name."""
    path = os.path.realpath(path)  # Through a symbolic link, the file that it names is replaced, not the link.
    folder, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _file_mode(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _file_mode(path: str) -> int:
    """The permissions of the file that is replaced, or those that a new file would have (mkstemp gives 0600)."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def check_path(where: str, path: Any, endings: tuple[str, ...], overwrite: bool) -> str:
    path = os.fspath(path)
    if not isinstance(path, str) or not path.endswith(endings):
        raise _validation.wrong_state(where, f"received filepath={path!r}.", f"It must end in {' or '.join(endings)}.")
    if not overwrite and os.path.exists(path):
        raise _validation.file_exists(where, path)
    return path


def save_model(model: Sequential, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Save a model as a ``.keras`` file: layers, weights, compile settings, optimizer state.

    Keras 3 loads the file with ``keras.models.load_model``. A crash while saving leaves a former file whole.

    Args:
        model: The model.
        filepath: Must end in ``.keras``.
        overwrite: Replace a file that is there. Default True.

    Raises:
        ValueError: another ending.
        FileExistsError: the file exists and ``overwrite`` is False.

    Example:
        >>> import os, tempfile
        >>> from fastconv import layers, models
        >>> model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
        >>> path = os.path.join(tempfile.mkdtemp(), "model.keras")
        >>> model.save(path)
        >>> models.load_model(path).count_params()
        10
    """
    path = check_path("Sequential.save", filepath, (".keras",), overwrite)
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": model_config(model),
        "registered_name": None,
        "build_config": {"input_shape": list(model.input_shape)} if model.built else None,
        "compile_config": _compile_config(model),
    }
    from .. import __version__

    metadata = {
        "keras_version": "3.0.0",  # Whose file format this is.
        "fastconv_version": __version__,
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_METADATA, json.dumps(metadata))
        archive.writestr(_CONFIG, json.dumps(config))
        archive.writestr(_H5, hdf5.dump(weights_tree(model)))
    write_atomically(path, buffer.getvalue())


def load_model(
    filepath: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None, compile: bool = True
) -> Sequential:
    """Load a ``.keras`` file that fastconv or Keras 3 saved.

    The model predicts what the saved one did, bit for bit, and trains on from where that one stood: the optimizer's
    state is restored too.

    Args:
        filepath: The file.
        custom_objects: Name → class, of layers, losses, metrics, optimizers and schedules that are not fastconv's.
        compile: Whether to restore the compile settings. Default True.

    Raises:
        ValueError: not such a file, damaged, or with layers that fastconv does not have. Loading runs no code from the
            file.
        FileNotFoundError: no such file.
    """
    from .sequential import Sequential

    path = os.fspath(filepath)
    with open(path, "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile:
            raise _validation.bad_file(path, "it is not a .keras file (a zip archive).") from None
        config = _read_config(path, archive)
        store = _archive_store(path, archive)
    stack: list[Layer] = []

    def prepare(found: list[Layer]) -> None:
        stack.extend(found)
        take_weights(store, found)

    try:
        model = model_from_config(config.get("config"), Sequential, custom_objects, prepare)
    except _validation.ModelFileError:
        raise
    except (TypeError, ValueError, AttributeError, KeyError, NotImplementedError, OverflowError) as error:
        raise _validation.bad_file(path, str(error)) from error
    finally:
        for layer in stack:
            layer.__dict__.pop("add_weight", None)
    if compile:
        _compile_from_config(model, config.get("compile_config"), custom_objects)
        _restore_optimizer(model, store)
    return model


def _read_config(path: str, archive: zipfile.ZipFile) -> dict[str, Any]:
    try:
        config = json.loads(_member(path, archive, _CONFIG, _MAX_JSON))
    except _validation.ModelFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise _validation.bad_file(path, f"its {_CONFIG} is not JSON: {error}.") from None
    if not isinstance(config, dict) or config.get("class_name") != "Sequential":
        name = config.get("class_name") if isinstance(config, dict) else None
        raise _validation.bad_file(path, f"it holds a {name}; fastconv loads Sequential models.")
    return config


def _archive_store(path: str, archive: zipfile.ZipFile) -> Store:
    names = archive.namelist()
    name = _H5 if _H5 in names else _NPZ
    return Store(path, _member(path, archive, name), name)


def _restore_optimizer(model: Sequential, store: Store) -> None:
    """Put back step counter and moments, if the file holds those of this optimizer."""
    entries = store.arrays("optimizer")
    if model.optimizer is None or not model.built or not entries or entries[0].shape != ():
        return
    if store.read(entries[0]) == 0:  # Saved before the first step: there are no moments, or only zeros.
        return
    model.optimizer.build(model.trainable_weights)
    if [entry.shape for entry in entries] != [variable.shape for variable in model.optimizer.variables]:
        warnings.warn("The optimizer's state in the file does not fit this one, which starts anew.", stacklevel=4)
        return
    model.optimizer.set_weights([store.read(entry) for entry in entries])


def save_weights(model: Sequential, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Save the weights, and as in Keras the optimizer's state, for a model of the same layers.

    Args:
        model: A built model.
        filepath: Must end in ``.weights.h5`` (Keras reads it) or ``.weights.npz`` (``numpy.load`` reads it).
        overwrite: Replace a file that is there. Default True.

    Raises:
        ValueError: another ending, or a model that is not built.
    """
    where = "Sequential.save_weights"
    path = check_path(where, filepath, (".weights.h5", ".weights.npz"), overwrite)
    if not model.built:
        raise _validation.not_built(model.name, "call `save_weights`")
    tree = weights_tree(model)
    if path.endswith(".h5"):
        write_atomically(path, hdf5.dump(tree))
        return
    groups = {f"layers/{group}": node for group, node in tree["layers"].items()}
    if "optimizer" in tree:
        groups["optimizer"] = tree["optimizer"]
    arrays = {f"{group}/vars/{i}": array for group, node in groups.items() for i, array in node["vars"].items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def load_weights(model: Sequential, filepath: str | os.PathLike[str]) -> None:
    """Load weights from a ``.weights.h5``, ``.weights.npz`` or ``.keras`` file into a model of the same layers.

    As in Keras, a compiled model's optimizer takes over the state that the file holds for it.

    Raises:
        ValueError: another ending, a model that is not built, or a file that is damaged or does not fit; nothing is
            changed then.
        FileNotFoundError: no such file.
    """
    where = "Sequential.load_weights"
    path = os.fspath(filepath)
    if not path.endswith((".weights.h5", ".weights.npz", ".keras")):
        raise _validation.wrong_state(
            where, f"received filepath={path!r}.", "It must end in .weights.h5, .weights.npz or .keras."
        )
    if not model.built:
        raise _validation.not_built(model.name, "call `load_weights`")
    with open(path, "rb") as file:
        if path.endswith(".keras"):
            try:
                store = _archive_store(path, zipfile.ZipFile(file))
            except zipfile.BadZipFile:
                raise _validation.bad_file(path, "it is not a .keras file (a zip archive).") from None
        else:
            store = Store(path, file.read(), path)
    values = []
    for layer, group in zip(model.layers, group_names(model.layers), strict=True):
        entries = store.arrays(f"layers/{group}")
        shapes, expected = [entry.shape for entry in entries], [weight.shape for weight in layer.weights]
        if shapes != expected:
            store.fail(f"layer {layer.name!r} has weights of shapes {expected}, the file holds {shapes}.")
        values += [store.read(entry) for entry in entries]
    model.set_weights(values)
    _restore_optimizer(model, store)
