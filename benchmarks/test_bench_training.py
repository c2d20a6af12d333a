"""One training step of whole networks: forward, loss, backward, Adam, through Sequential.train_on_batch."""

from __future__ import annotations

from typing import Any

import pytest
from cases import thread_counts
from networks import NETWORKS, random_batch

import fastconv as fc

MNIST_IMAGES = 60_000


@pytest.mark.benchmark(max_time=1.0, min_rounds=5, warmup=True, warmup_iterations=3)
@pytest.mark.parametrize("threads", thread_counts(), ids="threads{}".format)
@pytest.mark.parametrize("name", NETWORKS)
def test_training_step(name: str, threads: int, benchmark: Any) -> None:
    network = NETWORKS[name]
    fc.set_num_threads(threads)
    fc.utils.set_random_seed(1)
    model = network.build()
    assert model.count_params() == network.parameters
    x, y = random_batch(network.batch_size)
    benchmark.group = f"training step of {name}, batch of {network.batch_size}"
    benchmark(model.train_on_batch, x, y)
    benchmark.extra_info["threads"], benchmark.extra_info["batch_size"] = threads, network.batch_size
    if benchmark.stats:
        step = benchmark.stats.stats.median
        benchmark.extra_info["images_per_second"] = network.batch_size / step
        benchmark.extra_info["seconds_of_steps_per_mnist_epoch"] = MNIST_IMAGES / network.batch_size * step
