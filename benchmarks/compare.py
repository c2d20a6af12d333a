"""fastconv beside the naive loops: time, speed-up, GFLOP/s, part of this machine's peak, and error, layer by layer.

  python benchmarks/compare.py                                      LeNet-5, forward and gradients
  python benchmarks/compare.py --layers resnet50 vgg16              other networks of benchmarks/layers
  python benchmarks/compare.py --layers mine.txt resnet50:conv4_3x3 a file of yours, and one layer of a list
  python benchmarks/compare.py --layers all --csv > all.csv

benchmarks/README.md explains the columns and the layer files.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import baselines
import layer_lists
import machine
import numpy as np
import table
from options import add_style_options, positive
from table import Column
from timing import Contender, Timing, time_in_turn, time_slow
from workloads import Workload

import fastconv as fc

OPERATIONS = ("forward", "grad_input", "grad_kernel")
NAIVE_REPEAT = 3
COLUMNS = (
    Column("layer", "layer", left=True),
    Column("operation", "operation", left=True),
    Column("by", "by", left=True),
    Column("threads", "threads"),
    Column("median", "median_seconds", table.seconds),
    Column("min", "min_seconds", table.seconds),
    Column("spread", "spread", table.percent),
    Column("x naive", "speedup", table.significant),
    Column("GFLOP/s", "gflops", table.significant),
    Column("of peak", "part_of_peak", table.percent),
    Column("error", "error", table.scientific),
    Column("bound", "bound", table.scientific),
    Column("measured on", "note", left=True),
)
SUMMARY = (
    Column("geometric means", "operation", left=True),
    Column("by", "by", left=True),
    Column("threads", "threads"),
    Column("x naive", "speedup", table.significant),
    Column("GFLOP/s", "gflops", table.significant),
    Column("of peak", "part_of_peak", table.percent),
)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--layers",
        nargs="+",
        default=["lenet_s5"],
        metavar="LIST",
        help=f"'all', LIST, LIST:LAYER or FILE.txt (default: lenet_s5; lists: {', '.join(layer_lists.list_names())})",
    )
    parser.add_argument(
        "--operations",
        nargs="+",
        choices=OPERATIONS,
        default=OPERATIONS,
        metavar="OPERATION",
        help=f"of {', '.join(OPERATIONS)} (default: all)",
    )
    parser.add_argument("--threads", nargs="+", type=positive, metavar="N", help="how many (default: 1 and all)")
    parser.add_argument("--repeat", type=positive, default=15, metavar="N", help="samples of each time (default: 15)")
    parser.add_argument("--isa", choices=fc.available_isas(), help="instruction set (default: the best)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(default: float32)")
    parser.add_argument("--no-naive", action="store_true", help="leave the naive loops, NumPy and SciPy out")
    add_style_options(parser)
    return parser.parse_args(arguments)


def measure(work: Workload, threads: Sequence[int], repeat: int, naive: bool) -> list[dict[str, Any]]:
    """One record for each way to do this work, without its part of the peak.

    The naive loops come first and fastconv's contenders in turn; NumPy and SciPy have a turn of their own, because
    their thread pools would go on spinning into the others' time.
    """
    fast = [work.fast(algorithm, count) for algorithm in work.layer.algorithms for count in threads]
    timed: list[tuple[Contender, Timing]] = []
    if naive:
        loops = work.naive()
        timed.append((loops, time_slow(loops, NAIVE_REPEAT)))
    timed += zip(fast, time_in_turn(fast, repeat), strict=True)
    records = [_record(work, contender, timing, _error(work, contender)) for contender, timing in timed]
    for other in baselines.contenders(work) if naive else ():
        part = work if other.scale == 1 else work.part(baselines.SCIPY_WORK)
        records.append(_record(work, other, time_slow(other, repeat), part.error(other.call())))
    if naive:
        for record in records:
            record["speedup"] = records[0]["median_seconds"] / record["median_seconds"]
    return records


def _error(work: Workload, contender: Contender) -> float | None:
    """The naive loops are what errors are measured by: they have none."""
    if contender.name == "naive":
        return None
    contender.prepare()
    return work.error(contender.call())


def _record(work: Workload, contender: Contender, timing: Timing, error: float | None) -> dict[str, Any]:
    return {
        "layer": work.layer.label,
        "operation": work.operation,
        "by": contender.name,
        "threads": contender.threads or None,
        "median_seconds": timing.median,
        "min_seconds": timing.best,
        "spread": timing.spread,
        "gflops": work.gflop / timing.median or None,
        "error": error,
        "bound": None if error is None else work.bound,
        "note": contender.note or "all",
    }


def summarise(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Geometric means over the layers that have the figure: convolutions and poolings have speed-ups, only the first
    have GFLOP/s.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        if "NumPy" not in record["by"] and "SciPy" not in record["by"] and record["gflops"]:
            groups.setdefault((record["operation"], record["by"], record["threads"]), []).append(record)
    summary = []
    for (operation, by, threads), members in groups.items():
        means = {key: _geometric_mean(members, key) for key in ("speedup", "gflops", "part_of_peak")}
        summary.append({"operation": operation, "by": by, "threads": threads, **means})
    return summary


def _geometric_mean(records: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [record[key] for record in records if record.get(key)]
    return statistics.geometric_mean(values) if values else None


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        layers = layer_lists.load(*options.layers)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.isa:
        fc.set_isa(options.isa)
    threads = sorted(set(options.threads or (1, fc.get_num_threads())))
    above, others = machine.describe(), machine.Others()
    peaks = {count: machine.measure_peak(options.dtype, count) for count in threads}
    records = []
    for layer in layers:
        for operation in (operation for operation in layer.operations if operation in options.operations):
            print(f"{layer.label} {operation} …", file=sys.stderr, flush=True)
            work = Workload.random(layer, operation, np.dtype(options.dtype))
            records += measure(work, threads, options.repeat, not options.no_naive)
    for count in threads:  # once more, because the clock may have changed; the best counts
        peaks[count] = max(peaks[count], machine.measure_peak(options.dtype, count))
    for record in records:
        if record["gflops"] and record["threads"]:
            record["part_of_peak"] = record["gflops"] / peaks[record["threads"]]

    figures = (f"{table.significant(peak)} on {count} thread{'s' * (count > 1)}" for count, peak in peaks.items())
    above["peak"] = f"{', '.join(figures)}: GFLOP/s of {options.dtype} multiply-adds, measured before and after"
    if not options.no_naive and baselines.missing():
        above["absent"] = f"{', '.join(baselines.missing())}: not installed"
    above["others"] = str(others)
    print(table.notes(above, options.style), end="\n\n" if options.style == "text" else "\n")
    print(table.render(records, COLUMNS, options.style))
    if options.style != "csv" and summarise(records):
        print(f"\n{table.render(summarise(records), SUMMARY, options.style)}")
    wrong = [record for record in records if record["error"] is not None and not record["error"] <= record["bound"]]
    for record in wrong:
        where = f"{record['layer']} {record['operation']} by {record['by']}"
        print(f"WRONG: {where}: error {record['error']:.1e}, bound {record['bound']:.1e}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
