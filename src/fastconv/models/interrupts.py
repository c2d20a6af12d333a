"""Ctrl-C at the right moment."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any


class InterruptGuard:
    """Puts Ctrl-C off while a step is being applied, so that a step is made wholly or not at all.

    Python raises KeyboardInterrupt between any two bytecodes: half of the weights could be moved and half not, the
    optimizer's step counter behind its moments. Within ``with guard:`` the signal is only noted; it is delivered, to
    the handler that was there before, when the block ends. Outside the main thread, where no signal arrives, this does
    nothing.

    The handler is there within ``with guard.installed():``, so that a guarded block
    itself costs well under a microsecond.
    """

    def __init__(self) -> None:
        self._previous: Any = None
        self._held = 0
        self._pending: tuple[int, FrameType | None] | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[InterruptGuard]:
        """The guard, ready for use; the former handler is back when the block ends."""
        main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGINT) if main else None
        if not callable(handler):  # SIG_IGN and SIG_DFL never raise within Python.
            yield self
            return
        self._previous = handler
        try:
            signal.signal(signal.SIGINT, self._handle)
            yield self
        finally:
            signal.signal(signal.SIGINT, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._pending = number, frame
        else:
            self._previous(number, frame)

    def __enter__(self) -> None:
        self._held += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._held -= 1
        if not self._held and self._pending is not None:
            pending, self._pending = self._pending, None
            self._previous(*pending)
