"""Image filters on a photograph: naive loops beside the fast ones, with the time of each.

Edges, blur, sharpening, and a sharpened blur, each a small table of weights that slides over the picture. The loops are
those of loops.py, one output element after the other; the fast ones are fastconv.correlate2d. Results are clamped to
0...255 and written as one picture.

  python image_filters.py                     a photograph that comes with matplotlib; filters.png in filters_output/
  python image_filters.py --picture cat.jpg   a picture of yours; large ones are made smaller
  python image_filters.py --quick             a smaller picture
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import common
import digit_image
import loops
import numpy as np

import fastconv as fc

BINOMIAL = np.array([1.0, 4.0, 6.0, 4.0, 1.0])
BLUR = np.outer(BINOMIAL, BINOMIAL) / 256
IDENTITY = np.pad([[1.0]], 2)
FILTERS = {
    "edges": np.array([[-1.0, -1.0, -1.0], [-1.0, 8.0, -1.0], [-1.0, -1.0, -1.0]]),
    "vertical edges": np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]),
    "blur": BLUR,
    "sharpen": np.array([[0.0, -1.0, 0.0], [-1.0, 5.0, -1.0], [0.0, -1.0, 0.0]]),
    "unsharp mask": 2.5 * IDENTITY - 1.5 * BLUR,
}
# Pixels of the longer side: for a picture this large the loops take seconds.
LARGEST, LARGEST_QUICK = 512, 128


def load_picture(path: Path | None, longest: int) -> np.ndarray:
    """Grey values (h, w), whole numbers from 0 to 255: of ``path``, or of matplotlib's sample photograph."""
    if path is None:
        try:
            from matplotlib import cbook
        except ImportError:
            raise ImportError('The photograph comes with matplotlib: pip install "fastconv[examples]"') from None
        path = Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    grey = digit_image.read_grey(path)
    scale = min(1.0, longest / max(grey.shape))
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    return np.rint(255 * digit_image.resize(grey, height, width))


def measure(call: Callable[[], np.ndarray], repeat: int) -> tuple[np.ndarray, float]:
    """The result of ``call``, and how long it takes: the best of ``repeat`` times."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - start)
    return result, best


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="(default: matplotlib's sample photograph)")
    parser.add_argument("--output-dir", type=Path, default=Path("filters_output"), help="(default: %(default)s/)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all that this process may use)")
    parser.add_argument("--quick", action="store_true", help=f"at most {LARGEST_QUICK} pixels wide or high")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    if options.threads is not None:
        fc.set_num_threads(options.threads)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    picture = load_picture(options.picture, LARGEST_QUICK if options.quick else LARGEST)
    print(f"Picture of {picture.shape[0]}x{picture.shape[1]} pixels, {fc.get_num_threads()} threads\n")
    print(f"{'filter':15} {'size':>5} {'loops':>10} {'fastconv':>12} {'times faster':>13} {'largest difference':>19}")
    panels = [("picture", picture)]
    for name, kernel in FILTERS.items():
        slow, slow_seconds = measure(lambda kernel=kernel: loops.convolve(picture, kernel), 1)
        fast, seconds = measure(lambda kernel=kernel: fc.correlate2d(picture, kernel, mode="valid"), 100)
        size = "x".join(map(str, kernel.shape))
        difference = np.abs(fast - slow).max()
        print(
            f"{name:15} {size:>5} {slow_seconds:8.2f} s {1e6 * seconds:9,.0f} µs {slow_seconds / seconds:13,.0f} "
            f"{difference:19.2g}"
        )
        panels.append((f"{name} {size}", loops.clamp(fast)))
    import figures

    print()
    figure = figures.pictures(panels, columns=3, size=3.0, limits=(0, 255), title="Filters, clamped to 0…255")
    common.save_figures({"filters.png": figure}, options.output_dir)
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
