"""The benchmarks' parameters, and how one of them is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from layer_lists import Layer
from workloads import NAIVE_WORK, Workload

import fastconv as fc

NAIVE_ROUNDS = 2
# A third of a second for each benchmark keeps the whole run below five minutes.
FAST = pytest.mark.benchmark(max_time=0.33, min_rounds=5, warmup=True, warmup_iterations=3)


@dataclass(frozen=True)
class Case:
    """One way to do one operation of one layer."""

    layer: Layer
    operation: str
    algorithm: str  # "naive" or one of fastconv's
    threads: int


def thread_counts() -> list[int]:
    """1 and all."""
    return sorted({1, fc.get_num_threads()})


def cases(layers: Sequence[Layer]) -> list[Any]:
    """pytest's parameters: the naive loops and each algorithm with each number of threads.

    The naive loops take a part of the work. Their clock runs as many times faster as that part is smaller, so that
    pytest-benchmark's table compares equal work; the name of the benchmark says so.
    """
    params = []
    for layer in layers:
        for operation in layer.operations:
            part = layer.part(NAIVE_WORK)
            scale = layer.work / part.work
            share = "" if scale == 1 else f"-{layer.describe_part(part).replace(' ', '_')}_x{scale:.4g}"
            params.append(
                pytest.param(
                    Case(layer, operation, "naive", 1),
                    id=f"{layer.label}-{operation}-naive{share}",
                    marks=pytest.mark.benchmark(timer=fast_clock(scale)),
                )
            )
            params += [
                pytest.param(
                    Case(layer, operation, algorithm, threads),
                    id=f"{layer.label}-{operation}-{algorithm}-threads{threads}",
                    marks=FAST,
                )
                for algorithm in layer.algorithms
                for threads in thread_counts()
            ]
    return params


def fast_clock(speed: float) -> Callable[[], float]:
    """time.perf_counter, ``speed`` times as fast."""

    def scaled_perf_counter() -> float:
        return speed * time.perf_counter()

    return scaled_perf_counter


@lru_cache(maxsize=1)  # all cases of one operation follow each other
def workload(layer: Layer, operation: str) -> Workload:
    return Workload.random(layer, operation, np.float32)


def run(case: Case, benchmark: Any, peak: Callable[[int], float]) -> None:
    """Time the case, note its GFLOP/s and its part of the peak, and hold its answer against float64."""
    work = workload(case.layer, case.operation)
    benchmark.group = f"{case.layer.label} {case.operation}"
    if case.algorithm == "naive":
        contender = work.naive()
        benchmark.extra_info["measured_on"] = contender.note or "all"
        benchmark.extra_info["time_scaled_by"] = contender.scale
        benchmark.pedantic(contender.call, rounds=NAIVE_ROUNDS)
    else:
        contender = work.fast(case.algorithm, case.threads)
        contender.prepare()
        error = work.error(benchmark(contender.call))
        assert error <= work.bound
        benchmark.extra_info["error"], benchmark.extra_info["error_bound"] = error, work.bound
    benchmark.extra_info["threads"] = case.threads
    if benchmark.stats and work.gflop:  # no statistics with --benchmark-disable, no GFLOP for poolings
        gflops = work.gflop / benchmark.stats.stats.median
        benchmark.extra_info["gflops"] = gflops
        benchmark.extra_info["part_of_peak"] = gflops / peak(case.threads)
