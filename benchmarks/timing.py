"""Timing of calls that compete with each other: warmed up, in turn, with the spread beside the median."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

SAMPLE_SECONDS = 5e-3
# NumPy's BLAS team (OpenBLAS) spins for about 90 ms after its last product, on CPUs that the first contender wants.
SETTLE_SECONDS = 0.1

Clock = Callable[[], float]
# "cpu" counts what the calling thread computes: neighbours on a busy machine disturb it little. One thread only.
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.thread_time}


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

    def ratio(self, other: Timing) -> float:
        """How many times longer ``other`` takes: the median of the ratios of samples that were taken in one turn."""
        return statistics.median(b / a for a, b in zip(self.samples, other.samples, strict=False))


@dataclass(frozen=True)
class Contender:
    """One way to do the work. ``prepare`` is called before every turn, untimed (to set the threads, say)."""

    name: str
    threads: int
    call: Callable[[], Any]
    prepare: Callable[[], None] = lambda: None
    scale: float = 1.0  # how much more the whole work is than what `call` does
    note: str = ""
    warm_up: bool = True  # False where a call takes so long that it is idle: then a sample is one call
    turns: int | None = None  # in how many turns it takes part, from the first on; None: in all
    settle: float = 0.0  # seconds that its threads spin on after a call


def time_in_turn(
    contenders: Sequence[Contender],
    repeat: int,
    sample_seconds: float = SAMPLE_SECONDS,
    clock: Clock = time.perf_counter,
) -> list[Timing]:
    """Time all contenders ``repeat`` times in turn, so that a change of the machine's mood meets all of them.

    Each turn starts with one untimed call, which wakes the threads and fills the caches; then comes one sample: as many
    calls in a row as fill ``sample_seconds``, at least one. The next turn waits until this one's threads rest.
    """
    time.sleep(SETTLE_SECONDS)
    loops = []
    for contender in contenders:
        if not contender.warm_up:
            loops.append(1)
            continue
        contender.prepare()
        contender.call()
        loops.append(max(1, round(sample_seconds / max(_sample(contender.call, 1, clock), 1e-9))))
        time.sleep(contender.settle)
    samples: list[list[float]] = [[] for _ in contenders]
    for turn in range(repeat):
        for contender, count, taken in zip(contenders, loops, samples, strict=True):
            if contender.turns is not None and turn >= contender.turns:
                continue
            contender.prepare()
            if contender.warm_up:
                contender.call()
            taken.append(_sample(contender.call, count, clock))
            time.sleep(contender.settle)
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


def _sample(call: Callable[[], Any], count: int, clock: Clock = time.perf_counter) -> float:
    """Seconds of one call, from ``count`` calls in a row, undisturbed by the garbage collector."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = clock()
        for _ in range(count):
            call()
        return (clock() - start) / count
    finally:
        if collecting:
            gc.enable()
