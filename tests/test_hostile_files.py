"""Files of strangers: every reader ends in a ValueError that names the file, runs nothing, and takes little memory.

`python -m pytest -m long tests/test_hostile_files.py` tries each reader on far more of them.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import textwrap
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fastconv import layers, models, utils
from fastconv.datasets import _idx

LONG = pytest.param("long", marks=pytest.mark.long)
SIZES = pytest.mark.parametrize("size", ["quick", LONG])


def make_model() -> models.Sequential:
    utils.set_random_seed(1)
    stack = [layers.Input((5, 5, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2, activation="softmax")]
    model = models.Sequential(stack, name="small")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.ones((4, 5, 5, 1), "float32"), [0, 1, 0, 1], verbose=0)
    return model


def model_files(folder: Path) -> dict[str, bytes]:
    """One file of each kind that a model writes."""
    model = make_model()
    contents = {}
    for name in ("m.keras", "m.weights.h5", "m.weights.npz"):
        path = folder / name
        model.save(path) if name.endswith(".keras") else model.save_weights(path)
        contents[name] = path.read_bytes()
    return contents


def load(path: Path, model: models.Sequential) -> None:
    models.load_model(path) if path.suffix == ".keras" else model.load_weights(path)


def tried(path: Path, data: bytes, model: models.Sequential) -> bool:
    """Whether the file was refused; it must be refused in the one way there is, and leave the model as it was."""
    path.write_bytes(data)
    before = [*model.get_weights(), *(variable.copy() for variable in model.optimizer.variables)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(path, model)
    except ValueError as error:
        assert str(error).startswith(f"Cannot load '{path}': "), error
        assert str(error).count("Cannot load") == 1
        assert len(str(error)) < 1000
        after = [*model.get_weights(), *model.optimizer.variables]
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, after, strict=True))
        return True
    return False


@SIZES
@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5", "m.weights.npz"])
def test_files_cut_off_at_every_length(name, size, tmp_path):
    whole, model = model_files(tmp_path)[name], make_model()
    lengths = range(len(whole)) if size == "long" else [*range(0, len(whole), 61), *range(len(whole) - 30, len(whole))]
    refused = sum(tried(tmp_path / name, whole[:length], model) for length in lengths)
    # The last bytes of HDF5 are padding, after which nothing is missed.
    assert refused >= len(lengths) - (64 if name.endswith("h5") else 0)
    assert len(lengths) > 50


def mutations(whole: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """Flipped bits, overwritten numbers, removed, doubled and moved pieces."""
    extremes = [0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            if not data:
                break
            at = rng.randrange(len(data))
            kind = rng.randrange(6)
            if kind == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[at] = rng.randrange(256)
            elif kind == 2:
                width, layout = rng.choice(((2, "<H"), (4, "<I"), (8, "<Q"), (4, ">I")))
                data[at : at + width] = struct.pack(layout, rng.choice(extremes) % 256**width)
            elif kind == 3:
                del data[at : at + rng.randrange(1, 40)]
            elif kind == 4:
                data[at:at] = data[at : at + rng.randrange(1, 40)]
            else:
                other = rng.randrange(len(data))
                data[at : at + 16] = data[other : other + 16]
        yield bytes(data)


@SIZES
@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5", "m.weights.npz"])
def test_fuzzed_model_files(name, size, tmp_path):
    whole, model = model_files(tmp_path)[name], make_model()
    count = 20_000 if size == "long" else 250
    refused = sum(tried(tmp_path / name, data, model) for data in mutations(whole, random.Random(name), count))
    assert refused > count // 10


@SIZES
def test_fuzzed_members_in_a_sound_archive(size, tmp_path):
    # A zip's checksums stop nearly all damage at the door; behind it stand the JSON and HDF5 readers.
    whole, model, rng = model_files(tmp_path)["m.keras"], make_model(), random.Random(7)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    count = 10_000 if size == "long" else 150
    refused = 0
    for name in ("config.json", "model.weights.h5"):
        for data in mutations(members[name], rng, count):
            refused += tried(tmp_path / "m.keras", archived(members | {name: data}), model)
    assert refused > count // 10


@SIZES
def test_configs_with_any_value_replaced(size, tmp_path):
    whole, model, rng = model_files(tmp_path)["m.keras"], make_model(), random.Random(8)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    values = [
        None, True, -1, 0, 3, 10**30, 1.5, 1e308, "", "relu", "../../etc/passwd", "__import__", [], {}, [1, 2, 3],
        {"class_name": "Lambda", "config": {}}, {"class_name": "eval"}, [[[[]]]], "x" * 5000, {"class_name": ["a"]},
    ]  # fmt: skip
    refused = count = 0
    for _ in range(10_000 if size == "long" else 300):
        config = json.loads(members["config.json"])
        place, key = rng.choice(list(places(config)))
        place[key] = rng.choice(values)
        data = archived(members | {"config.json": json.dumps(config).encode()})
        refused += tried(tmp_path / "m.keras", data, model)
        count += 1
    assert refused > count // 10


def places(value: object) -> Iterator[tuple[object, object]]:
    """Every (container, key) within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from places(item)


def archived(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


# Files made by hand, read with little memory


def npy(shape: str, descr: str = "'<f4'", data: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


class Evil:
    """Would leave a trace if it were ever unpickled."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('EVIL').touch()",)


def crafted(members: dict[str, bytes]) -> dict[str, bytes]:
    """Name → the bytes of a hostile .keras file."""
    bomb = bytes(120 * 2**20)
    config = members["config.json"]
    deep = b'{"class_name": "Sequential", "config": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    layers_of = lambda **change: json.dumps(  # noqa: E731
        {**json.loads(config), "config": {**json.loads(config)["config"], **change}}
    ).encode()
    npz = {
        f"npz header of {what}": archived(
            {"config.json": config, "model.weights.npz": archived({"layers/conv2d/vars/0.npy": data})}
        )
        for what, data in {
            "2**60 floats": npy("(1152921504606846976,)"),
            "an overflowing shape": npy("(4294967296, 4294967296, 4294967296)"),
            "a negative shape": npy("(-3, 3, 1, 2)"),
            "objects": npy("(1,)", "'|O'", pickle.dumps(Evil())),
            "code": npy("(__import__('pathlib').Path('EVIL').touch(),)"),
            "void": npy("(3,)", "'|V1000000000'"),
            "a huge header": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{" * 1000,
            "nothing": b"",
        }.items()
    }
    return npz | {
        "bomb of weights": archived({"config.json": config, "model.weights.h5": bomb}, zipfile.ZIP_DEFLATED),
        "bomb of config": archived({**members, "config.json": bomb}, zipfile.ZIP_DEFLATED),
        "bomb in bzip2": archived({**members, "config.json": bytes(20 * 2**20)}, zipfile.ZIP_BZIP2),
        "nested bomb": archived(
            {
                "config.json": config,
                "model.weights.npz": archived({"layers/conv2d/vars/0.npy": bomb}, zipfile.ZIP_DEFLATED),
            }
        ),
        "deep JSON": archived({**members, "config.json": deep}),
        "huge number": archived({**members, "config.json": b'{"class_name": ' + b"9" * 100_000 + b"}"}),
        "JSON of NaN": archived({**members, "config.json": b"NaN"}),
        "not UTF-8": archived({**members, "config.json": b"\xff\xfe\x00{"}),
        "pickled config": archived({**members, "config.json": pickle.dumps(Evil())}),
        "pickled weights": archived({**members, "model.weights.h5": pickle.dumps(Evil())}),
        "path traversal": archived({"../config.json": config, "/model.weights.h5": members["model.weights.h5"]}),
        "no members": archived({}),
        "too many layers": archived({**members, "config.json": layers_of(layers=[{"class_name": "ReLU"}] * 3000)}),
        "units beyond memory": archived(
            {
                **members,
                "config.json": layers_of(
                    layers=[
                        {"class_name": "InputLayer", "config": {"batch_shape": [None, 10**9]}},
                        {"class_name": "Dense", "config": {"units": 10**9}},
                    ]
                ),
            }
        ),
        "input beyond 64 bits": archived(
            {
                **members,
                "config.json": layers_of(
                    layers=[
                        {"class_name": "InputLayer", "config": {"batch_shape": [None, 2**62, 2**62, 2**62]}},
                        {"class_name": "Flatten", "config": {}},
                        {"class_name": "Dense", "config": {"units": 3}},
                    ]
                ),
            }
        ),
        "HDF5 signature alone": archived({"config.json": config, "model.weights.h5": b"\x89HDF\r\n\x1a\n"}),
        "pickle": pickle.dumps(Evil()),
        "empty": b"",
        "zip end alone": b"PK\x05\x06" + bytes(18),
        "zip of 2**32 entries": b"PK\x05\x06" + b"\xff" * 18,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS as Linux has it")
def test_crafted_model_files_run_nothing_and_take_little_memory(tmp_path):
    with zipfile.ZipFile(io.BytesIO(model_files(tmp_path)["m.keras"])) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    files = crafted(members)
    for i, data in enumerate(files.values()):
        (tmp_path / f"{i}.keras").write_bytes(data)
    read_with_little_memory(
        tmp_path,
        "from fastconv import models; load = models.load_model; model = models.load_model('m.keras')",
        [f"{i}.keras" for i in range(len(files))],
        list(files),
        allowed={"too many layers"},
    )
    assert not (tmp_path / "EVIL").exists()


def read_with_little_memory(folder: Path, prepare: str, paths: list[str], names: list[str], allowed: set[str]) -> None:
    """Each file in one process that may take 96 MB more than it has after its start; 10 s each at most."""
    script = textwrap.dedent("""
        import resource, signal, sys, warnings
        warnings.simplefilter("ignore")
        PREPARE
        now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 96 * 2**20,) * 2)
        for path in PATHS:
            signal.alarm(10)
            try:
                load(path)
                print("loaded", flush=True)
            except ValueError as error:
                print("refused" if path in str(error) else f"unnamed {error!r}"[:200].replace(chr(10), " "), flush=True)
            except BaseException as error:
                print(f"{type(error).__name__} {error}"[:200].replace(chr(10), " "), flush=True)
    """)
    script = script.replace("PREPARE", prepare).replace("PATHS", repr(paths))
    outcome = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=300)
    results = dict(zip(names, outcome.stdout.splitlines(), strict=False))
    wrong = {name: word for name, word in results.items() if word != "refused" and name not in allowed}
    assert not wrong, wrong
    assert len(results) == len(names), outcome.stderr[-500:]


# Data sets


def idx(array: np.ndarray) -> bytes:
    return _idx.idx_header(array.shape) + array.tobytes()


IMAGES = np.arange(20 * 784).reshape(20, 28, 28).astype("uint8")
LABELS = (np.arange(20) % 10).astype("uint8")


def refused_idx(path: Path, data: bytes, shape: tuple[int | None, ...]) -> bool:
    path.write_bytes(data)
    try:
        array = _idx.read_idx(path, shape)
    except _idx.DataFileError as error:
        assert str(error).startswith(str(path))
        return True
    assert array.nbytes < 2**20
    return False


@SIZES
@pytest.mark.parametrize("pack", [bytes, lambda data: gzip.compress(data, mtime=0)], ids=["raw", "gz"])
def test_fuzzed_data_set_files(pack: Callable[[bytes], bytes], size, tmp_path):
    path, rng = tmp_path / "file-idx", random.Random(9)
    count, step = (20_000, 1) if size == "long" else (150, 13)
    for array, shape in ((IMAGES[:3], (None, 28, 28)), (LABELS, (None,))):
        whole = pack(idx(array))
        refused = sum(refused_idx(path, whole[:length], shape) for length in range(0, len(whole), step))
        assert refused == len(range(0, len(whole), step))
        refused = sum(refused_idx(path, data, shape) for data in mutations(whole, rng, count))
        assert refused > count // 20


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS as Linux has it")
def test_crafted_data_set_files_take_little_memory(tmp_path):
    header = bytes((0, 0, 8, 3))
    bomb = gzip.compress(header + struct.pack(">III", 2**20, 28, 28) + bytes(120 * 2**20), mtime=0)
    labels_bomb = gzip.compress(idx(LABELS) + bytes(120 * 2**20), mtime=0)
    files = {
        "gzip bomb": bomb,
        "gzip bomb behind the labels": labels_bomb,
        "sizes of 2**32": header + b"\xff" * 12,
        "sizes whose product wraps": header + struct.pack(">III", 2**31, 2**31, 4),
        "a claim without content": header + struct.pack(">III", 10**6, 28, 28),
        "255 axes": bytes((0, 0, 8, 255)) + b"\x01" * 1020,
        "wrong magic": b"\x00\x01\x08\x03" + bytes(100),
        "floats": bytes((0, 0, 13, 3)) + struct.pack(">III", 1, 28, 28) + bytes(784 * 4),
        "empty": b"",
        "gzip of nothing": gzip.compress(b"", mtime=0),
        "a gzip header alone": gzip.compress(b"", mtime=0)[:10],
        "many empty gzip members": gzip.compress(b"", mtime=0) * 10_000,
        "wrong CRC": gzip.compress(idx(IMAGES), mtime=0)[:-8] + bytes(8),
        "pickle": pickle.dumps(Evil()),
    }
    good = {"train-images": IMAGES, "train-labels": LABELS, "t10k-images": IMAGES, "t10k-labels": LABELS}
    paths = []
    for i, data in enumerate(files.values()):
        folder = tmp_path / f"set{i}"
        folder.mkdir()
        for name, array in good.items():
            kind = "idx3" if "images" in name else "idx1"
            (folder / f"{name}-{kind}-ubyte").write_bytes(idx(array))
        (folder / "train-images-idx3-ubyte").write_bytes(data)
        paths.append(f"set{i}")
    npz = tmp_path / "npz"
    npz.mkdir()
    np.savez(npz / "right.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    with zipfile.ZipFile(npz / "right.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    archives = {
        "npz of 2**40 bytes": archived({**members, "x_train.npy": npy("(1402438301, 28, 28)", "'|u1'")}),
        "npz of objects": archived({**members, "x_train.npy": npy("(1,)", "'|O'", pickle.dumps(Evil()))}),
        "npz bomb": archived(
            {**members, "x_train.npy": npy("(150000, 28, 28)", "'|u1'", bytes(150000 * 784))}, zipfile.ZIP_DEFLATED
        ),
        "npz without labels": archived({name: data for name, data in members.items() if "y_" not in name}),
        "npz cut off": archived(members)[:-100],
        "npz of floats": archived({**members, "x_train.npy": npy("(2, 28, 28)", "'<f4'", bytes(2 * 784 * 4))}),
    }
    for i, data in enumerate(archives.values()):
        (npz / f"{i}.npz").write_bytes(data)
        paths.append(f"npz/{i}.npz")
    read_with_little_memory(
        tmp_path, "from fastconv.datasets import mnist; load = mnist.load_data; load('npz/right.npz')", paths,
        [*files, *archives], allowed=set(),
    )  # fmt: skip
    assert not (tmp_path / "EVIL").exists()


# Killed while saving


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@SIZES
def test_a_process_killed_while_it_saves_leaves_a_whole_file(size, tmp_path):
    path = tmp_path / "model.keras"
    make_model().save(path)
    script = textwrap.dedent("""
        import sys
        from fastconv import models
        model = models.load_model(sys.argv[1])
        print("ready", flush=True)
        while True:
            model.layers[0].weights[0][...] += 1
            model.save(sys.argv[1])
    """)
    rng = random.Random(3)
    for _ in range(100 if size == "long" else 4):
        child = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        first = models.load_model(path).layers[0].weights[0]
        assert np.isfinite(first).all()
    # What the kills left behind are unfinished copies beside it, never in its place.
    assert all(name == "model.keras" or name.startswith(".model.keras.") for name in os.listdir(tmp_path))
