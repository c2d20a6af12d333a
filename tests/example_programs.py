"""Runs the example programs as a user does, never on the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(program: str, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``program`` of examples/, on FASTCONV_DATA_DIR or else the offline digits."""
    result = subprocess.run(
        command(program, *arguments), capture_output=True, encoding="utf-8", timeout=240, env=environment()
    )
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


def command(program: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, str(EXAMPLES / program), *map(str, arguments)]


def environment() -> dict[str, str]:
    # Threads sleep while they wait: beside other busy processes libgomp's spinning ones are many times slower.
    variables = {"FASTCONV_MNIST_MIRRORS": "", "FASTCONV_CACHE_DIR": os.devnull, "PYTHONIOENCODING": "utf-8"}
    return {"OMP_WAIT_POLICY": "passive", **os.environ, **variables}
