"""Objects by name, and objects as JSON-able dictionaries in Keras's form. Only what a given table holds is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from . import _validation


def serialize(instance: Any, module: str) -> dict[str, Any]:
    """Keras's dictionary of an object: ``module``, ``class_name``, ``config``, ``registered_name``."""
    if not hasattr(instance, "get_config"):
        raise _validation.not_serializable(module, instance)
    return {
        "module": module,
        "class_name": type(instance).__name__,
        "config": instance.get_config(),
        "registered_name": None,
    }


def deserialize(
    config: Mapping[str, Any] | str,
    table: Mapping[str, Callable[..., Any]],
    kind: str,
    custom_objects: Mapping[str, Any] | None = None,
) -> Any:
    """The object that ``config`` (Keras's dictionary, or a bare name) describes.

    A name is looked up in ``custom_objects``, then in ``table``, and nowhere else: reading a hostile file can fail but
    never runs code of its choosing.
    """
    arguments: Any = {}
    if isinstance(config, str):
        name = config
    elif isinstance(config, Mapping) and isinstance(config.get("class_name"), str):
        name, arguments = config["class_name"], config.get("config") or {}
    else:
        raise _validation.unknown_identifier(kind, config, table)
    cls = (custom_objects or {}).get(name, table.get(name))
    if cls is None or not isinstance(arguments, Mapping):
        raise _validation.unknown_identifier(kind, config, table)
    return cls.from_config(dict(arguments)) if hasattr(cls, "from_config") else cls(**arguments)


def get(identifier: Any, table: Mapping[str, Callable[..., Any]], kind: str) -> Any:
    """None stays None; a name or a dictionary makes an object; a class makes its instance; a callable is itself."""
    if identifier is None:
        return None
    if isinstance(identifier, (str, Mapping)):
        return deserialize(identifier, table, kind)
    if inspect.isclass(identifier):
        return identifier()
    if callable(identifier):
        return identifier
    raise _validation.unknown_identifier(kind, identifier, table)
