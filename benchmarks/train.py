"""Seconds per epoch of five networks for MNIST through Sequential.fit, beside the same loop in PyTorch.

  python benchmarks/train.py                             all five, on one thread and on all
  python benchmarks/train.py --networks lenet_s5 --threads 2 --epochs 3
  python benchmarks/train.py --predict                   prediction of 1 and of 256 images, beside ONNX Runtime too
  python benchmarks/train.py --isa avx2 --threads 1 --clock cpu

Digits come from FASTCONV_DATA_DIR; without it random images of their shape take about as long. Peers not installed
are named and left out. benchmarks/README.md explains the columns and the rules.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import machine
import numpy as np
import peer_networks
import peer_onnxruntime
import peer_torch
import table
from networks import NETWORKS, mnist, random_batch
from options import add_run_options, add_style_options, isa_notes, positive, prepare_run
from table import Column
from timing import CLOCKS, Clock, Contender, Timing, time_in_turn

import fastconv as fc

EPOCH = 60_000
PREDICTED = (1, 256)
PEERS = ("torch", "onnxruntime")
TORCH = tuple(f"PyTorch {name}" for name in peer_torch.FORMATS)
# How far outputs of equal weights may differ; they are probabilities or logits of about 1.
TOLERANCE = 1e-4
TRAINING = (
    Column("network", "network", left=True),
    Column("batch", "batch"),
    Column("threads", "threads"),
    Column("fastconv", "fastconv", table.seconds),
    Column("spread", "spread", table.percent),
    *(Column(name, name, table.seconds) for name in TORCH),
    Column("x PyTorch", "torch_ratio", table.times),
    Column("measured on", "note", left=True),
)
PREDICTION = (
    Column("network", "network", left=True),
    Column("images", "images"),
    Column("threads", "threads"),
    Column("model(x)", "model(x)", table.seconds),
    Column("predict", "predict", table.seconds),
    Column("spread", "spread", table.percent),
    Column("ONNX Runtime", "ONNX Runtime", table.seconds),
    *(Column(name, name, table.seconds) for name in TORCH),
    Column("x ONNX Runtime", "ort_ratio", table.times),
    Column("x PyTorch", "torch_ratio", table.times),
)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=tuple(NETWORKS),
        default=tuple(NETWORKS),
        metavar="NAME",
        help=f"of {', '.join(NETWORKS)} (default: all)",
    )
    parser.add_argument("--threads", nargs="+", type=positive, metavar="N", help="how many (default: 1 and all)")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, metavar="PEER", help="(default: all)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of a sample of fastconv (default: 1)")
    length.add_argument("--steps", type=positive, metavar="N", help="of a sample, instead of --seconds")
    length.add_argument("--epochs", type=positive, metavar="N", help="samples, each of one whole epoch")
    parser.add_argument("--repeat", type=positive, metavar="N", help="samples (default: 3; of a prediction 15)")
    parser.add_argument("--predict", action="store_true", help="measure prediction instead of training")
    add_run_options(parser)
    add_style_options(parser)
    return parser.parse_args(arguments)


def check_equal(name: str, expected: np.ndarray, got: np.ndarray) -> None:
    """Peers that compute something else cannot be compared.

    Raises:
        ArithmeticError: the outputs of equal weights differ.
    """
    if not (np.abs(got - expected) <= TOLERANCE).all():
        raise ArithmeticError(f"{name} gives other outputs than fastconv from the same weights.")


def torch_networks(model: Any, x: np.ndarray) -> dict[str, peer_networks.TorchNetwork]:
    """The model in both formats, each held against it on some images."""
    import torch

    found = {}
    softmax = model.layers[-1].final_activation == "softmax"
    for name, memory_format in zip(TORCH, peer_torch.FORMATS, strict=True):
        network = peer_networks.TorchNetwork(model, memory_format)
        with torch.no_grad():
            check_equal(name, model(x[:64]), network.predictor(x[:64], softmax)())
        found[name] = network
    return found


def torch_prepare(threads: int, gradients: bool) -> None:
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(gradients)


# Training


def measure_training(
    name: str, data: tuple[np.ndarray, np.ndarray], threads: int, peers: Sequence[str], options: argparse.Namespace
) -> dict[str, Any]:
    """One row: seconds for as many images as MNIST has, from the first so many of ``data``."""
    network, clock = NETWORKS[name], CLOCKS[options.clock]
    size, settle = network.batch_size, peer_torch.SETTLE_SECONDS if threads > 1 else 0.0
    fc.set_num_threads(threads)
    fc.utils.set_random_seed(1)
    model = network.build()
    if options.random:
        # Filters that learn from noise die, and behind a pooling their gradients cost fastconv nothing.
        model.optimizer.learning_rate = 1e-9
    rivals = torch_networks(model, data[0]) if "torch" in peers else {}
    count = EPOCH if options.epochs else size * (options.steps or _steps(model, data, size, options.seconds, clock))
    x, y = (array[: min(count, EPOCH)] for array in data)
    scale, note = EPOCH / len(x), "whole epochs" if len(x) == EPOCH else f"{-(-len(x) // size):,} steps"
    fit = partial(model.fit, x, y, batch_size=size, epochs=1, verbose=0)
    found = [_long("fastconv", threads, fit, partial(fc.set_num_threads, threads), scale, settle)]
    for by, rival in rivals.items():
        train = partial(rival.train, *_tensors(rival, x, y), size)
        prepare = partial(torch_prepare, threads, gradients=True)
        prepare()
        rival.train(*_tensors(rival, x[: 5 * size], y[: 5 * size]), size)  # the first steps make memory and threads
        found.append(_long(by, threads, train, prepare, scale, settle))
    timings = time_in_turn(found, options.epochs or options.repeat or 3, clock=clock)
    row = {"network": name, "batch": size, "threads": threads, "spread": timings[0].spread, "note": note}
    return row | _medians(found, timings) | {"torch_ratio": _ratio(found, timings, timings[0], TORCH)}


def _long(name: str, threads: int, call: Callable[[], Any], prepare: Any, scale: float, settle: float) -> Contender:
    return Contender(name, threads, call, prepare, scale, warm_up=False, settle=settle)


def _tensors(network: peer_networks.TorchNetwork, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
    import torch

    return network.images(x), torch.from_numpy(y.astype(np.int64))


def _steps(model: Any, data: tuple[np.ndarray, np.ndarray], size: int, seconds: float, clock: Clock) -> int:
    """How many steps fill ``seconds``, after some that are not counted; 10 at least, an epoch at most."""
    x, y = (array[: 10 * size] for array in data)
    for _ in range(2):
        start = clock()
        model.fit(x, y, batch_size=size, verbose=0)
        step = (clock() - start) / 10
    return min(max(10, round(seconds / step)), EPOCH // size)


# Prediction


def measure_prediction(
    name: str, images: int, data: tuple[np.ndarray, np.ndarray], threads: int, peers: Sequence[str], options: Any
) -> dict[str, Any]:
    """One row: seconds for so many images at once."""
    fc.set_num_threads(threads)
    fc.utils.set_random_seed(1)
    model, x = NETWORKS[name].build(), np.ascontiguousarray(data[0][:images])
    settle, set_threads = peer_torch.SETTLE_SECONDS if threads > 1 else 0.0, partial(fc.set_num_threads, threads)
    predict = partial(model.predict, x, batch_size=images, verbose=0)
    found = [
        Contender("model(x)", threads, partial(model, x), set_threads, settle=settle),
        Contender("predict", threads, predict, set_threads, settle=settle),
    ]
    if "onnxruntime" in peers:
        session = peer_onnxruntime.session(peer_networks.onnx_model(model), threads)
        call = peer_onnxruntime.bound(session, x.transpose(0, 3, 1, 2), predict().shape)
        check_equal("ONNX Runtime", predict(), call())
        pause = peer_onnxruntime.SETTLE_SECONDS if threads > 1 else 0.0
        found.append(Contender("ONNX Runtime", threads, call, settle=pause))
    if "torch" in peers:
        softmax, prepare = model.layers[-1].final_activation == "softmax", partial(torch_prepare, threads, False)
        found += [
            Contender(by, threads, network.predictor(x, softmax), prepare, settle=settle)
            for by, network in torch_networks(model, data[0]).items()
        ]
    timings = time_in_turn(found, options.repeat or 15, clock=CLOCKS[options.clock])
    ours = min(timings[:2], key=lambda timing: timing.median)
    row = {"network": name, "images": images, "threads": threads, "spread": ours.spread}
    return row | _medians(found, timings) | {
        "ort_ratio": _ratio(found, timings, ours, ("ONNX Runtime",)),
        "torch_ratio": _ratio(found, timings, ours, TORCH),
    }  # fmt: skip


# Both


def _medians(found: Sequence[Contender], timings: Sequence[Timing]) -> dict[str, float]:
    return {contender.name: timing.median for contender, timing in zip(found, timings, strict=True)}


def _ratio(found: Sequence[Contender], timings: Sequence[Timing], ours: Timing, names: Sequence[str]) -> float | None:
    """How many times longer the better of these takes, from samples taken in the same turn."""
    theirs = [timing for contender, timing in zip(found, timings, strict=True) if contender.name in names]
    return ours.ratio(min(theirs, key=lambda timing: timing.median)) if theirs else None


def means(rows: Sequence[dict[str, Any]], keys: Sequence[str], by: Sequence[str]) -> list[dict[str, Any]]:
    """Geometric means over the networks of the ratios in ``keys``, one row for each value of ``by``."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in by), []).append(row)
    return [
        {"network": "geometric mean"}
        | dict(zip(by, group, strict=True))
        | {key: statistics.geometric_mean(row[key] for row in members) for key in keys if members[0].get(key)}
        for group, members in groups.items()
    ]


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        counts = prepare_run(options, sorted(set(options.threads or (1, fc.get_num_threads()))))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    absent = {"torch": peer_torch.missing(), "onnxruntime": peer_onnxruntime.missing()}
    wanted = options.peers if options.predict else [peer for peer in options.peers if peer == "torch"]
    peers = [name for name in wanted if not absent[name]]
    above, _ = isa_notes(options.isa, peers)
    others, digits = machine.Others(), mnist()
    data, options.random = digits or random_batch(EPOCH), digits is None
    rows = []
    for threads in counts:
        for name in options.networks:
            print(f"{name}, threads {threads} …", file=sys.stderr, flush=True)
            if options.predict:
                rows += [measure_prediction(name, images, data, threads, peers, options) for images in PREDICTED]
            else:
                rows.append(measure_training(name, data, threads, peers, options))
    if options.predict:
        columns, keys, by = PREDICTION, ("ort_ratio", "torch_ratio"), ("images", "threads")
        above["measured"] = f"one call, median of {options.repeat or 15}, {options.clock} clock"
    else:
        columns, keys, by = TRAINING, ("torch_ratio",), ("threads",)
        repeat = options.epochs or options.repeat or 3
        above["measured"] = f"seconds per epoch of {EPOCH:,} images, median of {repeat}, {options.clock} clock"
    above["images"] = "MNIST" if digits else "random, of MNIST's shape"
    if left_out := [absent[name] for name in wanted if absent[name]]:
        above["absent"] = f"{', '.join(left_out)}: not installed"
    above["others"] = str(others)
    if options.style != "csv":
        rows += means(rows, keys, by)
    print(table.notes(above, options.style), end="\n\n" if options.style == "text" else "\n")
    print(table.render(rows, table.with_figures(columns, rows), options.style))
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
