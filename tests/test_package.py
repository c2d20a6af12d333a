"""What a user meets before the first call: import time, size, names, documentation."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import re
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import fastconv as fc

PACKAGE = Path(fc.__file__).parent
FUNCTIONS = (
    *("conv2d", "conv2d_grad_input", "conv2d_grad_kernel", "im2col", "col2im"),
    *("conv2d_transpose", "conv2d_transpose_grad_input", "conv2d_transpose_grad_kernel"),
    *("depthwise_conv2d", "depthwise_conv2d_grad_input", "depthwise_conv2d_grad_kernel"),
    *("convolve2d", "correlate2d"),
    *("max_pool2d", "max_pool2d_grad", "avg_pool2d", "avg_pool2d_grad", "l2_pool2d", "l2_pool2d_grad"),
    *("relu", "relu_grad", "softmax", "softmax_grad"),
    *("set_num_threads", "get_num_threads", "available_isas", "get_isa", "set_isa", "show_config", "explain_conv2d"),
)
SUBMODULES = ("layers", "models", "datasets", "optimizers", "losses", "initializers", "metrics", "utils", "plots")


def python(code: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_costs_at_most_30_ms_beyond_numpy(tmp_path):
    code = (
        "import numpy, time; start = time.process_time(); import fastconv; print((time.process_time() - start) * 1e3)"
    )
    # Bytecode as after an installation, also where Python is told to write none.
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    python(code, **bytecode)
    # The smallest of several runs is the cost itself; what is above it is the machine's other work, which on a machine
    # with neighbours may double it for a while.
    times: list[float] = []
    while len(times) < 7 or (min(times) > 30 and len(times) < 40):
        times.append(float(python(code, **bytecode)))
    assert min(times) <= 30, f"median {statistics.median(times):.1f} ms, all {times}"


def test_submodules_load_on_first_use():
    code = "import sys, fastconv; print([name for name in sys.modules if name.startswith('fastconv.')])"
    loaded = python(code)
    for name in SUBMODULES:
        assert f"'fastconv.{name}'" not in loaded
    heavy = "import sys, fastconv; print([m for m in ('tqdm', 'matplotlib', 'scipy', 'pooch') if m in sys.modules])"
    assert python(heavy) == "[]"


@pytest.mark.parametrize("name", SUBMODULES)
def test_submodules_are_attributes(name):
    if name == "plots":
        pytest.importorskip("matplotlib", reason="plots need matplotlib")
    assert python(f"import fastconv as fc; print(fc.{name}.__name__)") == f"fastconv.{name}"
    assert name in dir(fc)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"fastconv.*conv3d"):
        _ = fc.conv3d


def test_version_is_the_distributions():
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?([a-z0-9.+-]*)", fc.__version__)
    assert fc.__version__ == metadata.version("fastconv")


def test_size_and_typing_marker():
    assert (PACKAGE / "py.typed").exists()
    shipped = [
        path
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".pyi", ".so", ".pyd", ".pyx", ".pxd", ".h") and "__pycache__" not in path.parts
    ]
    size = sum(path.stat().st_size for path in shipped)
    assert size <= 5_000_000, f"{size / 1e6:.2f} MB"


def test_run_time_needs_are_numpy_and_tqdm():
    needs = [need for need in metadata.requires("fastconv") or [] if "extra ==" not in need]
    assert {re.split(r"[^\w-]", need)[0].lower() for need in needs} == {"numpy", "tqdm"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_are_there_and_documented(name):
    function = getattr(fc, name)
    assert name in fc.__all__
    text = inspect.getdoc(function) or ""
    assert text.rstrip(), "no documentation"
    if inspect.signature(function).parameters:
        assert ">>>" in text, "no example"
    assert not text.startswith(" ")


def test_every_public_name_has_a_docstring():
    for name in fc.__all__:
        thing = getattr(fc, name) if name != "plots" else None
        if callable(thing) or inspect.ismodule(thing):
            assert inspect.getdoc(thing), name


@pytest.mark.parametrize(
    "name",
    [
        *("ops", "ops.updates", "ops.conv", "ops.transpose", "ops.depthwise", "ops.pooling", "ops.l2_pooling"),
        *("ops.normalization", "ops.dense", "ops.filters", "ops.activations"),
    ],
)
def test_examples_in_the_docstrings(name):
    module = importlib.import_module(f"fastconv.{name}")
    outcome = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert outcome.failed == 0


def test_signatures_are_the_contract():
    def signature(function):
        return [
            (name, p.kind == p.KEYWORD_ONLY, None if p.default is p.empty else p.default, p.default is p.empty)
            for name, p in inspect.signature(function).parameters.items()
        ]

    def contract(text):
        scope: dict = {}
        exec(f"def f({text}): pass", scope)
        return signature(scope["f"])

    window = "strides=1, padding='valid', dilation_rate=1"
    layout = "data_format='channels_last'"
    pool = f"pool_size=2, *, strides=None, padding='valid', {layout}"
    gradient_pool = f"pool_size=2, strides=None, padding='valid', {layout}"
    for name, text in {
        "conv2d": f"x, kernel, bias=None, *, {window}, groups=1, activation=None, {layout}, algorithm='auto', out=None",
        "conv2d_grad_input": f"grad_output, kernel, input_shape, *, {window}, groups=1, {layout}, algorithm='auto'",
        "conv2d_grad_kernel": f"x, grad_output, kernel_size, *, {window}, groups=1, {layout}, algorithm='auto'",
        "conv2d_transpose": "x, kernel, bias=None, *, strides=1, padding='valid', output_padding=None, "
        f"dilation_rate=1, {layout}",
        "depthwise_conv2d": f"x, kernel, bias=None, *, {window}, {layout}",
        "l2_pool2d": f"x, {pool}",
        "l2_pool2d_grad": f"grad_output, x, *, {gradient_pool}",
        "max_pool2d": f"x, {pool}, return_indices=False",
        "max_pool2d_grad": f"grad_output, indices, input_shape, *, {gradient_pool}",
        "avg_pool2d": f"x, {pool}, count_include_pad=False",
        "avg_pool2d_grad": f"grad_output, input_shape, *, {gradient_pool}, count_include_pad=False",
        "im2col": f"x, kernel_size, *, {window}",
        "col2im": f"cols, input_shape, kernel_size, *, {window}",
        "convolve2d": "in1, in2, mode='full', boundary='fill', fillvalue=0",
        "correlate2d": "in1, in2, mode='full', boundary='fill', fillvalue=0",
        "softmax": "x, axis=-1",
        "softmax_grad": "grad_output, y, axis=-1",
        "relu_grad": "grad_output, y",
    }.items():
        ours = signature(getattr(fc, name))
        expected = contract(text)
        assert ours[: len(expected)] == expected, name
        assert all(keyword_only for _, keyword_only, _, _ in ours[len(expected) :]), name


def test_names_that_keras_has_at_its_top():
    model = fc.Sequential([fc.Input((3,)), fc.layers.Dense(2)])
    assert type(model) is fc.models.Sequential
    assert model.output_shape == (None, 2)
