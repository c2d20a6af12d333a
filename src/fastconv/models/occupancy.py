"""Who works on a model: one thread trains it or evaluates it at a time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

from .. import _validation

Worker = tuple[int, int]  # process and thread: a forked child does not inherit its parent's work


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
    def taken(self, where: str, *, trains: bool) -> Iterator[None]:
        """The model is this thread's within ``with``; again and again, since a callback may evaluate."""
        me = os.getpid(), threading.get_ident()
        before: tuple[Worker | None, bool] | None = None
        try:
            with self._changed:
                while self._owner is not None and self._owner[0] == me[0] and self._owner != me:
                    if self._trains:
                        raise _validation.model_in_training(where)
                    self._changed.wait()
                before = (me, self._trains) if self._owner == me else (None, False)
                self._owner, self._trains = me, trains or before[1]
            yield
        finally:
            if before is not None:
                with self._changed:
                    self._owner, self._trains = before
                    self._changed.notify_all()

    def __reduce__(self) -> Any:
        """A copy of a model is nobody's yet."""
        return Occupancy, ()
