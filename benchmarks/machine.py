"""What the figures were measured on, and how fast that could be at best."""

from __future__ import annotations

import multiprocessing
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
from fastconv._config import usable_cpus
from fastconv._core import _runtime

# 20 rounds of about 10 ms each, the threads' rounds side by side.
PEAK_ROUNDS, PEAK_LOOPS = 20, 3_000_000


def describe() -> dict[str, str]:
    """The lines that belong above every table."""
    lines = {
        "CPU": f"{cpu_model()}, {usable_cpus()} CPUs for this process",
        "fastconv": f"{fc.__version__}, instruction set {fc.get_isa()} of {', '.join(fc.available_isas())}, "
        f"{_runtime.compiler()}, OpenMP {_runtime.OPENMP_VERSION or 'none: one thread only'}",
        "software": f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    return lines


class Others:
    """How many CPUs other processes kept busy since this object was made: what disturbs a measurement."""

    def __init__(self) -> None:
        self._start = self._read()

    def cpus(self) -> float | None:
        """Their number; None on a system that does not tell."""
        if self._start is None:
            return None
        (wall, busy), (wall_before, busy_before) = self._read(), self._start
        return max(0.0, (busy - busy_before) / max(wall - wall_before, 0.1))

    def __str__(self) -> str:
        cpus = self.cpus()
        if cpus is None:
            return "not known on this system"
        warning = "; times of several threads are not to be trusted" if cpus > 0.25 else ""
        return f"{cpus:.2f} CPUs were kept busy by other processes during the run{warning}"

    @staticmethod
    def _read() -> tuple[float, float] | None:
        """Seconds on the clock, and CPU seconds of everybody but us."""
        try:
            with open("/proc/stat", encoding="utf-8") as file:
                user, nice, system, _idle, _wait, irq, soft, steal = map(int, file.readline().split()[1:9])
        except (OSError, ValueError):
            return None
        all_seconds = (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), all_seconds - sum(os.times()[:4])


def cpu_model() -> str:
    """The CPU's name, as exactly as the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    numbers = [f"{word} {fields[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in fields]
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({', '.join(numbers)})" if numbers else name


def measure_peak(dtype: Any, threads: int) -> float:
    """GFLOP/s of multiply-adds in registers only, on ``threads`` CPUs at once: what no kernel can exceed.

    One process for each thread, because CPUs that work side by side may run slower than one alone (shared power,
    two threads of one core). Best of several rounds, each the sum of what all did in it.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(threads)
    pipes, workers = [], []
    for _ in range(threads):
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_peak_rounds, args=(theirs, barrier, np.dtype(dtype).itemsize, fc.get_isa()))
        worker.start()
        theirs.close()
        pipes.append(ours)
        workers.append(worker)
    rounds = [pipe.recv() for pipe in pipes]
    for worker in workers:
        worker.join()
    return max(sum(together) for together in zip(*rounds, strict=True))


def _peak_rounds(pipe: Any, barrier: Any, itemsize: int, isa: str) -> None:
    fc.set_isa(isa)
    figures = []
    for _ in range(PEAK_ROUNDS):
        barrier.wait(timeout=60)
        figures.append(_runtime.measure_peak(itemsize, PEAK_LOOPS))
    pipe.send(figures)
