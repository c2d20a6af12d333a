"""Checks of user input. Every error that a user can meet is built here: what came, what was expected, how to fix it.

One file for each floor that asks: the functional API, layers, models with data and files, plots.
"""

from .layers import *  # noqa: F403
from .models import *  # noqa: F403
from .ops import *  # noqa: F403
from .plots import *  # noqa: F403
