"""convolve2d beside SciPy's and OpenCV's filters on one channel: small and large images, small and large kernels.

  python benchmarks/filters.py                        all threads
  python benchmarks/filters.py --threads 1 --clock cpu --isa avx2

float32, as large as the image, edges mirrored. SciPy, on one thread, is given the upper rows of a large image, and its
time is multiplied by the ratio of the pixels. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import sys
from functools import partial
from typing import Any

import machine
import numpy as np
import table
from options import add_run_options, add_style_options, isa_notes, measured, positive, prepare_run
from table import Column
from timing import CLOCKS, Clock, Contender, time_in_turn

import fastconv as fc

IMAGES, KERNELS = (28, 128, 512, 1024, 4096), (3, 5, 7, 11, 15, 31)
# Multiply-adds that SciPy is given at the most, some 50 ms, but a few rows of the image at least.
SCIPY_WORK, SCIPY_TURNS = 10_000_000, 3
COLUMNS = (
    Column("image", "image"),
    Column("kernel", "kernel"),
    Column("fastconv", "fastconv", table.seconds),
    Column("spread", "spread", table.percent),
    Column("GFLOP/s", "gflops", table.significant),
    Column("SciPy", "scipy", table.seconds),
    Column("OpenCV", "opencv", table.seconds),
    Column("x SciPy", "scipy_ratio", table.times),
    Column("x OpenCV", "opencv_ratio", table.times),
    Column("error", "error", table.scientific),
)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, sizes in (("images", IMAGES), ("kernels", KERNELS)):
        shown = ", ".join(map(str, sizes))
        parser.add_argument(
            f"--{name}", nargs="+", type=positive, default=sizes, metavar="N", help=f"sides (default: {shown})"
        )
    parser.add_argument("--threads", type=positive, metavar="N", help="of fastconv and OpenCV (default: all)")
    parser.add_argument("--repeat", type=positive, default=7, metavar="N", help="samples of each time (default: 7)")
    add_run_options(parser)
    add_style_options(parser)
    return parser.parse_args(arguments)


def contenders(image: np.ndarray, kernel: np.ndarray, threads: int) -> list[Contender]:
    """fastconv first, then those that are installed."""
    ours = partial(fc.convolve2d, image, kernel, "same", "symm")
    found = [Contender("fastconv", threads, ours, prepare=partial(fc.set_num_threads, threads))]
    if importlib.util.find_spec("scipy"):
        from scipy.signal import convolve2d

        rows = min(max(SCIPY_WORK // (image.shape[1] * kernel.size), kernel.shape[0]), len(image))
        call = partial(convolve2d, image[:rows], kernel, "same", "symm")
        found.append(
            Contender("scipy", 1, call, scale=len(image) / rows, warm_up=rows == len(image), turns=SCIPY_TURNS)
        )
    if importlib.util.find_spec("cv2"):
        import cv2

        flipped = np.ascontiguousarray(kernel[::-1, ::-1])  # filter2D correlates
        call = partial(cv2.filter2D, image, -1, flipped, borderType=cv2.BORDER_REFLECT)
        found.append(Contender("opencv", threads, call, prepare=partial(cv2.setNumThreads, threads)))
    return found


def measure(side: int, window: int, threads: int, repeat: int, clock: Clock) -> dict[str, Any]:
    rng = np.random.default_rng((side, window))
    image, kernel = (rng.normal(size=(size, size)).astype(np.float32) for size in (side, window))
    found = contenders(image, kernel, threads)
    timings = dict(zip([one.name for one in found], time_in_turn(found, repeat, clock=clock), strict=True))
    ours = timings["fastconv"]
    rows = min(side, 64)  # judged in float64, on the upper rows and what lies below them
    upper, absolute = image[: rows + window].astype(np.float64), np.abs(image[: rows + window]).astype(np.float64)
    exact = fc.convolve2d(upper, kernel.astype(np.float64), "same", "symm")[:rows]
    bound = fc.convolve2d(absolute, np.abs(kernel).astype(np.float64), "same", "symm")[:rows]
    return {
        "image": side,
        "kernel": window,
        "spread": ours.spread,
        "gflops": 2e-9 * image.size * kernel.size / ours.median,
        "error": float((np.abs(found[0].call()[:rows] - exact) / bound).max()),
        **{name: timing.median for name, timing in timings.items()},
        **{f"{name}_ratio": ours.ratio(timing) for name, timing in timings.items() if name != "fastconv"},
    }


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        threads = prepare_run(options, [options.threads])[0]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    above, _ = isa_notes(options.isa, [])
    others = machine.Others()
    records = []
    for side in options.images:
        for window in options.kernels:
            if window <= side:
                print(f"{side} x {side}, {window} x {window} …", file=sys.stderr, flush=True)
                records.append(measure(side, window, threads, options.repeat, CLOCKS[options.clock]))
    above["measured"] = measured(options, threads)
    for name, shown in (("scipy", "SciPy"), ("opencv", "OpenCV")):
        ratios = [record[f"{name}_ratio"] for record in records if f"{name}_ratio" in record]
        if ratios:
            mean, least = statistics.geometric_mean(ratios), min(ratios)
            above[f"x {shown}"] = f"{table.times(mean)} (geometric mean), {table.times(least)} at least"
        else:
            above[f"x {shown}"] = "not installed"
    above["others"] = str(others)
    print(table.notes(above, options.style), end="\n\n" if options.style == "text" else "\n")
    print(table.render(records, table.with_figures(COLUMNS, records), options.style))
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
