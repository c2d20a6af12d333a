"""Who works on a model: one thread trains it or evaluates it at a time, and one trains each of its layers."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from .. import _validation
from ..layers.base import Layer

Worker = tuple[int, int]  # process and thread: a forked child does not inherit its parent's work

_claims = threading.Lock()
_trainers: dict[int, Worker] = {}  # of the layers in training, by their id: a layer may be in several models


class Occupancy:
    """Keeps threads apart that would write into one model's metrics, weights and buffers.

    ``predict`` does not ask: it writes nowhere that another thread reads. Evaluations wait for one another, and a
    training for an evaluation; whoever comes while another thread trains gets an error, since that may take hours.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner: Worker | None = None
        self._trains = False

    @contextlib.contextmanager
    def taken(self, where: str, *, trains: bool, layers: Iterable[Layer] = ()) -> Iterator[None]:
        """The model is this thread's within ``with``; again and again, since a callback may evaluate.

        Args:
            where: who asks, for the error.
            trains: Whether the model's weights will change.
            layers: Those whose weights and buffers will.
        """
        me = os.getpid(), threading.get_ident()
        before: tuple[Worker | None, bool] | None = None
        claimed: list[int] = []
        try:
            with self._changed:
                while self._owner is not None and self._owner[0] == me[0] and self._owner != me:
                    if self._trains:
                        raise _validation.model_in_training(where)
                    self._changed.wait()
                claimed = _claim(where, me, layers)
                before = (me, self._trains) if self._owner == me else (None, False)
                self._owner, self._trains = me, trains or before[1]
            yield
        finally:
            with _claims:
                for key in claimed:
                    _trainers.pop(key, None)
            if before is not None:
                with self._changed:
                    self._owner, self._trains = before
                    self._changed.notify_all()

    def __reduce__(self) -> Any:
        """A copy of a model is nobody's yet."""
        return Occupancy, ()


def _claim(where: str, me: Worker, layers: Iterable[Layer]) -> list[int]:
    """What this thread has to give back of these layers; an error, and no claim, if another thread trains one."""
    with _claims:
        free = []
        for layer in layers:
            trainer = _trainers.get(id(layer))
            if trainer is None or trainer[0] != me[0]:
                free.append(id(layer))
            elif trainer != me:
                raise _validation.layer_in_training(where, layer.name)
        _trainers.update(dict.fromkeys(free, me))
        return free
