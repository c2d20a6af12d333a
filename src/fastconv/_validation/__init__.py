"""Checks of user input. Every error that a user can meet is built here: what came, what was expected, how to fix it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .ops import *  # noqa: F403
from .results import *  # noqa: F403

if TYPE_CHECKING:
    from .layers import *  # noqa: F403
    from .models import *  # noqa: F403
    from .plots import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        """The other floors' checks load with the first of them: `import fastconv` needs none."""
        for module in ("layers", "models", "plots"):
            found = getattr(import_module(f".{module}", __name__), name, None)
            if found is not None:
                globals()[name] = found  # the next look finds it without this function
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
