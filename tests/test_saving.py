"""Files: round trips to the bit, Keras's layout, hostile files, atomic writes."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest

from fastconv import callbacks, layers, losses, metrics, models, optimizers, utils
from fastconv.models import hdf5


def make_model(optimizer="adam", **compile_options):
    utils.set_random_seed(3)
    model = models.Sequential(
        [
            layers.Input((8, 8, 2)),
            layers.Conv2D(3, 3, padding="same", activation="relu", kernel_regularizer="l2"),
            layers.MaxPooling2D(2),
            layers.Conv2D(4, 3, use_bias=False),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(5),
            layers.Dense(3, activation="softmax"),
        ],
        name="small",
    )
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | compile_options
    model.compile(optimizer, **options)
    return model


def make_data(n=24):
    generator = np.random.default_rng(1)
    return generator.normal(size=(n, 8, 8, 2)).astype("float32"), generator.integers(0, 3, n)


@pytest.fixture
def saved(tmp_path):
    """A trained model and its file."""
    model = make_model()
    model.fit(*make_data(), batch_size=8, epochs=2, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    return model, path


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.Adam(0.003),
        optimizers.Adam(amsgrad=True),
        optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        optimizers.SGD(),
        optimizers.RMSprop(momentum=0.5, centered=True),
    ],
    ids=["adam", "amsgrad", "momentum", "sgd", "rmsprop"],
)
def test_a_loaded_model_predicts_and_trains_on_identically(optimizer, tmp_path):
    model, (x, y) = make_model(type(optimizer).from_config(optimizer.get_config())), make_data()
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    twin = models.load_model(tmp_path / "m.keras")
    assert np.array_equal(twin.predict(x), model.predict(x))
    assert twin.name == "small"
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    assert twin.optimizer.get_config() == model.optimizer.get_config()
    assert twin.optimizer.iterations == 6
    for one in (model, twin):
        utils.set_random_seed(5)
        one.fit(x, y, batch_size=8, epochs=2, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.get_weights(), strict=True))
    assert model.history.history == twin.history.history


def test_compile_settings_come_back(tmp_path):
    model = make_model(
        loss=losses.SparseCategoricalCrossentropy(ignore_class=7), metrics=[metrics.SparseCategoricalAccuracy("acc")]
    )
    model.save(tmp_path / "m.keras")
    twin = models.load_model(tmp_path / "m.keras")
    assert twin.loss.get_config() == model.loss.get_config()
    x, y = make_data()
    assert list(twin.evaluate(x, y, verbose=0, return_dict=True)) == ["loss", "acc"]
    assert not models.load_model(tmp_path / "m.keras", compile=False).compiled


def test_unbuilt_uncompiled_and_shapeless_models(tmp_path):
    path = tmp_path / "m.keras"
    models.Sequential([layers.Flatten(), layers.Dense(2)]).save(path)
    assert not models.load_model(path).built
    model = models.Sequential([layers.Flatten(), layers.Dense(2)])
    x = np.ones((3, 4, 5), "float32")
    expected = model(x)
    model.save(path)
    twin = models.load_model(path)
    assert twin.built
    assert not twin.compiled
    assert np.array_equal(twin(x), expected)


def test_float64_comes_back_exactly(tmp_path):
    model = models.Sequential([layers.Input((4,), dtype="float64"), layers.Dense(3, dtype="float64")])
    model.save(tmp_path / "m.keras")
    twin = models.load_model(tmp_path / "m.keras")
    assert twin.get_weights()[0].dtype == np.float64
    assert np.array_equal(twin.get_weights()[0], model.get_weights()[0])


def test_loading_leaves_the_random_numbers_alone(saved):
    from fastconv import _random

    model, path = saved
    del model
    utils.set_random_seed(1)
    expected = _random.default_generator().random()
    utils.set_random_seed(1)
    loaded = models.load_model(path, compile=False)
    assert loaded.built
    # Layers draw their initialisers' seeds when made; nothing beyond that.
    utils.set_random_seed(1)
    assert _random.default_generator().random() == expected


def test_the_layout_is_that_of_keras(saved):
    model, path = saved
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {"config.json", "metadata.json", "model.weights.h5"}
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        config = json.loads(archive.read("config.json"))
        weights = hdf5.File(archive.read("model.weights.h5"))
    assert (config["module"], config["class_name"], config["registered_name"]) == ("keras", "Sequential", None)
    classes = [layer["class_name"] for layer in config["config"]["layers"]]
    assert classes == ["InputLayer", *[type(layer).__name__ for layer in model.layers]]
    assert config["config"]["build_input_shape"] == [None, 8, 8, 2]
    for group, layer in (("conv2d", 0), ("conv2d_1", 2), ("dense", 5), ("dense_1", 6)):
        stored = weights.group(f"layers/{group}/vars")
        for i, weight in enumerate(model.layers[layer].weights):
            assert np.array_equal(stored[str(i)].read(), weight)
    assert weights.group("layers/re_lu/vars") == {}
    assert len(weights.group("optimizer/vars")) == 2 + 2 * len(model.trainable_weights)


def test_hdf5_is_what_h5py_reads_and_writes(rng):
    h5py = pytest.importorskip("h5py")
    tree = {
        "a": {
            "vars": {"0": rng.random((3, 4), dtype="f"), "1": rng.random(5), "2": np.array(7, np.int32)},
            "empty": {},
        },
        "many": {str(i): np.float32(i) for i in range(700)},
        "none": np.zeros((0, 3)),
    }
    with h5py.File(io.BytesIO(hdf5.dump(tree))) as file:
        assert set(file) == {"a", "many", "none"}
        assert np.array_equal(file["a/vars/0"][()], tree["a"]["vars"]["0"])
        assert file["a/vars/1"].dtype == np.float64
        assert file["a/vars/2"][()] == 7
        assert len(file["a/empty"]) == 0
        assert all(file["many"][name][()] == value for name, value in tree["many"].items())
        assert file["none"].shape == (0, 3)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path in ("x/vars", "y/z/vars"):
            group = file.create_group(path)
            group.attrs["name"] = "long" * 100
            for i in range(300):
                group[str(i)] = np.full(i % 4, i, [">f8", "<f4", "<i8", "<f2"][i % 4])
    ours = hdf5.File(buffer.getvalue())
    for path in ("x/vars", "y/z/vars"):
        group = ours.group(path)
        assert len(group) == 300
        for i in range(300):
            assert group[str(i)].read().tolist() == [i] * (i % 4)
    assert ours.group("x/other") == {}


def test_weights_alone(saved, tmp_path):
    model, path = saved
    for name in ("a.weights.h5", "a.weights.npz"):
        model.save_weights(tmp_path / name)
        twin = make_model()
        twin.load_weights(tmp_path / name)
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.get_weights(), strict=True))
    twin = make_model()
    twin.load_weights(path)
    assert np.array_equal(twin.get_weights()[0], model.get_weights()[0])
    with np.load(tmp_path / "a.weights.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["layers/dense/vars/0"], model.layers[5].weights[0])


def test_weights_that_do_not_fit_change_nothing(saved, tmp_path):
    model, _ = saved
    model.save_weights(tmp_path / "a.weights.h5")
    other = models.Sequential([layers.Input((4,)), layers.Dense(3)])
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"layer 'dense.*' has weights of shapes \[\(4, 3\), \(3,\)\]"):
        other.load_weights(tmp_path / "a.weights.h5")
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))
    with pytest.raises(ValueError, match=r"must end in \.weights\.h5"):
        other.load_weights("a.txt")
    with pytest.raises(ValueError, match="isn't built"):
        models.Sequential([layers.Dense(2)]).load_weights(tmp_path / "a.weights.h5")


def test_file_names_and_overwriting(saved, tmp_path):
    model, path = saved
    with pytest.raises(ValueError, match=r"must end in \.keras"):
        model.save(tmp_path / "model.h5")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(path, overwrite=False)
    with pytest.raises(FileNotFoundError):
        models.load_model(tmp_path / "none.keras")
    model.save(str(path))


def test_a_failed_save_leaves_the_old_file_whole(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()
    model.layers[0].weights[0][...] = 0

    def fail(*_):
        raise OSError("disk full")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(OSError, match="disk full"):
                model.save(path)
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == ["model.keras"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links as POSIX has them")
def test_a_save_keeps_permissions_and_links(saved):
    model, path = saved
    path.chmod(0o640)
    link = path.with_name("link.keras")
    link.symlink_to(path)
    model.save(link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640


# Hostile files


class Evil:
    """Would leave a trace if it were ever unpickled."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('EVIL').touch()",)


def rewrite(path, **members):
    """The archive with members replaced (bytes), or left out (None); dots in names are written as __."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    for name, data in members.items():
        contents[name.replace("__", ".")] = data
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            if data is not None:
                archive.writestr(name, data)


def change_config(path, change):
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    change(config)
    rewrite(path, config__json=json.dumps(config).encode())


def refused(path, message):
    with pytest.raises(ValueError, match=message):
        models.load_model(path)


def test_pickles_are_never_opened(saved, tmp_path, monkeypatch):
    _, path = saved
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    np.savez(buffer, **{"layers/conv2d/vars/0": np.array([Evil()], object)})
    rewrite(path, model__weights__h5=None, model__weights__npz=buffer.getvalue())
    refused(path, "never objects")
    rewrite(path, model__weights__npz=pickle.dumps(Evil()))
    refused(path, "weights are damaged")
    rewrite(path, config__json=pickle.dumps(Evil()))
    refused(path, "not JSON")
    path.write_bytes(pickle.dumps(Evil()))
    refused(path, "not a .keras file")
    assert not (tmp_path / "EVIL").exists()


def test_plain_npz_weights_are_read(saved, tmp_path):
    model, path = saved
    model.save_weights(tmp_path / "w.weights.npz")
    rewrite(path, model__weights__h5=None, model__weights__npz=(tmp_path / "w.weights.npz").read_bytes())
    twin = models.load_model(path)
    assert np.array_equal(twin.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(
    ("class_name", "module"),
    [("Lambda", "keras.layers"), ("system", "os"), ("Layer", "keras.layers"), ("__import__", "builtins"), (None, None)],
)
def test_unknown_classes_are_refused(saved, class_name, module):
    _, path = saved
    change_config(path, lambda c: c["config"]["layers"][3].update(class_name=class_name, module=module))
    refused(path, "Cannot load")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["config"]["layers"][7]["config"].update(units=2**40),
            r"has shape \(5, 1099511627776\), the file holds",
        ),
        (lambda c: c["config"]["layers"][7]["config"].update(units="3"), "units"),
        (lambda c: c["config"]["layers"][1]["config"].update(kernel_initializer={"class_name": "eval"}), "initializer"),
        (lambda c: c["config"]["layers"][1]["config"].update(surprise=1), "surprise"),
        (lambda c: c["config"].update(layers=5), "'layers'"),
        (lambda c: c["config"]["layers"].append(5), "layer"),
        (lambda c: c["config"]["layers"].insert(3, json.loads(json.dumps(c))), "within a model"),
        (lambda c: c["config"]["layers"][0]["config"].update(batch_shape=[None, -1]), "batch_shape|negative"),
        (lambda c: c.update(class_name="Functional"), "Functional; fastconv loads Sequential"),
    ],
)
def test_wrong_configs_are_refused(saved, change, message):
    _, path = saved
    change_config(path, change)
    refused(path, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["optimizer"].update(class_name="Lion"), "'Lion'"),
        (lambda c: c["optimizer"]["config"].update(learning_rate={"class_name": "system", "config": {}}), "'system'"),
        (
            lambda c: c["optimizer"]["config"].update(learning_rate=10**400),
            "learning_rate must be at least 0 and finite",
        ),
        (lambda c: c["optimizer"]["config"].update(surprise=1), "'surprise'"),
        (lambda c: c.update(loss={"class_name": "eval", "config": {}}), "'eval'"),
        (lambda c: c.update(metrics=[{"class_name": "exec", "config": {}}]), "'exec'"),
        (lambda c: c.update(weighted_metrics=5), "not iterable"),
    ],
)
def test_compile_settings_that_are_not_known_cost_the_compilation_only(saved, change, message):
    model, path = saved
    change_config(path, lambda c: change(c["compile_config"]))
    with pytest.warns(UserWarning, match=f"not compiled: .*{message}"):
        twin = models.load_model(path)
    assert not twin.compiled
    x, _ = make_data()
    assert np.array_equal(twin.predict(x), model.predict(x))


def test_damaged_archives_are_refused(saved):
    _, path = saved
    whole = path.read_bytes()
    refused_sizes = 0
    for size in (0, 10, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="Cannot load"):
            models.load_model(path)
        refused_sizes += 1
    assert refused_sizes == 5
    path.write_bytes(whole)
    rewrite(path, model__weights__h5=None)
    refused(path, "has no model.weights.npz")
    rewrite(path, config__json=b"[" * 100_000)
    refused(path, "not JSON")


def test_random_damage_ends_in_value_errors(saved, rng):
    _, path = saved
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    for trial in range(150):
        damaged = bytearray(weights)
        for _ in range(int(rng.integers(1, 12))):
            # Most of the structure stands between the arrays, some of it behind them.
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        if trial % 3 == 0:
            damaged = damaged[: int(rng.integers(len(damaged)))]
        rewrite(path, model__weights__h5=bytes(damaged))
        try:
            models.load_model(path)
        except ValueError as error:
            assert "Cannot load" in str(error)


def test_bombs_are_refused(saved):
    _, path = saved
    for name in ("model.weights.h5", "config.json"):
        with zipfile.ZipFile(path) as archive:
            contents = {member: archive.read(member) for member in archive.namelist()}
        contents[name] = bytes(64 * 2**20)
        bomb = path.with_name("bomb.keras")
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in contents.items():
                archive.writestr(member, data)
        refused(bomb, "declares 67,108,864 bytes")


def test_npz_headers_are_checked_before_memory_is_taken(saved):
    _, path = saved
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
        archive.writestr("layers/conv2d/vars/0.npy", header.getvalue())
    rewrite(path, model__weights__h5=None, model__weights__npz=buffer.getvalue())
    refused(path, "the file holds one of shape")


def test_custom_layers_and_function_metrics(tmp_path):
    class Doubling(layers.Layer):
        def call(self, x, training=False):
            self._keep(training, x.shape)
            return 2 * x

    model = models.Sequential([layers.Input((3,)), Doubling(), layers.Dense(2)])
    path = tmp_path / "m.keras"
    model.compile("sgd", "mse", metrics=[lambda y, p: np.zeros(len(y))])
    with pytest.warns(UserWarning, match="is a function and is not saved"):
        model.save(path)
    refused(path, "Doubling")
    twin = models.load_model(path, custom_objects={"Doubling": Doubling})
    x = np.ones((1, 3), "float32")
    assert np.array_equal(twin(x), model(x))


def test_checkpoint_of_a_running_training_can_be_continued(tmp_path):
    x, y = make_data()
    model = make_model()
    saver = callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    model.fit(x, y, epochs=2, shuffle=False, batch_size=8, callbacks=[saver], verbose=0)
    twin = models.load_model(tmp_path / "1.keras")
    twin.fit(x, y, epochs=2, initial_epoch=1, shuffle=False, batch_size=8, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.get_weights(), strict=True))


def test_keras_reads_our_files_and_we_read_its(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "jax"))
    try:
        import keras
    except ImportError:
        pytest.skip("keras and a backend are not installed")
    model, path = saved
    x, y = make_data()
    theirs = keras.models.load_model(path)
    # The two sum in different orders: a few units in the last place of numbers of about 1.
    assert np.max(np.abs(theirs.predict(x, verbose=0) - model.predict(x))) < 1e-5
    assert int(np.asarray(theirs.optimizer.iterations)) == model.optimizer.iterations
    theirs.fit(x, y, epochs=1, shuffle=False, verbose=0)
    theirs.save(tmp_path / "theirs.keras")
    back = models.load_model(tmp_path / "theirs.keras")
    assert np.max(np.abs(theirs.predict(x, verbose=0) - back.predict(x))) < 1e-5
    assert back.optimizer.iterations == model.optimizer.iterations + 1
    model.fit(x, y, epochs=1, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), back.get_weights(), strict=True):
        assert np.max(np.abs(a - b)) < 1e-4
