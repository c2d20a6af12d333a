"""Forks, spawned processes, threads, limits from outside, idle processes, Ctrl-C: no hang, no wrong bit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from oracle import assert_same_bits, integers
from test_runtime import printed, run_in_fork

import fastconv as fc
from fastconv import _config, layers, models

FORKS = 30
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
two_cpus = pytest.mark.skipif(
    fc.get_num_threads() < 2 or not os.path.isdir("/proc/self/task"), reason="needs Linux, with two CPUs and OpenMP"
)
forking = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def problem(rng):
    """A convolution large enough for several threads, and what it must give."""
    x, kernel = integers(rng, (8, 30, 30, 8)), integers(rng, (3, 3, 8, 32))
    y = fc.conv2d(x, kernel)
    return x, kernel, y, fc.conv2d_grad_input(y, kernel, x.shape), fc.conv2d_grad_kernel(x, y, 3)


def agrees(x, kernel, y, grad_input, grad_kernel) -> bool:
    return (
        np.array_equal(fc.conv2d(x, kernel), y)
        and np.array_equal(fc.conv2d_grad_input(y, kernel, x.shape), grad_input)
        and np.array_equal(fc.conv2d_grad_kernel(x, y, 3), grad_kernel)
    )


# Processes


@posix
@forking
def test_thirty_forks_in_a_row_each_with_gradients_in_the_child(rng):
    fc.set_num_threads(3)
    made = problem(rng)
    for _ in range(FORKS):
        assert run_in_fork(lambda: agrees(*made)) == 0
        assert agrees(*made)


@posix
@forking
def test_a_fork_while_other_threads_convolve(rng):
    fc.set_num_threads(2)
    made = problem(rng)
    stop = threading.Event()
    wrong: list[int] = []

    def busy() -> None:
        while not stop.is_set():
            if not agrees(*made):
                wrong.append(1)

    workers = [threading.Thread(target=busy) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(5):
            assert run_in_fork(lambda: agrees(*made)) == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert wrong == []


@posix
@forking
def test_a_child_forked_in_the_midst_of_an_evaluation_may_train(rng):
    model, x, y = small_model(rng)
    with model._occupancy.taken("test", trains=True):

        def train() -> bool:
            # In another thread of the child, which is a stranger to the parent's.
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(model.fit, x, y, verbose=0).result() is not None

        assert run_in_fork(train) == 0


@pytest.mark.parametrize("method", sorted(set(multiprocessing.get_all_start_methods()) - {"fork"}))
def test_other_ways_to_start_processes(method, tmp_path):
    script = tmp_path / "starting.py"
    script.write_text(
        textwrap.dedent(f"""
            import multiprocessing
            import numpy as np
            import fastconv as fc

            def work(seed):
                rng = np.random.default_rng(seed)
                x = rng.integers(-4, 5, (4, 20, 20, 8)).astype("float32")
                kernel = rng.integers(-4, 5, (3, 3, 8, 16)).astype("float32")
                y = fc.conv2d(x, kernel)
                return float(y.sum()), float(fc.conv2d_grad_kernel(x, y, 3).sum())

            if __name__ == "__main__":
                fc.set_num_threads(2)
                expected = [work(seed) for seed in range(4)]
                with multiprocessing.get_context({method!r}).Pool(2) as pool:
                    assert pool.map(work, range(4)) == expected
                print("equal")
        """)
    )
    outcome = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert outcome.stdout.strip() == "equal", outcome.stderr


# Threads


def test_eight_threads_on_shared_inputs(rng):
    fc.set_num_threads(2)
    made = problem(rng)
    pooled, where = fc.max_pool2d(made[0], return_indices=True)
    start = threading.Barrier(8)

    def work(_: int) -> bool:
        start.wait()
        for _ in range(10):
            again, found = fc.max_pool2d(made[0], return_indices=True)
            if not (agrees(*made) and np.array_equal(again, pooled) and np.array_equal(found, where)):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_set_isa_beside_plans_that_are_being_made(rng):
    # A plan is kept under its instruction set's name: whatever changes meanwhile, its kernels must be of that one.
    isas = fc.available_isas()
    if len(isas) < 2:
        pytest.skip("one instruction set only")
    shapes = [(2, 7 + i, 9, 3) for i in range(60)]
    kernel = rng.normal(size=(3, 3, 3, 5)).astype("float32")
    images = {shape: rng.normal(size=shape).astype("float32") for shape in shapes}
    stop = threading.Event()

    def switch() -> None:
        while not stop.is_set():
            for isa in isas:
                fc.set_isa(isa)

    thread = threading.Thread(target=switch)
    thread.start()
    try:
        for x in images.values():
            fc.conv2d(x, kernel)
    finally:
        stop.set()
        thread.join()
    # The cached plans, against fresh ones.
    from fastconv.ops import conv

    kept = {}
    for isa in isas:
        fc.set_isa(isa)
        kept[isa] = [fc.conv2d(x, kernel) for x in images.values()]
    conv.forward_plan.cache_clear()
    for isa in isas:
        fc.set_isa(isa)
        for x, before in zip(images.values(), kept[isa], strict=True):
            assert_same_bits(fc.conv2d(x, kernel), before)


def small_model(rng, n=256):
    model = models.Sequential(
        [
            layers.Input((10, 10, 2)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, rng.normal(size=(n, 10, 10, 2)).astype("float32"), rng.integers(0, 5, n)


def test_evaluations_and_predictions_of_one_model_from_eight_threads(rng):
    model, x, y = small_model(rng)
    expected, probabilities = model.evaluate(x, y, verbose=0), model.predict(x, verbose=0)
    start = threading.Barrier(8)

    def work(i: int) -> bool:
        start.wait()
        for _ in range(8):
            if i % 2 and model.evaluate(x, y, verbose=0) != expected:
                return False
            if not i % 2 and not np.array_equal(model.predict(x, verbose=0), probabilities):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert not any(layer._emit_logits or layer._reuse_buffers for layer in model.layers)


def test_a_second_training_of_one_model_is_refused_and_predictions_go_on(rng):
    model, x, y = small_model(rng)
    twin, _, _ = small_model(rng)
    twin.set_weights(model.get_weights())
    messages: list[str] = []
    sums: list[float] = []

    def disturb() -> None:
        for call in (
            lambda: model.fit(x, y, verbose=0),
            lambda: model.train_on_batch(x[:8], y[:8]),
            lambda: model.evaluate(x, y, verbose=0),
            lambda: model.test_on_batch(x[:8], y[:8]),
        ):
            try:
                call()
            except RuntimeError as error:
                messages.append(str(error))
        sums.extend(model.predict(x, batch_size=50, verbose=0).sum(axis=1).tolist())

    class Disturbed(fc.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch in (1, 5):
                thread = threading.Thread(target=disturb)
                thread.start()
                thread.join()

    model.fit(x, y, epochs=2, shuffle=False, verbose=0, callbacks=[Disturbed()])
    twin.fit(x, y, epochs=2, shuffle=False, verbose=0)
    assert len(messages) == 16
    assert all("another thread is training this model" in message for message in messages)
    # Probabilities, not logits; and the training went on as if nobody had been there.
    assert np.allclose(sums, 1, atol=1e-5)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        assert_same_bits(a, b)
    model.fit(x, y, verbose=0)  # free again


def test_a_second_training_of_a_shared_layer_is_refused(rng):
    model, x, y = small_model(rng)
    other = models.Sequential(model.layers)
    other.compile("adam", "sparse_categorical_crossentropy")
    before: list[np.ndarray] = []
    messages: list[str] = []

    def disturb() -> None:
        for call in (lambda: other.fit(x, y, verbose=0), lambda: other.train_on_batch(x[:8], y[:8])):
            try:
                call()
            except RuntimeError as error:
                messages.append(str(error))

    class Disturbed(fc.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                before.extend(model.get_weights())
                thread = threading.Thread(target=disturb)
                thread.start()
                thread.join()
                for a, b in zip(before, model.get_weights(), strict=True):
                    assert_same_bits(a, b)
                other.train_on_batch(x[:8], y[:8])  # in the thread that trains, they take turns

    model.fit(x, y, verbose=0, callbacks=[Disturbed()])
    first = model.layers[0].name
    assert len(messages) == 2
    assert all(f"another thread is training layer '{first}'" in message for message in messages)
    other.fit(x, y, verbose=0)  # free again


def test_a_model_in_use_can_be_copied(rng):
    import copy

    model, x, y = small_model(rng)
    with model._occupancy.taken("test", trains=True):
        twin = copy.deepcopy(model)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(twin.fit, x, y, verbose=0).result()


# Limits from outside


def test_a_limit_of_threadpoolctl_that_equals_openmps_first_setting():
    pytest.importorskip("threadpoolctl")
    text = printed(
        """
        import fastconv as fc, threadpoolctl
        fc.set_num_threads(5)
        seen = [fc.get_num_threads()]
        for limit in (2, 1, 3, 8):
            with threadpoolctl.threadpool_limits(limit):
                seen.append(fc.get_num_threads())
            seen.append(fc.get_num_threads())
        fc.set_num_threads(1)
        seen.append(fc.get_num_threads())
        fc.set_num_threads(2)
        with threadpoolctl.threadpool_limits(1):
            seen.append(fc.get_num_threads())
        print(seen)
        """,
        OMP_NUM_THREADS="2",
    )
    if "OpenMP: none" in _shown():
        pytest.skip("built without OpenMP")
    assert text == str([5, 2, 5, 1, 5, 3, 5, 5, 5, 1, 1])


def _shown() -> str:
    return printed("import fastconv as fc; fc.show_config()")


CONVOLVE = """
    import numpy as np, fastconv as fc
    rng = np.random.default_rng(0)
    x, k = (rng.integers(-4, 5, s).astype("float32") for s in ((8, 30, 30, 8), (3, 3, 8, 32)))
    y = fc.conv2d(x, k)
    print(fc.get_num_threads(), float(np.abs(y).sum()), float(fc.conv2d_grad_kernel(x, y, 3).sum()))
"""


def test_omp_thread_limit_gives_the_same_bits():
    free = printed(CONVOLVE, FASTCONV_NUM_THREADS="4")
    limited = printed(CONVOLVE, FASTCONV_NUM_THREADS="4", OMP_THREAD_LIMIT="2")
    assert free.split()[1:] == limited.split()[1:]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_an_affinity_smaller_than_the_machine():
    one = printed("import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" + textwrap.dedent(CONVOLVE))
    every = printed(CONVOLVE)
    assert one.split()[0] == "1"
    assert one.split()[1:] == every.split()[1:]


PLACEMENT = """
    import os
    cpus = set(sorted(os.sched_getaffinity(0))[:2])
    os.sched_setaffinity(0, cpus)
    import numpy as np, fastconv as fc
    before = set(os.listdir("/proc/self/task"))
    x, k = np.ones((8, 64, 64, 16), "f4"), np.ones((3, 3, 16, 32), "f4")
    fc.conv2d(x, k)
    worker, = [int(task) for task in set(os.listdir("/proc/self/task")) - before]
"""


@two_cpus
def test_a_team_leaves_its_masters_cpu():
    text = printed(
        textwrap.dedent(PLACEMENT) + "print(os.sched_getaffinity(0) == cpus, len(os.sched_getaffinity(worker)))",
        FASTCONV_NUM_THREADS="2",
    )
    assert text.split() == ["True", "1"]


@two_cpus
def test_a_team_runs_where_it_is_bound_to_from_outside():
    text = printed(
        textwrap.dedent(PLACEMENT)
        + textwrap.dedent("""
        import time
        bound = cpus - os.sched_getaffinity(worker)
        os.sched_setaffinity(worker, bound)
        os.sched_setaffinity(0, bound)  # the master goes where its worker is bound to
        time.sleep(2e-3)
        fc.conv2d(x, k)
        print(len(bound), os.sched_getaffinity(worker) == bound)
        """),
        FASTCONV_NUM_THREADS="2",
    )
    assert text.split() == ["1", "True"]


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"/sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ("0::/", {"/sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b", {"/sys/fs/cgroup/a/cpu.max": "50000 100000", "/sys/fs/cgroup/a/b/cpu.max": "400000 100000"}, 0.5),
        ("0::/../outside", {"/sys/fs/cgroup/cpu.max": "300000 100000"}, 3),
        ("4:cpu,cpuacct:/d", {
            "/sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "200000", "/sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000",
        }, 2),
        ("4:cpu,cpuacct:/d", {
            "/sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "-1", "/sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000",
        }, None),
        # what no kernel writes
        ("0::/", {"/sys/fs/cgroup/cpu.max": "100000 0"}, None),
        ("0::/", {"/sys/fs/cgroup/cpu.max": "-5 100000"}, None),
        ("0::/", {"/sys/fs/cgroup/cpu.max": "nonsense"}, None),
        ("0::/", {"/sys/fs/cgroup/cpu.max": ""}, None),
        ("4:cpu:/", {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "5", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "0"}, None),
        ("nonsense\n0:x\n", {}, None),
        ("", {}, None),
    ],
)  # fmt: skip
def test_quotas_of_cgroups(groups, files, expected, monkeypatch):
    monkeypatch.setattr(_config, "_read", lambda path: {"/proc/self/cgroup": groups, **files}.get(path, ""))
    assert _config._cgroup_quota() == expected
    assert 1 <= _config.usable_cpus() <= (os.cpu_count() or 1)
    if expected is not None:
        assert _config.usable_cpus() <= np.ceil(expected)


# Idle, interrupted


def test_a_process_is_idle_after_a_call():
    # The team of a finished loop must sleep, not spin: CPU time of all threads over a second of waiting.
    text = printed(
        textwrap.dedent(CONVOLVE)
        + textwrap.dedent("""
        import time
        time.sleep(0.2)
        start = time.process_time()
        time.sleep(1.0)
        print(time.process_time() - start)
        """),
        FASTCONV_NUM_THREADS="4",
    )
    assert float(text.split()[-1]) < 0.05


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(
    "work",
    [
        "while True: fc.conv2d(x, k)",
        "model.fit(x, y, epochs=10**6, verbose=0)",
        "while True: model.predict(x, batch_size=1, verbose=0)",
    ],
    ids=["conv2d", "fit", "predict"],
)
def test_ctrl_c_ends_long_work_and_leaves_all_usable(work, tmp_path):
    script = tmp_path / "long.py"
    script.write_text(
        textwrap.dedent("""
            import numpy as np, fastconv as fc
            from fastconv import layers, models
            x, k = np.ones((64, 28, 28, 8), "float32"), np.ones((3, 3, 8, 16), "float32")
            y = np.zeros(64, int)
            stack = [layers.Input((28, 28, 8)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(3)]
            model = models.Sequential(stack)
            model.compile("sgd", "sparse_categorical_crossentropy")
            model.fit(x, y, verbose=0)
            print("ready", flush=True)
            try:
                WORK
            except KeyboardInterrupt:
                model.fit(x, y, verbose=0)
                assert np.array_equal(fc.conv2d(x, k), fc.conv2d(x, k))
                print("usable", flush=True)
        """).replace("WORK", work)
    )
    child = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "ready"
        time.sleep(0.3)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, error = child.communicate(timeout=30)
        assert out.strip() == "usable", error
        assert time.monotonic() - sent < 20
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
