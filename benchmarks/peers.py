"""fastconv beside PyTorch, ONNX Runtime, SciPy and the naive loops, all sampled in turn in one run, layer by layer.

  python benchmarks/peers.py                                        LeNet-5, forward and gradients, all threads
  python benchmarks/peers.py --layers all --isa avx2                everything, everyone kept to AVX2
  python benchmarks/peers.py --layers resnet50 --threads 1 --clock cpu
  python benchmarks/peers.py --layers lenet_s5:C2 --peers torch     beside PyTorch alone

Peers that are not installed are named and left out. benchmarks/README.md explains the columns and the rules.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import baselines
import layer_lists
import machine
import numpy as np
import peer_onnxruntime
import peer_torch
import table
from layer_lists import ConvLayer
from options import add_run_options, add_style_options, isa_notes, measured, positive, prepare_run
from table import Column
from timing import CLOCKS, Clock, Contender, Timing, time_in_turn
from workloads import Workload

OPERATIONS = ConvLayer.operations
PEERS = ("torch", "onnxruntime", "scipy", "naive")
US = "fastconv"
# Multiply-adds that the slow ones are given: some 30 ms of the naive loops, some 10 ms of SciPy.
NAIVE_WORK, SCIPY_WORK, SLOW_TURNS = 50_000, 4_000_000, 3
COLUMNS = (
    Column("layer", "layer", left=True),
    Column("operation", "operation", left=True),
    Column("fastconv", "median_seconds", table.seconds),
    Column("spread", "spread", table.percent),
    Column("GFLOP/s", "gflops", table.significant),
    Column("of peak", "part_of_peak", table.percent),
    Column("PyTorch NCHW", "PyTorch NCHW", table.seconds),
    Column("PyTorch NHWC", "PyTorch NHWC", table.seconds),
    Column("ONNX Runtime", "ONNX Runtime", table.seconds),
    Column("x best peer", "ratio", table.times),
    Column("x PyTorch", "torch_ratio", table.times),
    Column("x SciPy", "scipy_ratio", table.times),
    Column("x naive", "naive_ratio", table.times),
    Column("error", "error", table.scientific),
)
LONG = (
    Column("layer", "layer", left=True),
    Column("operation", "operation", left=True),
    Column("by", "by", left=True),
    Column("threads", "threads"),
    Column("median", "median_seconds", table.seconds),
    Column("min", "min_seconds", table.seconds),
    Column("spread", "spread", table.percent),
    Column("GFLOP/s", "gflops", table.significant),
    Column("of peak", "part_of_peak", table.percent),
    Column("fastconv x faster", "paired_ratio", table.times),
    Column("error", "error", table.scientific),
    Column("bound", "bound", table.scientific),
    Column("measured on", "note", left=True),
)
SUMMARY = (
    Column("geometric means", "operation", left=True),
    Column("layers", "layers"),
    Column("GFLOP/s", "gflops", table.significant),
    Column("of peak", "part_of_peak", table.percent),
    Column("x best peer", "ratio", table.times),
    Column("x PyTorch", "torch_ratio", table.times),
    Column("at least 1 x PyTorch", "not_slower"),
    Column("lowest x PyTorch", "lowest", left=True),
    Column("x SciPy", "scipy_ratio", table.times),
    Column("x naive", "naive_ratio", table.times),
)


class Rival(NamedTuple):
    """Who does the work, how its result is read, and on what part of the work it is judged."""

    contender: Contender
    read: Callable[[Any], np.ndarray]
    part: Workload


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--layers",
        nargs="+",
        default=["lenet_s5"],
        metavar="LIST",
        help=f"'all', LIST, LIST:LAYER or FILE.txt (default: lenet_s5; lists: {', '.join(layer_lists.list_names())})",
    )
    for name, choices in (("operations", OPERATIONS), ("peers", PEERS)):
        parser.add_argument(
            f"--{name}",
            nargs="*" if name == "peers" else "+",
            choices=choices,
            default=choices,
            metavar=name.upper()[:-1],
            help=f"of {', '.join(choices)} (default: all)",
        )
    parser.add_argument("--threads", type=positive, metavar="N", help="of every contender (default: all)")
    parser.add_argument("--repeat", type=positive, default=9, metavar="N", help="samples of each time (default: 9)")
    parser.add_argument("--no-errors", action="store_true", help="leave out what is computed in float64, to be quicker")
    add_run_options(parser)
    parser.add_argument("--long", action="store_true", help="a row for each contender, as in CSV")
    add_style_options(parser)
    return parser.parse_args(arguments)


def rivals(work: Workload, threads: int, peers: Sequence[str]) -> list[Rival]:
    """fastconv first, then those of the peers that can do this work."""
    settle = peer_torch.SETTLE_SECONDS if threads > 1 else 0.0
    found = [Rival(replace(work.fast("auto", threads), name=US, settle=settle), np.asarray, work)]
    if "torch" in peers:
        found += [Rival(*both, work) for both in peer_torch.contenders(work, threads)]
    if "onnxruntime" in peers and (both := peer_onnxruntime.contender(work, threads)):
        found.append(Rival(*both, work))
    slow: dict[str, Any] = {"warm_up": False, "turns": SLOW_TURNS}
    if "scipy" in peers and work.operation == "forward" and baselines.scipy_can(work.layer):
        contender, part = baselines.scipy_contender(work, SCIPY_WORK)
        found.append(Rival(replace(contender, name="SciPy", **slow), np.asarray, part))
    if "naive" in peers:
        found.append(Rival(replace(work.naive(NAIVE_WORK), **slow), np.asarray, work.part(NAIVE_WORK)))
    return found


def measure(found: Sequence[Rival], repeat: int, clock: Clock, errors: bool) -> list[dict[str, Any]]:
    """One record for each contender, fastconv's first, without its part of the peak."""
    timings = time_in_turn([rival.contender for rival in found], repeat, clock=clock)
    return [
        _record(rival, timing, timings[0].ratio(timing), _error(rival) if errors else None)
        for rival, timing in zip(found, timings, strict=True)
    ]


def _error(rival: Rival) -> float | None:
    """None for the naive loops, which are what errors are measured by."""
    if rival.contender.name == "naive":
        return None
    rival.contender.prepare()
    return rival.part.error(rival.read(rival.contender.call()))


def _record(rival: Rival, timing: Timing, ratio: float, error: float | None) -> dict[str, Any]:
    work, contender = rival.part, rival.contender
    return {
        "layer": work.layer.label,
        "operation": work.operation,
        "by": contender.name,
        "threads": contender.threads,
        "median_seconds": timing.median,
        "min_seconds": timing.best,
        "spread": timing.spread,
        "gflops": work.gflop * contender.scale / timing.median,
        "paired_ratio": ratio,
        "error": error,
        "bound": None if error is None else work.bound,
        "note": contender.note or "all",
    }


def side_by_side(records: Sequence[dict[str, Any]], unequal: Sequence[str]) -> dict[str, Any]:
    """The records of one operation as one: fastconv's, with the others' times and how many times longer they take.

    Args:
        records: fastconv's first.
        unequal: who does not count as the best peer, because it uses another instruction set.
    """
    ours, *others = records
    times = {record["by"]: record["median_seconds"] for record in others}
    torch = _best(record for record in others if record["by"].startswith("PyTorch"))
    by_name = {record["by"]: record["paired_ratio"] for record in others}
    return ours | times | {
        "ratio": _best(record for record in others if record["by"] not in ("naive", *unequal)),
        "torch_ratio": torch,
        "scipy_ratio": by_name.get("SciPy"),
        "naive_ratio": by_name.get("naive"),
    }  # fmt: skip


def _best(records: Any) -> float | None:
    """Of the contender with the lowest median, the median of the ratios of paired samples."""
    best = min(records, key=lambda record: record["median_seconds"], default=None)
    return best and best["paired_ratio"]


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each operation the geometric means over all layers that have the figure, and the layer that does worst."""
    summary = []
    for operation in OPERATIONS:
        members = [row for row in rows if row["operation"] == operation]
        if not members:
            continue
        record: dict[str, Any] = {"operation": operation, "layers": len(members)}
        for key in ("gflops", "part_of_peak", "ratio", "torch_ratio", "scipy_ratio", "naive_ratio"):
            values = [row[key] for row in members if row.get(key)]
            record[key] = statistics.geometric_mean(values) if values else None
        compared = [row for row in members if row["torch_ratio"]]
        if compared:
            worst = min(compared, key=lambda row: row["torch_ratio"])
            record["lowest"] = f"{table.times(worst['torch_ratio'])} {worst['layer']}"
            record["not_slower"] = f"{sum(row['torch_ratio'] >= 1 for row in compared)} of {len(compared)}"
        summary.append(record)
    return summary


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        layers = [layer for layer in layer_lists.load(*options.layers) if isinstance(layer, ConvLayer)]
        if not layers:
            raise ValueError("These lists have no convolutions; poolings are compare.py's.")
        threads = prepare_run(options, [options.threads])[0]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    absent = {"torch": peer_torch.missing(), "onnxruntime": peer_onnxruntime.missing()}
    absent |= {"scipy": " ".join(baselines.missing())}
    peers = [name for name in options.peers if not absent.get(name)]
    above, unequal = isa_notes(options.isa, peers)
    others, peak = machine.Others(), machine.measure_peak(np.float32, threads)
    operations: list[list[dict[str, Any]]] = []
    for layer in layers:
        for operation in options.operations:
            print(f"{layer.label} {operation} …", file=sys.stderr, flush=True)
            found = rivals(Workload.random(layer, operation), threads, peers)
            operations.append(measure(found, options.repeat, CLOCKS[options.clock], not options.no_errors))
    peak = max(peak, machine.measure_peak(np.float32, threads))  # once more, because the CPU's speed may have changed
    records = [record for together in operations for record in together]
    for record in records:
        record["part_of_peak"] = record["gflops"] / peak if record["threads"] == threads else None

    above["measured"] = measured(options, threads)
    above["peak"] = f"{table.significant(peak)} GFLOP/s of float32 multiply-adds, measured before and after"
    if left_out := [text for name, text in absent.items() if name in options.peers and text]:
        above["absent"] = f"{', '.join(left_out)}: not installed"
    above["others"] = str(others)
    rows = [side_by_side(together, unequal) for together in operations]
    long = options.long or options.style == "csv"
    shown, columns = (records, LONG) if long else (rows, table.with_figures(COLUMNS, rows))
    print(table.notes(above, options.style), end="\n\n" if options.style == "text" else "\n")
    print(table.render(shown, columns, options.style))
    if options.style != "csv":
        summary = summarise(rows)
        print(f"\n{table.render(summary, table.with_figures(SUMMARY, summary), options.style)}")
    wrong = [record for record in records if record["error"] is not None and not record["error"] <= record["bound"]]
    for record in wrong:
        where = f"{record['layer']} {record['operation']} by {record['by']}"
        print(f"WRONG: {where}: error {record['error']:.1e}, bound {record['bound']:.1e}", file=sys.stderr)
    return 1 if any(record["by"] == US for record in wrong) else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
