"""Callbacks: what happens beside training: progress, history, early stop, checkpoints. The hooks are Keras's.

`Sequential.fit` adds a `History` and, unless ``verbose=0``, a `ProgressBar` to the callbacks that it is given.
"""

from .base import Callback, CallbackList
from .monitors import EarlyStopping, ModelCheckpoint
from .progress import ProgressBar
from .records import CSVLogger, History, LambdaCallback, TerminateOnNaN

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "ModelCheckpoint",
    "ProgressBar",
    "TerminateOnNaN",
]
