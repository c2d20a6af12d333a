"""What the command lines of the benchmarks have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import machine
import peer_onnxruntime
import peer_torch
from timing import CLOCKS

import fastconv as fc

MODULES = {"torch": peer_torch, "onnxruntime": peer_onnxruntime}


def positive(text: str) -> int:
    """A number of one or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return number


positive.__name__ = "int"  # argparse names it in "invalid int value"


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """``--isa`` and ``--clock``."""
    parser.add_argument("--isa", choices=fc.available_isas(), help="instruction set of all (default: each one's best)")
    parser.add_argument(
        "--clock",
        choices=tuple(CLOCKS),
        default="wall",
        help="cpu: time that the one thread computes, for a machine that others use too (default: wall)",
    )


def add_style_options(parser: argparse.ArgumentParser) -> None:
    """``--markdown`` and ``--csv``."""
    style = parser.add_mutually_exclusive_group()
    for name in ("markdown", "csv"):
        style.add_argument(f"--{name}", dest="style", action="store_const", const=name, help=f"print {name}")
    parser.set_defaults(style="text")


def prepare_run(options: argparse.Namespace, threads: Sequence[int | None]) -> list[int]:
    """Set the instruction set, of PyTorch too (before it is imported); the numbers of threads, None standing for all.

    Raises:
        ValueError: the clock cannot measure so many threads.
    """
    counts = [fc.get_num_threads() if count is None else count for count in threads]
    if options.clock == "cpu" and max(counts) > 1:
        raise ValueError(f"--clock cpu measures one thread, not {max(counts)}: add --threads 1.")
    if options.isa:
        fc.set_isa(options.isa)
        peer_torch.limit_isa(options.isa)
    return counts


def measured(options: argparse.Namespace, threads: int) -> str:
    """How the times of a table were taken."""
    return f"{threads} thread{'s' * (threads > 1)}, medians of {options.repeat}, {options.clock} clock"


def isa_notes(isa: str | None, peers: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The lines above a table about the machine and those who compete, and who of them is not kept to ``isa``."""
    lines, unequal = machine.describe(), []
    versions = [module.describe() for name, module in MODULES.items() if name in peers]
    if versions:
        lines["peers"] = ", ".join(versions)
    if isa and isa in peer_torch.LIMITS and "torch" in peers:
        lines["limits"] = f"PyTorch by {peer_torch.limit_isa(isa)}"
    # ONNX Runtime asks the CPU itself, and no option or variable keeps it from what it finds there.
    if isa and isa != fc.available_isas()[0] and "onnxruntime" in peers:
        unequal.append("ONNX Runtime")
        lines["unequal"] = f"ONNX Runtime cannot be kept to {isa}: shown, but never counted as the best peer"
    return lines, unequal
