"""The programs that measure run, with fastconv alone and beside the peers that are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compare
import filters
import layer_lists
import numpy as np
import peer_networks
import peer_onnxruntime
import peer_torch
import peers
import pytest
import results
import train
import winograd
from networks import NETWORKS, random_batch
from timing import Contender, Timing, time_in_turn
from workloads import NAIVE_WORK, Workload

import fastconv as fc

QUICK = ["--threads", "1", "--repeat", "2"]
CONVOLUTIONS = [layer for layer in layer_lists.load("odd_sizes") if isinstance(layer, layer_lists.ConvLayer)]


@pytest.fixture(autouse=True)
def isa_restored() -> Iterator[None]:
    isa = fc.get_isa()
    yield
    fc.set_isa(isa)


@pytest.mark.parametrize(
    "program", [compare, filters, peers, train, winograd, results], ids=lambda module: module.__name__
)
def test_help(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(["--help"])
    assert ended.value.code == 0
    assert f"python benchmarks/{program.__name__}.py" in capsys.readouterr().out


@pytest.mark.parametrize("style", [[], ["--markdown"], ["--csv"], ["--long"]], ids=str)
def test_peers_alone(style: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--layers", "lenet_s5:C3", "odd_sizes:single", "--peers", "scipy", "naive"]
    assert peers.main([*names, *QUICK, *style]) == 0
    out = capsys.readouterr().out
    assert all(operation in out for operation in peers.OPERATIONS)
    assert "naive" in out
    assert "PyTorch" not in out


def test_train_alone(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--networks", "lenet_s5", *QUICK, "--peers"]
    assert train.main([*names, "--steps", "2"]) == 0
    assert train.main([*names, "--predict"]) == 0
    out = capsys.readouterr().out
    assert "2 steps" in out
    assert "256" in out


def test_cpu_clock_measures_one_thread_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert peers.main(["--clock", "cpu", "--threads", "2"]) == 2
    assert "--threads 1" in capsys.readouterr().err


def test_winograd_wants_layers_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert winograd.main(["--layers", "lenet_s5", *QUICK]) == 2
    assert "3x3 layers" in capsys.readouterr().err
    assert winograd.main(["--layers", "resnet50:conv5_3x3", "--threads", "1", "--repeat", "1"]) == 0
    assert "errors' ratio" in capsys.readouterr().out


def test_filters(capsys: pytest.CaptureFixture[str]) -> None:
    assert filters.main(["--images", "28", "200", "--kernels", "3", "31", *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.strip().startswith(("28 ", "200 ")) for line in lines) == 3  # no kernel larger than the image


def test_list_without_convolutions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pools.txt"
    file.write_text("max pool 1x4x4x1 pool=2x2\n", encoding="utf-8")
    assert peers.main(["--layers", str(file)]) == 2
    assert "compare.py" in capsys.readouterr().err


def test_ratio_is_the_median_of_paired_ratios() -> None:
    # The machine was slow in the middle turn: the medians' ratio is 3, but in each turn it was 2.
    assert Timing((1.0, 5.0, 2.0)).ratio(Timing((2.0, 10.0, 4.0))) == 2.0
    assert Timing((1.0, 5.0, 2.0)).ratio(Timing((3.0,))) == 3.0


def test_turns() -> None:
    calls = []
    once = Contender("once", 1, lambda: calls.append("once"), warm_up=False, turns=1)
    always = Contender("always", 1, lambda: calls.append("always"), warm_up=False)
    timings = time_in_turn([once, always], 3)
    assert calls == ["once", "always", "always", "always"]
    assert [len(timing.samples) for timing in timings] == [1, 3]


@pytest.mark.parametrize("operation", layer_lists.ConvLayer.operations)
def test_parts_of_a_layer_are_layers(operation: str) -> None:
    for layer in [*CONVOLUTIONS, *layer_lists.load("vgg16:conv1_2", "resnet50:stem", "mobilenet_v2:b1_dw")]:
        part = Workload.random(layer, operation).part(NAIVE_WORK // 20)
        assert part.x.shape == part.layer.x_shape
        assert part.grad_output.shape == part.layer.y_shape
        assert part.layer.work <= max(NAIVE_WORK // 20, 400_000)
        part.check_float64()


@pytest.mark.parametrize("operation", layer_lists.ConvLayer.operations)
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=lambda layer: layer.label)
def test_peers_compute_the_same(layer: Any, operation: str) -> None:
    wanted = [
        name for name, module in (("torch", peer_torch), ("onnxruntime", peer_onnxruntime)) if not module.missing()
    ]
    if not wanted:
        pytest.skip("neither PyTorch nor ONNX Runtime is installed")
    for rival in peers.rivals(Workload.random(layer, operation), 1, wanted):
        rival.contender.prepare()
        assert rival.part.error(rival.read(rival.contender.call())) <= rival.part.bound


@pytest.mark.parametrize("name", NETWORKS)
def test_peer_networks_compute_the_same(name: str) -> None:
    x, _ = random_batch(4)
    model = NETWORKS[name].build()
    expected = model(x)
    if not peer_torch.missing():
        assert set(train.torch_networks(model, x)) == set(train.TORCH)  # which compares their outputs
    if peer_onnxruntime.missing():
        pytest.skip("ONNX Runtime is not installed")
    session = peer_onnxruntime.session(peer_networks.onnx_model(model), 1)
    call: Callable[[], np.ndarray] = peer_onnxruntime.bound(session, x.transpose(0, 3, 1, 2), expected.shape)
    train.check_equal("ONNX Runtime", expected, call())


def test_results(tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    assert results.main(["--quick", "--threads", "1", "--output", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.count("## ") == 6
    assert "python benchmarks/peers.py --layers lenet_s5:C2 --threads 1" in text
