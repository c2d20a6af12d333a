"""The scripts of .ci that run the kernel tests under sanitizers and emulation: what they run exists, and they say what
they lack before they build anything. What they found stands in README.md beside this file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None or not (ROOT / ".ci").is_dir(), reason="needs bash and a checkout")


def run(script, *arguments, env=None):
    return subprocess.run([BASH, ROOT / ".ci" / script, *arguments], capture_output=True, text=True, env=env)


@pytest.fixture
def commands(tmp_path):
    """An environment whose commands are those named, and nothing else."""

    def only(*names):
        for name in names:
            os.symlink(shutil.which(name), tmp_path / name)
        return {"PATH": str(tmp_path)}

    return only


def test_kernel_tests_exist():
    names = (ROOT / ".ci" / "kernel_tests.txt").read_text().split()
    assert len(names) >= 20
    assert names == sorted(set(names))
    assert [name for name in names if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("script", ["sanitize", "emulate"])
@pytest.mark.parametrize("arguments", [(), ("everything",)], ids=["nothing", "unknown"])
def test_usage(script, arguments):
    done = run(script, *arguments)
    assert done.returncode == 2
    assert f".ci/{script} " in done.stdout


@pytest.mark.parametrize(
    ("script", "mode", "present", "packages"),
    [
        ("sanitize", "asan", (), "gcc"),
        ("sanitize", "tsan", (), "gcc clang"),
        ("sanitize", "debug", (), "gcc"),
        ("sanitize", "valgrind", ("gcc",), "valgrind"),
        ("emulate", "lowered", (), "gcc"),
        ("emulate", "neon", (), "apt dpkg gcc-aarch64-linux-gnu qemu-user-static"),
        ("emulate", "neon", ("qemu-aarch64-static",), "apt dpkg gcc-aarch64-linux-gnu"),
    ],
)
def test_what_is_missing_is_named(script, mode, present, packages, commands):
    if not all(shutil.which(name) for name in present):
        pytest.skip(f"needs {' and '.join(present)}")
    done = run(script, mode, env=commands("dirname", *present))
    assert done.returncode == 3
    assert f"{script} {mode} needs what is not installed here" in done.stderr
    assert f"apt-get install {packages}" in done.stderr
