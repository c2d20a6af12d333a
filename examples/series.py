"""What the programs share that train with several seeds and state the mean, its spread and the time."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import common
import numpy as np

import fastconv as fc


def parse_options(
    description: str | None, article: common.Article, arguments: list[str] | None, *, seeds: int
) -> argparse.Namespace:
    """The options of every training program, and how many seeds."""

    def add_own(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--seeds",
            type=common.positive(int),
            metavar="N",
            help=f"train with N seeds, from --seed on (default: {seeds})",
        )
        parser.add_argument(
            "--validate",
            action="store_true",
            help="leave the test images alone: train without the last sixth of the training images, and measure on it",
        )

    options = common.parse_options(description, article, arguments, add_own)
    options.seeds = options.seeds or (2 if options.quick else seeds)
    return options


def begin(
    options: argparse.Namespace, prepare: Callable[[np.ndarray], np.ndarray] = np.ascontiguousarray
) -> tuple[common.Split, common.Split]:
    """The images to train and to measure on, ``prepare``d; with ``--validate`` both are of the training images."""
    started = time.perf_counter()
    train, test = common.begin(options)
    if options.validate:
        train, test = common.hold_out(train, len(train[0]) // 6)
    train, test = ((prepare(x), y) for x, y in (train, test))
    print(
        f"Images read and prepared in {time.perf_counter() - started:.2f} s, once for all seeds: not part of the times "
        "below, which are those of fit.\n"
    )
    return train, test


def run(make_model: Callable[[], Any], train: common.Split, test: common.Split, options: argparse.Namespace) -> None:
    """Train a new model with each seed, measure it after the last epoch, and print mean, spread and time.

    Each seed's network and ``result.json`` go into a folder of their own below the output directory.
    """
    measured = "validation" if options.validate else "test"
    results: list[dict[str, float]] = []
    for seed in range(options.seed, options.seed + options.seeds):
        fc.utils.set_random_seed(seed)
        model = make_model()
        if not results:
            model.summary()
            print(
                f"\nTraining on {len(train[0]):,} images, measuring on {len(test[0]):,} {measured} images, for "
                f"{_counted(options.epochs, 'epoch')}; {_counted(fc.get_num_threads(), 'thread')}.\n",
                flush=True,
            )
        results.append(_train(model, train, test, _for_seed(options, seed)))
        result = results[-1]
        print(
            f"seed {seed}: {measured} accuracy {result['accuracy']:.2%}, {result['fit_seconds']:.2f} s "
            f"({result['cpu_seconds']:.2f} s of CPU time)",
            flush=True,
        )
    print(f"\n{_summary(results, measured)}")


def _for_seed(options: argparse.Namespace, seed: int) -> argparse.Namespace:
    """``options`` with this seed and its folder, which is made."""
    folder = options.output_dir / f"seed{seed}"
    folder.mkdir(exist_ok=True)
    return argparse.Namespace(**{**vars(options), "seed": seed, "output_dir": folder})


def _train(model: Any, train: common.Split, test: common.Split, options: argparse.Namespace) -> dict[str, float]:
    """Fit, measure, save; gives the figures."""
    report = common.Report(options.epochs, options.verbose)
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(*train, batch_size=options.batch_size, epochs=options.epochs, verbose=options.verbose, callbacks=[report])
    figures = {"fit_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    figures["loss"], figures["accuracy"] = (float(figure) for figure in model.evaluate(*test, verbose=0))
    variant = "validation" if options.validate else ""
    common.write_result(model, report, options, variant, test_images=len(test[0]), **figures)
    model.save(options.output_dir / f"{options.system}.keras")
    return figures


def spread(values: Sequence[float]) -> float:
    """The standard deviation of the seeds (of a sample: n - 1), 0 for a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _summary(results: list[dict[str, float]], measured: str) -> str:
    accuracies, seconds, cpu = (
        [result[key] for result in results] for key in ("accuracy", "fit_seconds", "cpu_seconds")
    )
    text = f"Mean {measured} accuracy of {_counted(len(results), 'seed')}: {statistics.fmean(accuracies):.3%}"
    if len(results) > 1:
        text += f", standard deviation {spread(accuracies):.3%} (from {min(accuracies):.2%} to {max(accuracies):.2%})"
    return (
        f"{text}\nMean time of fit: {statistics.fmean(seconds):.2f} s (from {min(seconds):.2f} to {max(seconds):.2f}), "
        f"of CPU time {statistics.fmean(cpu):.2f} s"
    )
