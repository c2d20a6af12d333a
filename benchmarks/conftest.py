"""What the benchmarks share: the runtime put back as it was, the machine's peak, its description in saved results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import machine
import numpy as np
import pytest

import fastconv as fc


@pytest.fixture(autouse=True)
def threads_restored() -> Iterator[None]:
    """The number of threads as it was before the benchmark."""
    threads = fc.get_num_threads()
    yield
    fc.set_num_threads(threads)


@pytest.fixture(scope="session")
def peak() -> Callable[[int], float]:
    """GFLOP/s of float32 multiply-adds that so many threads reach at best, measured once in this run."""
    return cache(lambda threads: machine.measure_peak(np.float32, threads))


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Files of --benchmark-json and --benchmark-autosave say what they were measured on."""
    machine_info["fastconv"] = machine.describe()
