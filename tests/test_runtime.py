"""Threads, instruction sets, environment variables, fork, and what show_config and explain_conv2d say."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from oracle import assert_exact, assert_same_bits, integers

import fastconv as fc

ALL_ISAS = ("baseline", "avx2", "avx512", "neon")
VARIABLES = ("FASTCONV_NUM_THREADS", "OMP_NUM_THREADS", "FASTCONV_ISA", "OMP_THREAD_LIMIT")


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter with these variables and none of the others that steer the runtime."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def printed(code: str, **variables: str) -> str:
    outcome = python(code, **variables)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.strip()


# threads


def test_set_num_threads():
    for threads in (1, 2, 3, 64):
        fc.set_num_threads(threads)
        assert fc.get_num_threads() == threads


@pytest.mark.parametrize("wrong", [0, -1, 2**40])
def test_a_thread_count_that_cannot_be_is_refused_and_changes_nothing(wrong):
    before = fc.get_num_threads()
    with pytest.raises(ValueError, match=rf"^set_num_threads: .*{wrong}"):
        fc.set_num_threads(wrong)
    assert fc.get_num_threads() == before


THREADS = "import fastconv; print(fastconv.get_num_threads())"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FASTCONV_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "2"}, "2"),
        ({"OMP_NUM_THREADS": "5", "FASTCONV_NUM_THREADS": "1"}, "1"),
        ({"OMP_NUM_THREADS": "3,2"}, "3"),
    ],
)
def test_environment_sets_the_threads(variables, expected):
    assert printed(THREADS, **variables) == expected


@pytest.mark.parametrize("variable", ["FASTCONV_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("value", ["", "none", "-1", "0", "1e3", "99999999999999999999"])
def test_a_senseless_environment_never_crashes_the_import(variable, value):
    outcome = python(THREADS, **{variable: value})
    if outcome.returncode:
        assert re.search(rf"(ValueError|ImportError).*{variable}", outcome.stderr), outcome.stderr
    else:
        assert 1 <= int(outcome.stdout) <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity mask")
def test_default_is_the_cpus_that_the_process_may_use():
    code = f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); {THREADS}"
    assert printed(code) == "1"
    assert 1 <= int(printed(THREADS)) <= len(os.sched_getaffinity(0))


# instruction sets


@pytest.mark.parametrize("isa", ALL_ISAS)
def test_isa(isa, rng):
    if isa not in fc.available_isas():
        pytest.skip(f"this machine has no {isa}")
    fc.set_isa(isa)
    assert fc.get_isa() == isa
    x, kernel = integers(rng, (2, 6, 6, 3)), integers(rng, (3, 3, 3, 9))
    answer = fc.conv2d(x, kernel)
    fc.set_isa("baseline" if "baseline" in fc.available_isas() else fc.available_isas()[0])
    assert_exact(answer, fc.conv2d(x, kernel))


def test_available_isas_are_known_and_the_best_is_taken():
    assert set(fc.available_isas()) <= set(ALL_ISAS)
    assert len(set(fc.available_isas())) == len(fc.available_isas()) >= 1
    assert "neon" in fc.available_isas() or "baseline" in fc.available_isas()
    taken = printed("import fastconv; print(fastconv.get_isa())")
    assert taken == max(fc.available_isas(), key=ALL_ISAS.index)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_available_isas_are_what_the_cpu_has():
    with open("/proc/cpuinfo") as file:
        flags = set(re.findall(r"\w+", next((line for line in file if line.startswith("flags")), "")))
    for isa, needed in (("avx2", {"avx2", "fma"}), ("avx512", {"avx512f", "avx512vl"})):
        assert isa not in fc.available_isas() or needed <= flags
    if {"avx2", "fma"} <= flags:
        assert "avx2" in fc.available_isas()


@pytest.mark.parametrize("isa", ALL_ISAS)
def test_environment_sets_the_isa(isa):
    outcome = python("import fastconv; print(fastconv.get_isa())", FASTCONV_ISA=isa)
    if isa in fc.available_isas():
        assert outcome.stdout.strip() == isa, outcome.stderr
    else:  # the processor lacks it: told so, never an illegal instruction
        assert outcome.returncode in (0, 1)
        assert isa in outcome.stderr
        assert isa not in outcome.stdout.split()


def test_an_unknown_isa_in_the_environment_is_named():
    outcome = python("import fastconv; print(fastconv.get_isa())", FASTCONV_ISA="sse9")
    assert outcome.returncode in (0, 1)
    assert "sse9" in outcome.stderr
    assert "FASTCONV_ISA" in outcome.stderr


def test_set_isa_that_the_machine_lacks_is_refused():
    before = fc.get_isa()
    for isa in {*ALL_ISAS, "sse9", "AVX2", ""} - set(fc.available_isas()):
        with pytest.raises(ValueError, match=r"^set_isa: "):
            fc.set_isa(isa)
        assert fc.get_isa() == before


# show_config, explain_conv2d


def test_show_config_tells_the_truth(capsys):
    fc.set_num_threads(3)
    assert fc.show_config() is None
    text = capsys.readouterr().out
    assert fc.__version__ in text
    assert fc.get_isa() in text
    assert re.search(r"threads.*3", text)
    assert re.search(r"OpenMP", text)
    assert re.search(r"compiler.*(gcc|clang|msvc|\d+\.\d+)", text, re.IGNORECASE)


def test_explain_conv2d_names_the_algorithm_and_a_reason():
    text = fc.explain_conv2d((128, 28, 28, 1), (5, 5, 1, 6), padding="same", strides=1)
    assert isinstance(text, str)
    assert re.search(r"direct|im2col", text)
    assert len(text.split()) > 5
    for options in (
        {"strides": 2},
        {"padding": ((1, 0), (2, 2))},
        {"dilation_rate": 2},
        {"algorithm": "im2col"},
        {"algorithm": "direct"},
        {"activation": "relu"},
    ):
        text = fc.explain_conv2d((8, 28, 28, 4), (3, 3, 4, 6), **options)
        if "algorithm" in options:
            assert options["algorithm"] in text
    assert fc.explain_conv2d((8, 4, 28, 28), (3, 3, 2, 6), groups=2, data_format="channels_first")


# processes


def run_in_fork(work, seconds: float = 30) -> int:
    """Exit status of a forked child that does the work; killed, and -1, if it hangs."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_works_and_so_does_its_child(rng):
    x, kernel = integers(rng, (8, 30, 30, 8)), integers(rng, (3, 3, 8, 32))
    fc.set_num_threads(3)
    expected = fc.conv2d(x, kernel)
    grad = fc.conv2d_grad_kernel(x, expected, 3)

    def work():
        same = np.array_equal(fc.conv2d(x, kernel), expected)
        return same and np.array_equal(fc.conv2d_grad_kernel(x, expected, 3), grad)

    for _ in range(5):
        assert run_in_fork(work) == 0
        assert_same_bits(fc.conv2d(x, kernel), expected)
    assert run_in_fork(lambda: work() and run_in_fork(work) == 0 and work()) == 0


def test_spawned_processes_work(tmp_path):
    script = tmp_path / "spawning.py"
    script.write_text(
        textwrap.dedent("""
            import multiprocessing
            import numpy as np
            import fastconv as fc

            def work(n):
                return int(fc.conv2d(np.ones((n, 9, 9, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)).sum())

            if __name__ == "__main__":
                work(1)
                with multiprocessing.get_context("spawn").Pool(2) as pool:
                    print(pool.map(work, [1, 2, 3]))
        """)
    )
    outcome = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stderr
    one = 7 * 7 * 4 * 27
    assert outcome.stdout.strip() == str([one, 2 * one, 3 * one])


def test_the_global_interpreter_lock_is_free_meanwhile():
    # While one thread convolves, another must come to run: with the lock held, the counter would stand still.
    fc.set_num_threads(1)
    x, kernel = np.ones((8, 64, 64, 32), np.float32), np.ones((5, 5, 32, 64), np.float32)
    running, ticks = threading.Event(), []

    def convolve():
        running.set()
        fc.conv2d(x, kernel)
        running.clear()

    thread = threading.Thread(target=convolve)
    thread.start()
    running.wait()
    while running.is_set():
        ticks.append(time.perf_counter())
        time.sleep(0.001)
    thread.join()
    assert len(ticks) > 3


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="empties glibc's heap")
@pytest.mark.parametrize(("dtype", "threads", "kept"), [("float32", 1, True), ("float64", 16, False)])
def test_scratch_outlives_a_call_unless_it_is_huge(dtype, threads, kept):
    """Otherwise every call pays for its pages again, or holds for ever what one layer needed once."""
    output = printed(
        f"""
        import ctypes, resource
        import numpy as np
        import fastconv as fc

        def state():
            ctypes.CDLL(None).malloc_trim(0)
            with open("/proc/self/statm") as file:
                resident = int(file.read().split()[1])
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt, resident

        x, kernel = np.ones((1, 32, 32, 512), "{dtype}"), np.ones((3, 3, 512, 512), "{dtype}")
        y = np.empty_like(x)
        fc.ops.conv2d(x, kernel, padding="same", out=y)
        states = [state()]
        for _ in range(3):
            fc.ops.conv2d(x, kernel, padding="same", out=y, algorithm="winograd")
            states.append(state())
        for page_count in (states[1][0] - states[0][0], states[3][0] - states[2][0], states[3][1] - states[0][1]):
            print(page_count * resource.getpagesize() // 2**20)
        """,
        FASTCONV_NUM_THREADS=str(threads),
    )
    first, again, held = map(int, output.split())  # megabytes
    if kept:
        assert first >= 8 and again == 0 and held >= 8
    else:
        assert again > 64 and held <= 4
