"""Maximum and average pooling and their gradients beside the naive loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import layer_lists
import pytest
from cases import Case, cases, run

MAXIMA = layer_lists.load("lenet_s5:P1", "lenet_s5:P2", "mnist_s2:P1", "resnet50:stem_pool")
# The same windows averaged, as LeNet-5 did in 1998.
AVERAGES = [replace(layer, kind="avg", label=f"{layer.label}_avg") for layer in MAXIMA]


@pytest.mark.parametrize("case", cases([*MAXIMA, *AVERAGES]))
def test_pooling(case: Case, benchmark: Any, peak: Callable[[int], float]) -> None:
    run(case, benchmark, peak)
