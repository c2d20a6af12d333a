"""Convolution, forward and both gradients: direct and im2col beside the naive loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import layer_lists
import pytest
from cases import Case, cases, run

LENET = ("lenet_s5:C1", "lenet_s5:C2", "lenet_s5:C3", "lenet_s1:C1")
LARGER = ("mnist_s2:C2", "mnist_s4:C2", "mnist_s4:C3", "resnet50:stem", "resnet50:conv2_3x3", "resnet50:conv4_3x3")


@pytest.mark.parametrize("case", cases(layer_lists.load(*LENET, *LARGER)))
def test_conv(case: Case, benchmark: Any, peak: Callable[[int], float]) -> None:
    run(case, benchmark, peak)
