"""Train the five published systems with several seeds, time them beside PyTorch, and write RESULTS.md; likewise the
quick run and the small accurate network.

  python examples/results.py                             all that is still missing, about an hour on two quiet cores
  python examples/results.py --systems s4 --seeds 1 2    a part of it; what other calls have found stays
  python examples/results.py --systems                   nothing but RESULTS.md, from what has been found
  python examples/results.py --plain                     also without what the programs add to the articles' settings

Each run's figures lie in a file of their own under results_output/: a long series can be stopped and taken up again.
What is there is not run again; to have it new, remove its folder. MNIST comes from where fastconv.datasets finds it.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import series

FOLDER = Path(__file__).parent
BENCHMARKS = FOLDER.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))

import machine  # noqa: E402
import table  # noqa: E402
from table import Column  # noqa: E402

import fastconv as fc  # noqa: E402

TIMES_FILE = "times.json"
TORCH = ("PyTorch NCHW", "PyTorch NHWC")


class System(NamedTuple):
    """A published system: its program, its name in benchmarks/networks.py, and what is expected of it."""

    program: str
    network: str
    published: float
    target: float
    plain: tuple[str, ...]  # options that leave out what the program adds to the article's settings
    added: str


SYSTEMS = {
    "s1": System(
        "s1_lenet_and_loops.py", "lenet_s1", 0.985, 0.989, ("--decay", "none"),
        "the learning rate goes down along a cosine",
    ),
    "s2": System(
        "s2_pooling_and_export.py", "mnist_s2", 0.990, 0.992, ("--decay", "none"),
        "the learning rate goes down along a cosine",
    ),
    "s3": System(
        "s3_filters_and_confidence.py", "mnist_s3", 0.9685, 0.980, ("--decay", "none", "--learning-rate", "0.001"),
        "Adam's learning rate rises to 0.02 and goes down to 0, in one cycle; its beta_2 is 0.99",
    ),
    "s4": System(
        "s4_digit_recogniser.py", "mnist_s4", 0.9933, 0.994, ("--no-augmentation", "--decay", "none"),
        "the augmentation that the article imports, and a learning rate that goes down along a cosine",
    ),
    "s5": System(
        "s5_lenet_keras.py", "lenet_s5", 0.9894, 0.990, ("--decay", "none"),
        "the learning rate goes down along a cosine",
    ),
}  # fmt: skip


class Series(NamedTuple):
    """A program that trains with many seeds, and what is expected of their mean."""

    program: str
    about: str
    seeds: int
    target: float
    limit: float  # seconds on two cores


SERIES = {
    "speedrun": Series("mnist_speedrun.py", "the shortest training", 10, 0.990, 4),
    "accurate": Series("mnist_accurate.py", "small and accurate", 5, 0.994, 60),
}
PROGRAMS: dict[str, System | Series] = {**SYSTEMS, **SERIES}


def percent(value: float) -> str:
    return f"{value:.2%}"


ACCURACY = (
    Column("system", "system", left=True),
    Column("program", "program", left=True),
    Column("epochs", "epochs"),
    Column("batch", "batch_size"),
    Column("published", "published", percent),
    Column("target", "target", percent),
    Column("ours, mean", "mean", percent),
    Column("each seed", "each", left=True),
    Column("article's settings alone", "plain", left=True),
    Column("seconds, each run", "total"),
    Column("others' CPUs", "others", "{:.1f}".format),
)
SPREADS = (
    Column("program", "program", left=True),
    Column("", "about", left=True),
    Column("parameters", "parameters", "{:,}".format),
    Column("epochs", "epochs"),
    Column("target", "target", percent),
    Column("mean", "mean", percent),
    Column("standard deviation", "spread", percent),
    Column("seeds", "seeds"),
    Column("from … to", "range", left=True),
    Column("limit, s", "limit"),
    Column("seconds", "total", "{:.1f}".format),
    Column("CPU seconds", "cpu", "{:.1f}".format),
    Column("threads", "threads"),
    Column("others' CPUs", "others", "{:.1f}".format),
)
TIMES = (
    Column("system", "system", left=True),
    Column("threads", "threads"),
    Column("fastconv", "fastconv", table.seconds),
    *(Column(name, name, table.seconds) for name in TORCH),
    Column("x PyTorch", "torch_ratio", table.times),
    Column("measured on", "note", left=True),
    Column("others' CPUs", "others"),
)


# What is run


def run_folder(runs: Path, name: str, seed: int, plain: bool) -> Path:
    return runs / (f"{name}_plain" if plain else name) / f"seed{seed}"


def run_program(name: str, seed: int, folder: Path, options: argparse.Namespace, plain: bool) -> None:
    """Train one system with one seed, unless its result is there."""
    result_file = folder / common.RESULT_FILE
    if result_file.is_file():
        return
    system = PROGRAMS[name]
    command = [system.program, "--seed", str(seed)]
    if isinstance(system, Series):  # its program makes the seed's folder
        command += ["--seeds", "1", "--output-dir", str(folder.parent)]
    else:
        command += ["--output-dir", str(folder), "--verbose", "2"]
        command += system.plain if plain else ()
    if options.threads:
        command += ["--threads", str(options.threads)]
    if options.quick:
        command += ["--quick", "--epochs", "1", "--images", "1000"]
    print(f"\n{shlex.join(['python', *command])}", file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    others = machine.Others()
    with (folder / "output.txt").open("w", encoding="utf-8") as output:
        subprocess.run([sys.executable, str(FOLDER / command[0]), *command[1:]], stdout=output, check=True)
    result = json.loads(result_file.read_text(encoding="utf-8"))
    write_json(result_file, result | {"others": others.cpus()})
    print(f"{name}, seed {seed}: {result['accuracy']:.2%}", file=sys.stderr)


def time_system(name: str, runs: Path, options: argparse.Namespace) -> None:
    """Seconds per epoch of one system and of the same loop in PyTorch, unless they are there."""
    file = runs / name / TIMES_FILE
    if file.is_file():
        return
    threads = options.threads or fc.get_num_threads()
    command = ["train.py", "--networks", SYSTEMS[name].network, "--threads", str(threads)]
    command += ["--steps", "2", "--repeat", "1"] if options.quick else ["--epochs", "3"]
    shown = shlex.join(["python", f"benchmarks/{command[0]}", *command[1:]])
    print(f"\n{shown}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / command[0]), *command[1:], "--csv"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    notes, rows = read_csv(done.stdout)
    (row,) = rows
    figures = {key: value if key in ("network", "note") else float(value) for key, value in row.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"row": figures, "notes": notes})


def read_csv(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What ``train.py --csv`` prints: the lines above the table, by name, and its rows."""
    lines = text.splitlines()
    notes = dict(line[2:].split(":", 1) for line in lines if line.startswith("# "))
    rows = csv.DictReader(line for line in lines if line and not line.startswith("# "))
    return {key: value.strip() for key, value in notes.items()}, list(rows)


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


# What is written


def read_results(runs: Path, name: str, plain: bool) -> list[dict[str, Any]]:
    """All results of one system, in the order of their seeds."""
    folder = run_folder(runs, name, 0, plain).parent
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(f"seed*/{common.RESULT_FILE}")]
    return sorted(found, key=lambda result: result["seed"])


def accuracy_row(runs: Path, name: str) -> dict[str, Any] | None:
    results, plain = read_results(runs, name, False), read_results(runs, name, True)
    system = SYSTEMS[name]
    row = {
        "system": name.upper(),
        "program": f"[`{system.program}`]({system.program})",
        "published": system.published,
        "target": system.target,
    }
    if plain:
        row["plain"] = f"{percent(mean(plain))} ({each(plain)})"
    if not results:
        return row if plain else None
    others = [result["others"] for result in results if result.get("others") is not None]
    return row | {
        "epochs": str(results[0]["epochs"]),
        "batch_size": str(results[0]["batch_size"]),
        "mean": mean(results),
        "each": each(results),
        "total": ", ".join(f"{sum(result['seconds']):.0f}" for result in results),
        "others": max(others, default=None),
    }


def spread_row(runs: Path, name: str) -> dict[str, Any] | None:
    """Mean, spread and time of a series of seeds."""
    results = read_results(runs, name, False)
    if not results:
        return None
    program, about, _, target, limit = SERIES[name]
    accuracies = [result["accuracy"] for result in results]
    others = [result["others"] for result in results if result.get("others") is not None]
    return {
        "program": f"[`{program}`]({program})",
        "about": about,
        "parameters": results[0]["parameters"],
        "epochs": str(results[0]["epochs"]),
        "target": target,
        "mean": mean(results),
        "spread": series.spread(accuracies),
        "seeds": str(len(results)),
        "range": f"{percent(min(accuracies))} … {percent(max(accuracies))}",
        "limit": str(limit),
        "total": statistics.fmean(result["fit_seconds"] for result in results),
        "cpu": statistics.fmean(result["cpu_seconds"] for result in results),
        "threads": ", ".join(sorted({str(result["threads"]) for result in results})),
        "others": max(others, default=None),
    }


def times_row(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """What train.py measured, with whole threads and without its warning."""
    row = found["row"]
    others = found["notes"]["others"].partition(" CPUs")[0]
    return row | {"system": name.upper(), "threads": f"{row['threads']:.0f}", "others": others}


def mean(results: Sequence[dict[str, Any]]) -> float:
    return statistics.fmean(result["accuracy"] for result in results)


def each(results: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{result['seed']}: {percent(result['accuracy'])}" for result in results)


def document(runs: Path, command: str) -> str:
    """RESULTS.md, from all that has been found."""
    rows = [row for name in SYSTEMS if (row := accuracy_row(runs, name))]
    times = {name: json.loads(path.read_text()) for name in SYSTEMS if (path := runs / name / TIMES_FILE).is_file()}
    counts = {result["test_images"] for name in SYSTEMS for result in read_results(runs, name, False)}
    parts = [
        "# Results of the example programs\n",
        f"Written by `{command}`, {time.strftime('%Y-%m-%d')}. [README.md](README.md) says which article each program "
        "follows and what it prints and draws.\n",
        "## Accuracy of the five published systems\n",
        f"On MNIST's {' or '.join(f'{count:,}' for count in sorted(counts))} test images, after the last epoch; no "
        "epoch and no seed is picked. The same seed gives the same figure on any number of threads of one instruction "
        "set. *Seconds* are those of the epochs with their validation; where *others' CPUs*, kept busy by other "
        "processes, is above 0.2, they are "
        "longer than on a quiet machine.\n",
        table.render(rows, table.with_figures(ACCURACY, rows), "markdown") + "\n",
        "What the programs add to the settings that the articles name; `results.py --plain` runs them without it:\n",
        "\n".join(
            f"- {name.upper()}: {system.added} (`{shlex.join(system.plain)}`)." for name, system in SYSTEMS.items()
        )
        + "\n",
        "```sh\n" + "\n".join(f"python examples/{system.program} --seed 1" for system in SYSTEMS.values()) + "\n```\n",
    ]
    if rows := [row for name in SERIES if (row := spread_row(runs, name))]:
        parts += [
            "## Quick, and small\n",
            "Accuracy on the test images after the last epoch, over all seeds from 1 on; no epoch and no seed is "
            "picked, and the settings were chosen on a part of the training images (`--validate`). *Seconds* are those "
            "of `fit` with so many threads, in the mean of the seeds, and *limit* is what they may be on two quiet "
            "cores; *CPU seconds* are those of all threads together, which other processes lengthen less.\n",
            table.render(rows, table.with_figures(SPREADS, rows), "markdown") + "\n",
            "```sh\n" + "\n".join(f"python examples/{one.program}" for one in SERIES.values()) + "\n```\n",
        ]
    if times:
        rows = [times_row(name, found) for name, found in times.items()]
        about = next(iter(times.values()))["notes"]
        parts += [
            "## Seconds per epoch, beside PyTorch\n",
            "One epoch of 60,000 images through `Sequential.fit`, without validation and augmentation, and through the "
            "same loop in PyTorch with equal weights, in turn in one run; the better of PyTorch's formats counts "
            "([benchmarks/README.md](../benchmarks/README.md#trainpy)).\n",
            table.notes({key: about[key] for key in about if key not in ("others", "images")}, "markdown"),
            table.render(rows, table.with_figures(TIMES, rows), "markdown") + "\n",
            "```sh\n"
            + "\n".join(f"python benchmarks/train.py --networks {SYSTEMS[name].network} --epochs 3" for name in times)
            + "\n```\n",
        ]
    return "\n".join(parts)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--systems", nargs="*", choices=PROGRAMS, default=list(PROGRAMS), help="which to run (default: all)"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, help="(default: 1 2 3; 1 to 10 for speedrun, 1 to 5 for accurate)"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all that this process may use)")
    parser.add_argument("--plain", action="store_true", help="also run the articles' settings alone")
    parser.add_argument("--no-times", action="store_true", help="accuracies only, no seconds beside PyTorch")
    parser.add_argument("--quick", action="store_true", help="one epoch on 1,000 images, to try the program out")
    parser.add_argument("--runs", type=Path, default=Path("results_output"), help="(default: %(default)s/)")
    parser.add_argument("--output", type=Path, default=FOLDER / "RESULTS.md", help="(default: %(default)s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    for name in options.systems:
        published = name in SYSTEMS
        if published and not options.no_times:
            time_system(name, options.runs, options)
        for plain in (False, True) if options.plain and published else (False,):
            for seed in options.seeds or range(1, 4 if published else SERIES[name].seeds + 1):
                run_program(name, seed, run_folder(options.runs, name, seed, plain), options, plain)
    options.output.write_text(document(options.runs, "python examples/results.py"), encoding="utf-8")
    print(f"\n{options.output} written.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
