"""to_categorical, confusion_matrix and set_random_seed."""

from __future__ import annotations

import random

import numpy as np
import pytest

from fastconv import _random, metrics, utils


def test_to_categorical():
    assert utils.to_categorical([0, 2], 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert utils.to_categorical(np.array([[1], [0]], np.uint8)).tolist() == [[0, 1], [1, 0]]
    assert utils.to_categorical(np.zeros((2, 3), int), 4).shape == (2, 3, 4)
    assert utils.to_categorical(np.array([1.0, 0.0])).tolist() == [[0, 1], [1, 0]]
    assert utils.to_categorical([], 5).shape == (0, 5)
    assert utils.to_categorical(1, 3).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("labels", "classes", "error", "message"),
    [
        ([0, 3], 3, ValueError, "x must be class numbers, whole, from 0 and below 3; received 3 at index 1"),
        ([-1, 0], None, ValueError, "received -1 at index 0"),
        ([0.5], 2, ValueError, r"whole.* received 0\.5 at index 0"),
        ([np.nan], 2, ValueError, "received nan at index 0"),
        (["a"], 2, TypeError, "must hold numbers"),
        ([0], 2.5, TypeError, "num_classes must be an integer"),
    ],
)
def test_to_categorical_names_what_is_wrong(labels, classes, error, message):
    with pytest.raises(error, match=message):
        utils.to_categorical(labels, classes)


def test_confusion_matrix(rng):
    truth, guess = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    expected = np.zeros((4, 4), int)
    for t, p in zip(truth, guess, strict=True):
        expected[t, p] += 1
    assert np.array_equal(utils.confusion_matrix(truth, guess), expected)
    rows = utils.to_categorical(guess, 4) + rng.uniform(0, 0.5, (50, 4))
    assert np.array_equal(utils.confusion_matrix(utils.to_categorical(truth, 4), rows), expected)
    assert np.array_equal(utils.confusion_matrix(truth[:, None], guess.astype(float)), expected)
    assert metrics.confusion_matrix is utils.confusion_matrix
    assert utils.confusion_matrix([0, 1], [0, 0], num_classes=3).tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert utils.confusion_matrix([0], [[0.1, 0.2, 0.7]]).tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert utils.confusion_matrix([], [], 2).tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match="same length"):
        utils.confusion_matrix([0, 1], [0])
    with pytest.raises(
        ValueError, match="y_pred must be class numbers, whole, from 0 and below 2; received 2 at index 1"
    ):
        utils.confusion_matrix([0, 1], [0, 2], 2)
    with pytest.raises(ValueError, match="y_true must be class numbers"):
        utils.confusion_matrix([0.5], [0])


def test_set_random_seed_seeds_all_three():
    def draw():
        return _random.default_generator().random(), np.random.random(), random.random()

    utils.set_random_seed(7)
    first = draw()
    utils.set_random_seed(7)
    assert draw() == first
    utils.set_random_seed(8)
    assert all(a != b for a, b in zip(draw(), first, strict=True))
    with pytest.raises(TypeError, match="seed must be an integer"):
        utils.set_random_seed(1.5)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        utils.set_random_seed(-1)
