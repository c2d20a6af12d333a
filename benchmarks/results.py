"""Measure everything that the project claims about its speed, and write it down in RESULTS.md.

  python benchmarks/results.py                         a quarter of an hour, on a machine that does nothing else
  python benchmarks/results.py --output /tmp/now.md    another file
  python benchmarks/results.py --isa avx512            another instruction set than AVX2

Each section is the output of one command, which stands above it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from options import positive

import fastconv as fc

FOLDER = Path(__file__).parent
INTRODUCTION = """# Results

Written by `{command}` in {minutes:.1f} minutes on {date}. [README.md](README.md) explains columns and rules. Ratios
are of times measured in turn in one run: 2.00 means that fastconv takes half the time. Absolute figures change from
machine to machine and from run to run; `others` tells whether something else ran beside it.
"""


class Section(NamedTuple):
    """A heading, and the command whose output stands below it."""

    title: str
    command: list[str]


def sections(isa: str | None, threads: int, quick: bool) -> list[Section]:
    """What is measured, in this order. ``quick`` measures little, to try the programs out."""
    kept = ["--isa", isa] if isa else []
    lists = ["--layers", "lenet_s5:C2" if quick else "all"]
    repeat = ["--repeat", "1"] if quick else ["--repeat", "5"]
    networks = ["--networks", "lenet_s5"] if quick else []
    length = ["--seconds", "0.01", "--repeat", "1"] if quick else ["--seconds", "0.25", "--repeat", "9"]
    counts = [str(count) for count in sorted({1, threads})]
    found = [
        Section(
            f"Convolutions on {threads} threads, beside the peers",
            ["peers.py", *lists, "--threads", str(threads), *kept, *repeat],
        ),
        Section(
            "Convolutions on one thread, as parts of the peak",
            ["peers.py", *lists, "--threads", "1", *kept, "--peers", "--no-errors", *repeat],
        ),
        Section(
            "Winograd's algorithm: gain and error",
            ["winograd.py", *(["--layers", "resnet50:conv5_3x3"] if quick else []), *kept, *repeat],
        ),
        Section(
            "Image filters, beside SciPy and OpenCV",
            ["filters.py", *(["--images", "28", "--kernels", "3"] if quick else []), *kept, *repeat],
        ),
    ]
    ways = [(kept, "")]
    if isa not in (None, fc.available_isas()[0]):
        # ONNX Runtime, and so prediction's ratio to it, cannot be kept to another instruction set than its best.
        ways.append(([], ", each on its best instruction set"))
    for limit, who in ways:
        command = ["train.py", "--threads", *counts, *limit, *networks]
        found += [
            Section(f"Training: seconds per epoch of MNIST{who}", [*command, *length]),
            Section(f"Prediction: seconds for 1 and for 256 images{who}", [*command, "--predict"]),
        ]
    return found


def run(section: Section) -> tuple[str, int]:
    """The section as Markdown, and the command's exit code."""
    shown = shlex.join(["python", f"benchmarks/{section.command[0]}", *section.command[1:]])
    print(f"\n{shown}", file=sys.stderr, flush=True)
    script = str(FOLDER / section.command[0])
    done = subprocess.run(
        [sys.executable, script, *section.command[1:], "--markdown"], stdout=subprocess.PIPE, text=True, check=False
    )
    if not done.stdout:
        raise RuntimeError(f"{shown} ended with exit code {done.returncode} and gave nothing.")
    return f"## {section.title}\n\n```sh\n{shown}\n```\n\n{done.stdout.strip()}\n", done.returncode


def write(path: Path, text: str) -> None:
    """All of the file or none of it."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    os.replace(file.name, path)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    available = fc.available_isas()
    parser.add_argument(
        "--output", type=Path, default=FOLDER / "RESULTS.md", metavar="FILE", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--isa",
        choices=available,
        default="avx2" if "avx2" in available else None,
        help="instruction set of all (default: avx2, which most machines have; else each one's best)",
    )
    parser.add_argument("--threads", type=positive, default=fc.get_num_threads(), metavar="N", help="(default: all)")
    parser.add_argument("--quick", action="store_true", help="one layer and one network once, to try the programs out")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse_options(arguments)
    start = time.perf_counter()
    done = [run(section) for section in sections(options.isa, options.threads, options.quick)]
    introduction = INTRODUCTION.format(
        command=shlex.join(["python", "benchmarks/results.py", *arguments]),
        minutes=(time.perf_counter() - start) / 60,
        date=time.strftime("%Y-%m-%d"),
    )
    write(options.output, "\n".join([introduction, *(text for text, _ in done)]))
    print(f"\n{options.output} written.", file=sys.stderr)
    return max(code for _, code in done)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
