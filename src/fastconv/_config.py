"""Threads, instruction sets and what this installation is."""

from __future__ import annotations

import math
import os
import sys

from ._core import _runtime
from ._validation import as_index, isa_error, threads_error

MAX_THREADS = 1024  # far above any machine that gains from more, and few enough for a process to start


def set_num_threads(n: int) -> None:
    """Let a large call use ``n`` threads. Results do not depend on it, to the last bit.

    Args:
        n: from 1 to 1024; more than the CPUs is allowed.

    Raises:
        ValueError, TypeError: n is not a positive integer.

    Example:
        >>> import fastconv as fc
        >>> fc.set_num_threads(1)
        >>> fc.get_num_threads()
        1
    """
    count = as_index("set_num_threads", "n", n)
    if not 1 <= count <= MAX_THREADS:
        raise threads_error(count, MAX_THREADS)
    _runtime.set_num_threads(count, raises_openmp=True)


def get_num_threads() -> int:
    """Threads that a large call uses.

    The CPUs that this process may use (affinity, cgroup quota), unless ``FASTCONV_NUM_THREADS``, ``OMP_NUM_THREADS``,
    :func:`set_num_threads` or a limit of threadpoolctl say otherwise. A small call uses one.

    Example:
        >>> import fastconv as fc
        >>> fc.get_num_threads() >= 1
        True
    """
    return _runtime.get_num_threads()


def available_isas() -> tuple[str, ...]:
    """The instruction sets that this build has and this CPU can run, best first.

    Of ``"avx512"``, ``"avx2"``, ``"neon"`` and ``"baseline"``; the last runs everywhere.

    Example:
        >>> import fastconv as fc
        >>> fc.available_isas()[-1]
        'baseline'
    """
    return _runtime.available_isas()


def measure_peak(dtype: str) -> float:
    """GFLOP/s of one thread that multiplies and adds in registers only, in the instruction set in use."""
    return _runtime.measure_peak(8 if dtype == "float64" else 4)


def get_isa() -> str:
    """The instruction set in use: the best available, unless ``FASTCONV_ISA`` or :func:`set_isa` chose another.

    Example:
        >>> import fastconv as fc
        >>> fc.get_isa() in fc.available_isas()
        True
    """
    return _runtime.get_isa()


def set_isa(name: str) -> None:
    """Use another instruction set than the best; the environment variable ``FASTCONV_ISA`` does it at import.

    Raises:
        ValueError: one that :func:`available_isas` does not list.

    Example:
        >>> import fastconv as fc
        >>> fc.set_isa("baseline")
        >>> fc.get_isa()
        'baseline'
        >>> fc.set_isa(fc.available_isas()[0])
    """
    if name not in available_isas():
        raise isa_error(name, available_isas())
    _runtime.set_isa(name)


def show_config() -> None:
    """Print what this installation is: what a report of a fault should begin with.

    Version, instruction sets, threads, OpenMP runtime, compiler, Python and NumPy.

    Example:
        >>> import fastconv as fc
        >>> fc.show_config()  # doctest: +ELLIPSIS
        fastconv ...
    """
    import platform

    import numpy as np

    from . import __version__

    openmp = f"{_openmp_runtime()} ({_runtime.OPENMP_VERSION})" if _runtime.OPENMP_VERSION else "none: one thread only"
    print(
        f"fastconv {__version__}\n"
        f"instruction set: {get_isa()} (available: {', '.join(available_isas())})\n"
        f"threads: {get_num_threads()} (CPUs for this process: {usable_cpus()})\n"
        f"OpenMP: {openmp}\n"
        f"compiler: {_runtime.compiler()}\n"
        f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.system()} {platform.machine()}"
    )


def usable_cpus() -> int:
    """CPUs of the affinity mask, or less if a cgroup's quota allows less."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cpus, math.ceil(quota))) if quota else cpus


def _cgroup_quota() -> float | None:
    """CPUs that the process's cgroups (version 2 or 1) grant, None for no limit: the least on the way to the root."""
    quotas = []
    for line in _read("/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if not separator:
            continue
        if controllers == "":
            root, quota_of = "/sys/fs/cgroup", _quota_v2
        elif "cpu" in controllers.split(","):
            root, quota_of = "/sys/fs/cgroup/cpu", _quota_v1
        else:
            continue
        parts = [part for part in path.split("/") if part]
        quotas += [quota_of("/".join((root, *parts[:depth]))) for depth in range(len(parts) + 1)]
    return min((quota for quota in quotas if quota), default=None)


def _quota_v2(folder: str) -> float | None:
    try:
        quota, period = _read(f"{folder}/cpu.max").split()
        return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: str) -> float | None:
    try:
        quota = int(_read(f"{folder}/cpu.cfs_quota_us"))
        return None if quota <= 0 else quota / int(_read(f"{folder}/cpu.cfs_period_us"))
    except (ValueError, ZeroDivisionError):
        return None


def _read(path: str) -> str:
    """A small system file's text, empty if there is none. (pathlib would cost a third of the import.)"""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _openmp_runtime() -> str:
    """The OpenMP library that this process has loaded, as the system names it."""
    names = {line.rsplit("/", 1)[-1] for line in _read("/proc/self/maps").splitlines() if "/" in line}
    found = sorted(name for name in names if name.startswith(("libgomp", "libomp", "libiomp")))
    return ", ".join(found) or "OpenMP"


def _from_environment() -> None:
    """The settings in force at import."""
    isa = os.environ.get("FASTCONV_ISA")
    if isa and isa not in available_isas():
        raise isa_error(isa, available_isas(), "FASTCONV_ISA")
    _runtime.set_isa(isa or available_isas()[0])
    _runtime.set_num_threads(_environment_threads() or usable_cpus())
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_runtime.after_fork_in_child)


def _environment_threads() -> int | None:
    for name in ("FASTCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        # OMP_NUM_THREADS may be a list, one number for each level of nesting.
        value = os.environ.get(name, "").split(",")[0].strip()
        if value.isdecimal() and 1 <= int(value) <= MAX_THREADS:
            return int(value)
        if value:
            sys.stderr.write(f"fastconv: {name}={value!r} is not a number of threads; ignored.\n")
    return None


_from_environment()
