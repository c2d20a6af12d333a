"""Callbacks: what happens beside training: progress, history, early stop, checkpoints. The hooks are Keras's.

`Sequential.fit` adds a `History` and, unless ``verbose=0``, a `ProgressBar` to the callbacks that it is given.
"""

from .base import Callback, CallbackList
from .monitors import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from .progress import ProgressBar
from .records import CSVLogger, History, LambdaCallback, LearningRateScheduler, TerminateOnNaN
from .tensorboard import TensorBoard

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
