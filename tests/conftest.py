"""Fixtures that every test file shares: a seeded generator, and the runtime put back as it was after each test."""

from __future__ import annotations

import importlib
import sys
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest
from example_programs import EXAMPLES
from tally import TALLY

import fastconv as fc


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator whose seed is the test's own name: the same numbers on every run and in any order of tests."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True)
def runtime_restored() -> Iterator[None]:
    """Threads and instruction set as they were before the test."""
    threads, isa = fc.get_num_threads(), fc.get_isa()
    yield
    if fc.get_num_threads() != threads:
        fc.set_num_threads(threads)
    if fc.get_isa() != isa:
        fc.set_isa(isa)


@pytest.fixture(params=(1, 2, 3), ids="threads{}".format)
def threads(request: pytest.FixtureRequest) -> int:
    """1, 2 and 3 threads, whatever the machine has."""
    fc.set_num_threads(request.param)
    return request.param


@pytest.fixture(params=fc.available_isas())
def isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set that this machine has; ``test_runtime`` names those that it lacks."""
    fc.set_isa(request.param)
    return request.param


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A function that imports a module of examples/, or of benchmarks/."""
    monkeypatch.syspath_prepend(str(EXAMPLES.parent / "benchmarks"))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:  # both folders have a results.py
        if str(EXAMPLES.parent) in str(getattr(sys.modules[name], "__file__", "")) and "fastconv" not in name:
            del sys.modules[name]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the long property tests tried, to be recorded in README.md beside this file."""
    if TALLY.problems and "not long" not in config.option.markexpr:
        terminalreporter.section("problems tried")
        for line in TALLY.lines():
            terminalreporter.write_line(line)
