"""Timing of calls that compete with each other: warmed up, in turn, with the spread beside the median."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

SAMPLE_SECONDS = 5e-3
# A BLAS or OpenMP team that has just worked spins for some milliseconds more, on CPUs that the next one wants.
SETTLE_SECONDS = 0.1


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, one value a sample."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        return min(self.samples)

    @property
    def spread(self) -> float:
        """The middle half of the samples, from quartile to quartile, as a part of the median."""
        if len(self.samples) < 2:
            return 0.0
        lower, _, upper = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (upper - lower) / self.median

    def scaled(self, factor: float) -> Timing:
        """What ``factor`` times the work would take."""
        return Timing(tuple(factor * sample for sample in self.samples))


@dataclass(frozen=True)
class Contender:
    """One way to do the work. ``prepare`` is called before every turn, untimed (to set the threads, say)."""

    name: str
    threads: int
    call: Callable[[], Any]
    prepare: Callable[[], None] = lambda: None
    scale: float = 1.0  # how much more the whole work is than what `call` does
    note: str = ""


def time_in_turn(contenders: Sequence[Contender], repeat: int, sample_seconds: float = SAMPLE_SECONDS) -> list[Timing]:
    """Time all contenders ``repeat`` times in turn, so that a change of the machine's mood meets all of them.

    Each turn starts with one untimed call, which wakes the threads and fills the caches; then comes one sample: as many
    calls in a row as fill ``sample_seconds``, at least one.
    """
    time.sleep(SETTLE_SECONDS)
    loops = []
    for contender in contenders:
        contender.prepare()
        contender.call()
        loops.append(max(1, round(sample_seconds / max(_sample(contender.call, 1), 1e-9))))
    samples: list[list[float]] = [[] for _ in contenders]
    for _ in range(repeat):
        for contender, count, taken in zip(contenders, loops, samples, strict=True):
            contender.prepare()
            contender.call()
            taken.append(_sample(contender.call, count))
    return [Timing(tuple(taken)).scaled(contender.scale) for contender, taken in zip(contenders, samples, strict=True)]


def time_slow(contender: Contender, repeat: int, limit: float = 1.0) -> Timing:
    """Time a contender that takes so long that warming up is idle: ``repeat`` calls, or as many as start in ``limit``
    seconds.
    """
    contender.prepare()
    samples = [_sample(contender.call, 1)]
    while len(samples) < repeat and sum(samples) < limit:
        samples.append(_sample(contender.call, 1))
    return Timing(tuple(samples)).scaled(contender.scale)


def _sample(call: Callable[[], Any], count: int) -> float:
    """Seconds of one call, from ``count`` calls in a row, undisturbed by the garbage collector."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - start) / count
    finally:
        if collecting:
            gc.enable()
