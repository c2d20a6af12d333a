"""What a training step holds in memory: little beyond the arrays that it cannot do without, and linear in the batch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Run in a process of its own, on one thread: the growth of the resident memory while `fit` runs counts every kind of
# memory, NumPy's and the compiled core's scratch, at page granularity. The data set is one batch, made before.
PROGRAM = """
import json, sys
import numpy as np
import fastconv as fc
from fastconv import layers, models

def peak():
    with open("/proc/self/status") as status:  # not ru_maxrss, which begins with the peak of the parent process
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024

fc.set_num_threads(1)
n = int(sys.argv[1])
model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(32, 3, activation="relu"),
    layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2), layers.Dropout(0.2),
    layers.Conv2D(128, 3, activation="relu"), layers.MaxPooling2D(2), layers.Dropout(0.2),
    layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(0.2),
    layers.Dense(64, activation="relu"), layers.Dropout(0.2), layers.Dense(10, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
model.fit(np.zeros((2, 28, 28, 1), "float32"), np.zeros(2, int), batch_size=2, epochs=2, verbose=0)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(n, 28, 28, 1)).astype("float32"), rng.integers(0, 10, n)
before = peak()
model.fit(x, y, batch_size=n, epochs=3, verbose=0)
shape, activations = (n, 28, 28, 1), x.size
for layer in model.layers:
    shape = layer.compute_output_shape(shape)
    activations += int(np.prod(shape)) * (layer.name.split("_")[0] != "flatten")
# The weights and Adam's moments were there before; their gradients are given back after training.
print(json.dumps({"grown": peak() - before, "needed": 4 * (2 * activations + model.count_params())}))
"""


def measure(batch: int) -> tuple[int, int]:
    """(bytes by which the process grew, bytes of activations and of all gradients) for a step of S4."""
    run = subprocess.run([sys.executable, "-c", PROGRAM, str(batch)], capture_output=True, text=True, check=True)
    figures = json.loads(run.stdout)
    return figures["grown"], figures["needed"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")
def test_a_step_needs_little_beyond_its_arrays_and_grows_with_the_batch():
    small, large = measure(64), measure(192)
    for grown, needed in (small, large):
        assert 0.2 * needed < grown <= 1.3 * needed, f"{grown:,} bytes for {needed:,}"
    slope = (large[0] - small[0]) / 128
    assert slope <= 1.3 * (large[1] - small[1]) / 128
    assert slope * 64 <= 1.15 * small[0]  # no more for each further image than for the first ones
