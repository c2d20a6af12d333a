"""What Winograd's algorithm gains and what it costs: time and error beside the direct kernels', layer by layer.

  python benchmarks/winograd.py                       3x3 layers of 64 channels and more, all threads
  python benchmarks/winograd.py --threads 1 --clock cpu --isa avx2

Errors are the largest of a result, beside float64, as parts of its largest value.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from typing import Any

import layer_lists
import machine
import numpy as np
import table
from layer_lists import ConvLayer
from options import add_run_options, add_style_options, isa_notes, measured, positive, prepare_run
from table import Column
from timing import CLOCKS, Clock, time_in_turn
from workloads import Workload

OPERATIONS = ("forward", "grad_input")
ALGORITHMS = ("direct", "winograd")
FEWEST_CHANNELS = 64
COLUMNS = (
    Column("layer", "layer", left=True),
    Column("operation", "operation", left=True),
    Column("direct", "direct", table.seconds),
    Column("winograd", "winograd", table.seconds),
    Column("gain", "gain", table.times),
    Column("spread", "spread", table.percent),
    Column("error direct", "error_direct", table.scientific),
    Column("error winograd", "error_winograd", table.scientific),
    Column("errors' ratio", "error_ratio", table.times),
)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", default=["all"], metavar="LIST", help="as of peers.py (default: all)")
    parser.add_argument("--threads", type=positive, metavar="N", help="default: all")
    parser.add_argument("--repeat", type=positive, default=9, metavar="N", help="samples of each time (default: 9)")
    add_run_options(parser)
    add_style_options(parser)
    return parser.parse_args(arguments)


def suits(layer: Any) -> bool:
    """Whether Winograd's algorithm can run the layer and is made for it."""
    if not isinstance(layer, ConvLayer) or layer.window != (3, 3):
        return False
    plain = layer.strides == layer.dilation == (1, 1)
    return plain and layer.groups == 1 and min(layer.x_shape[3], layer.filters) >= FEWEST_CHANNELS


def measure(work: Workload, threads: int, repeat: int, clock: Clock) -> dict[str, Any]:
    """The two algorithms in turn, and their errors."""
    contenders = [work.fast(algorithm, threads) for algorithm in ALGORITHMS]
    direct, winograd = time_in_turn(contenders, repeat, clock=clock)
    errors = []
    for contender in contenders:
        contender.prepare()
        errors.append(work.error(np.asarray(contender.call())))
    return {
        "layer": work.layer.label,
        "operation": work.operation,
        "direct": direct.median,
        "winograd": winograd.median,
        "gain": winograd.ratio(direct),
        "spread": winograd.spread,
        "error_direct": errors[0],
        "error_winograd": errors[1],
        "error_ratio": errors[1] / errors[0],
    }


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        layers = [layer for layer in layer_lists.load(*options.layers) if suits(layer)]
        if not layers:
            raise ValueError(f"These lists have no 3x3 layers of {FEWEST_CHANNELS} channels and more.")
        threads = prepare_run(options, [options.threads])[0]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    above, _ = isa_notes(options.isa, [])
    others = machine.Others()
    records = []
    for layer in layers:
        for operation in OPERATIONS:
            print(f"{layer.label} {operation} …", file=sys.stderr, flush=True)
            work = Workload.random(layer, operation)
            records.append(measure(work, threads, options.repeat, CLOCKS[options.clock]))
    above["measured"] = measured(options, threads)
    gains = [record["gain"] for record in records]
    above["gain"] = (
        f"{table.times(statistics.geometric_mean(gains))} (geometric mean), {table.times(min(gains))} at least"
    )
    above["others"] = str(others)
    print(table.notes(above, options.style), end="\n\n" if options.style == "text" else "\n")
    print(table.render(records, COLUMNS, options.style))
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
