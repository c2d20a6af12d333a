"""Wrong calls of models, losses, metrics, optimisers, callbacks, utils, plots and data sets: call, error, its words."""

from __future__ import annotations

import inspect
from typing import Any

import bad_input
import numpy as np
import pytest

import fastconv as fc
from fastconv import callbacks, datasets, layers, losses, metrics, models, optimizers, plots, utils
from fastconv.optimizers import schedules

V, T = ValueError, TypeError

# A model of Input((6, 6, 1)) with three classes, compiled, trained for two steps.
MODEL: list[bad_input.Case] = [
    (f"model.{name}({arguments})", error, pattern)
    for name in ("fit", "evaluate", "train_on_batch", "test_on_batch")
    for arguments, error, pattern in (
        ("None, Y", T, "x must be"),
        ("'images', Y", T, "x must be"),
        ("X.astype('uint8'), Y", T, r'images of bytes: x\.astype\("float32"\) / 255'),
        ("X.astype('int32'), Y", T, r'x\.astype\("float32"\)'),
        ("X.astype('complex64'), Y", T, "complex64"),
        ("X.astype(object), Y", T, "object"),
        (
            "X[0], Y",
            V,
            r"x must be a batch \(n, 6, 6, 1\), received x\.shape=\(6, 6, 1\), which is one sample.*x\[None\]",
        ),
        ("X[:, :5], Y", V, "expected|incompatible"),
        ("np.zeros((12, 6, 6, 2), 'f'), Y", V, "incompatible with the layer"),
        ("X[:, 0, 0], Y", V, "ndim"),
        ("np.float32(1), Y", V, "batch axis"),
        ("X[:0], Y[:0]", V, "x has no samples"),
        ("X", V, "y is missing"),
        ("X, Y[:-1]", V, r"same length, received x\.shape=\(12, 6, 6, 1\), y\.shape=\(11,\)"),
        ("X, 3", V, "y is a scalar"),
        ("X, Y + 1", V, "labels must be 0 … 2, received 3 at index"),
        ("X, Y - 1", V, "labels must be 0 … 2, received -1 at index"),
        ("X, Y + 2.0**63", V, "labels must be 0 … 2"),
        ("X, np.where(Y == 1, np.nan, Y)", V, "labels hold NaN or Inf"),
        ("X, np.where(Y == 1, np.inf, Y)", V, "labels hold NaN or Inf"),
        ("X, Y + 0.5", V, "labels must be integers, received"),
        ("X, np.eye(3)[Y]", V, "One-hot rows want loss='categorical_crossentropy'"),
        ("X, Y.reshape(3, 4)", V, "same length"),
        ("X, ['a'] * 12", T, "y must hold numbers"),
        ("X, Y * 1j", T, "y must hold numbers, received dtype complex128"),
        ("X, Y, sample_weight=np.ones(11)", V, r"one weight per sample \(12\), received shape \(11,\)"),
        ("X, Y, sample_weight=2", V, "one weight per sample"),
        ("X, Y, sample_weight=['a'] * 12", T, "sample_weight must hold numbers"),
        ("X, Y, sample_weight=np.full(12, np.nan)", V, "sample_weight holds NaN or Inf"),
    )
] + [
    ("model.fit(X, Y, batch_size=0)", V, "batch_size must be at least 1.*received 0"),
    ("model.fit(X, Y, batch_size=-4)", V, "batch_size must be at least 1.*received -4"),
    ("model.fit(X, Y, batch_size=2.5)", T, "batch_size must be an integer, received 2.5"),
    ("model.fit(X, Y, batch_size='all')", T, "batch_size must be an integer"),
    ("model.fit(X, Y, batch_size=True)", T, "batch_size must be an integer, received True of type bool"),
    ("model.fit(X, Y, epochs=-1)", V, "epochs must be at least 0.*received -1"),
    ("model.fit(X, Y, epochs=1.0)", T, "epochs must be an integer, received 1.0"),
    ("model.fit(X, Y, epochs=None)", T, "epochs must be an integer"),
    ("model.fit(X, Y, initial_epoch=-2)", V, "initial_epoch must be at least 0.*received -2"),
    ("model.fit(X, Y, initial_epoch='0')", T, "initial_epoch must be an integer"),
    ("model.fit(X, Y, verbose=3)", V, "verbose must be one of 'auto', 0, 1, 2, received 3"),
    ("model.fit(X, Y, verbose='loud')", V, "verbose must be one of"),
    (
        "model.fit(X, Y, callbacks=3)",
        T,
        r"callbacks must be fastconv\.callbacks\.Callback objects, received 3 of type int",
    ),
    ("model.fit(X, Y, callbacks=[callbacks.EarlyStopping])", T, "callbacks must be"),
    ("model.fit(X, Y, validation_split=1.0)", V, "leaves 0 to train on"),
    ("model.fit(X, Y, validation_split=-0.1)", V, "validation_split must be at least 0 and at most 1"),
    ("model.fit(X, Y, validation_split=np.nan)", V, "validation_split must be"),
    ("model.fit(X, Y, validation_split='0.1')", T, "validation_split must be a number"),
    ("model.fit(X, Y[:-1], validation_split=0.5)", V, "same length"),
    ("model.fit(X, Y, validation_data=5)", T, r"validation_data must be a tuple \(x, y\).*received 5 of type int"),
    ("model.fit(X, Y, validation_data=(X,))", T, "validation_data must be a tuple"),
    ("model.fit(X, Y, validation_data=(X, Y + 5))", V, "validation_data: labels must be"),
    ("model.fit(X, Y, validation_data=(X, Y[:3]))", V, "validation_data: x and y must have the same length"),
    ("model.fit(X, Y, class_weight=[1, 2])", T, "class_weight must be a dict"),
    ("model.fit(X, Y, class_weight={0: np.nan})", V, r"class_weight\[0\]"),
    ("model.fit(X, Y, class_weight={0: 'a'})", T, r"class_weight\[0\] must be a number"),
    ("model.fit(X, Y, class_weight={0.5: 1})", T, "a key of class_weight must be an integer"),
    ("model.fit(X, Y, sample_weight=np.ones(12), class_weight={0: 1})", V, "Give one of them"),
    ("model.evaluate(X, Y, batch_size=0)", V, "batch_size must be at least 1"),
    ("model.evaluate(X, Y, verbose='loud')", V, "verbose must be one of"),
    ("model.evaluate(X, Y, callbacks=3)", T, "callbacks must be"),
    ("model.predict(X[0])", V, r"which is one sample\. Add the batch axis: x\[None\]"),
    ("model.predict(X.astype('uint8'))", T, "images of bytes"),
    ("model.predict(np.zeros((2, 7, 6, 1), 'f'))", V, "incompatible|expected"),
    ("model.predict(X, batch_size=0)", V, "batch_size must be at least 1"),
    ("model.predict(X, verbose=7)", V, "verbose must be one of"),
    ("model.predict(X, callbacks=[1])", T, "callbacks must be"),
    ("model.predict('a')", T, "x must be"),
    ("model.predict_on_batch(X[0])", V, "which is one sample"),
    ("model(X[0])", V, "which is one sample"),
    ("model(None)", T, "x must be"),
    ("model.backward(X)", (V, RuntimeError), "backward needs the forward pass|grad_output"),
    ("model.compile('adamm', 'mse')", V, "'adamm'.*Known: .*adam"),
    ("model.compile('adam', 'msee')", V, "'msee'.*Known: "),
    ("model.compile('adam', 'mse', metrics=['accuracies'])", V, "unknown metric 'accuracies'"),
    ("model.compile('adam', 'mse', metrics=[5])", (V, T), "metric"),
    ("model.compile(5, 'mse')", (V, T), "optimizer"),
    ("model.compile('adam', 5)", (V, T), "loss"),
    ("model.compile('adam', losses.MeanSquaredError(reduction=None))", V, "no reduction"),
    ("model.set_weights([])", V, "weight list of length 0"),
    ("model.set_weights(model.get_weights()[::-1])", V, "is not compatible with provided weight shape"),
    ("model.set_weights(None)", V, "takes a list of arrays"),
    ("model.set_weights([*model.get_weights()[:-1], 'abc'])", (V, T), "must hold numbers"),
    ("model.get_layer()", V, "give a name or an index"),
    ("model.get_layer('conv')", V, "unknown layer 'conv'. Known: "),
    ("model.get_layer(index=99)", V, "unknown index 99"),
    ("model.get_layer(index='a')", T, "index must be an integer"),
    ("model.add(5)", T, "layer must be a fastconv layer, received 5 of type int"),
    ("model.add(layers.Dense)", T, "layer must be a fastconv layer"),
    ("model.add(models.Sequential([layers.Flatten()]))", T, "a model's layers are added one by one"),
    ("model.add(layers.Input((3,)))", V, "an Input must be the first layer"),
    ("model.add(model.layers[-1])", V, "is in this model already"),
    ("model.add(layers.Conv2D(3, 2))", V, "expected min_ndim=4, found ndim=2"),
    ("model.build((None, 7, 7, 1))", V, "the input shape is .* already, received"),
    ("model.build(5)", V, "input_shape must be a tuple"),
    ("model.compute_output_shape((None, 6, 6, 2))", V, "incompatible"),
    ("model.save('model.h5')", V, r"must end in \.keras"),
    ("model.save(5)", T, "str, bytes or os.PathLike|filepath"),
    ("model.save('/nowhere/at/all/model.keras')", FileNotFoundError, "nowhere"),
    ("model.save_weights('weights.txt')", V, r"must end in \.weights\.h5 or \.weights\.npz"),
    ("model.load_weights('weights.txt')", V, "must end in"),
    ("model.load_weights('/nowhere/w.weights.h5')", FileNotFoundError, "nowhere"),
    ("models.load_model('/nowhere/m.keras')", FileNotFoundError, "nowhere"),
    ("models.load_model(5.0)", T, "os.PathLike object, not float"),
    ("models.Sequential(5)", T, "layers must be"),
    ("models.Sequential([5])", T, "layer must be a fastconv layer"),
    ("models.Sequential(name='a/b')", V, "cannot contain character `/`"),
    ("models.Sequential().predict(X)", V, "the model has no layers"),
    ("models.Sequential().fit(X, Y)", V, "the model has no layers"),
    ("models.Sequential().pop()", V, "there is no layer to pop"),
    ("models.Sequential([layers.Dense(3)]).fit(X, Y)", V, r"Call model\.compile"),
    ("models.Sequential([layers.Dense(3)]).count_params()", V, "isn't built"),
    ("models.Sequential([layers.Dense(3)]).save_weights('a.weights.h5')", V, "isn't built"),
    ("models.Sequential.from_config(5)", T, "config must be a dict with 'name' and 'layers', received 5 of type int"),
    ("models.Sequential.from_config({'layers': 5})", T, "config must be a dict"),
    ("models.Sequential.from_config({'layers': [5]})", V, "Could not interpret layer identifier: 5"),
]

P, Y1 = "np.full((4, 3), 1 / 3)", "[0, 1, 2, 0]"
LOSSES: list[bad_input.Case] = (
    [
        (f"losses.{kind}()({y}, {p})", error, pattern)
        for kind in ("MeanSquaredError", "MeanAbsoluteError", "Huber", "BinaryCrossentropy", "CategoricalCrossentropy")
        for y, p, error, pattern in (
            ("np.ones((4, 2))", P, V, r"targets must have the predictions' shape \(4, 3\), received y\.shape=\(4, 2\)"),
            ("np.ones((3, 3))", P, V, "targets must have the predictions' shape"),
            ("np.full((4, 3), np.nan)", P, V, "targets hold NaN or Inf"),
            ("np.full((4, 3), np.inf)", P, V, "targets hold NaN or Inf"),
            ("None", P, T, "y must"),
            ("[['a', 'b', 'c']] * 4", P, T, "y must hold numbers"),
            ("np.ones((4, 3))", "None", T, "y_pred must"),
            ("np.ones((4, 3))", "'p'", T, "y_pred must"),
            ("np.ones((4, 3))", "np.ones((4, 3), 'c8')", T, "complex64"),
        )
    ]
    + [
        (f"losses.SparseCategoricalCrossentropy()({y}, {P})", error, pattern)
        for y, error, pattern in (
            ("[0, 1, 2, 3]", V, "labels must be 0 … 2, received 3 at index 3"),
            ("[0, 1, 2, -1]", V, "received -1 at index 3"),
            ("[0, 1, 2, np.nan]", V, "labels hold NaN"),
            ("[0, 1, 2, 0.5]", V, "labels must be integers"),
            ("[0, 1, 2]", V, r"labels must have shape \(4,\)"),
            ("np.eye(4, 3)", V, "One-hot rows want loss='categorical_crossentropy'"),
            ("['a'] * 4", T, "must hold numbers"),
        )
    ]
    + [
        (
            "losses.CategoricalCrossentropy()([0, 1, 2, 0], np.full((4, 3), 1 / 3))",
            V,
            "Integer labels want loss='sparse_categorical_crossentropy'",
        ),
        ("losses.MeanSquaredError()(np.ones((4, 3)), np.ones((4, 3)), sample_weight=np.ones(3))", V, "sample_weight"),
        ("losses.MeanSquaredError()(np.ones((4, 3)), np.ones((4, 3)), sample_weight='a')", (V, T), "sample_weight"),
        ("losses.MeanSquaredError(reduction='average')", V, "reduction.*'average'"),
        ("losses.BinaryCrossentropy(label_smoothing=2)", V, "label_smoothing must be at least 0 and at most 1"),
        ("losses.BinaryCrossentropy(label_smoothing='a')", T, "label_smoothing must be a number"),
        ("losses.CategoricalCrossentropy(label_smoothing=-1)", V, "label_smoothing must be"),
        ("losses.CategoricalCrossentropy(axis='a')", T, "axis must be an integer"),
        ("losses.Huber(delta=0)", V, "delta must be"),
        ("losses.Huber(delta='a')", T, "delta must be a number"),
        ("losses.SparseCategoricalCrossentropy(ignore_class=0.5)", T, "ignore_class must be an integer"),
        ("losses.Loss(dtype='text')", V, "dtype"),
        ("losses.get('msee')", V, "'msee'.*Known"),
        ("losses.get(5)", (V, T), "5"),
        ("losses.deserialize({'class_name': 'eval', 'config': {}})", V, "'eval'"),
        ("losses.deserialize({'class_name': 'Huber', 'config': {'odd': 1}})", (V, T), "odd"),
        ("losses.serialize(5)", (V, T), "5"),
        ("losses.mean_squared_error(np.ones(3), np.ones(4))", V, "shape"),
        ("losses.mean_absolute_error(np.ones(3), 'a')", T, "must"),
        ("losses.huber(np.ones(3), np.ones(3), delta=-1)", V, "delta"),
        ("losses.categorical_crossentropy(np.ones(3), np.ones((3, 3)))", V, "shape"),
        ("losses.binary_crossentropy(np.ones(3), np.ones((3, 3)))", V, "shape"),
        ("losses.sparse_categorical_crossentropy([5], np.ones((1, 3)))", V, "labels must be 0 … 2"),
        ("losses.categorical_crossentropy(np.ones((3, 3)), np.ones((3, 3)), axis=9)", V, "axis"),
    ]
)

METRICS: list[bad_input.Case] = [
    (f"metrics.{kind}().update_state({y}, {p})", error, pattern)
    for kind in (
        "BinaryAccuracy",
        "CategoricalAccuracy",
        "MeanSquaredError",
        "MeanAbsoluteError",
        "RootMeanSquaredError",
        "Precision",
        "Recall",
    )
    for y, p, error, pattern in (
        ("np.ones((4, 2))", P, V, "shape"),
        ("np.ones((3, 3))", P, V, "shape|length"),
        ("None", P, T, "must"),
        ("np.ones((4, 3))", "'p'", T, "must"),
        ("np.ones((4, 3))", "None", T, "must"),
    )
] + [
    ("metrics.SparseCategoricalAccuracy().update_state([0, 1], np.ones((3, 3)))", V, "shape|length"),
    ("metrics.SparseCategoricalAccuracy().update_state([0, 1, 'a'], np.ones((3, 3)))", T, "must"),
    ("metrics.SparseTopKCategoricalAccuracy(k=0)", V, "k must be at least 1"),
    ("metrics.SparseTopKCategoricalAccuracy(k='a')", T, "k must be an integer"),
    ("metrics.SparseTopKCategoricalAccuracy().update_state([0, 1], np.ones((3, 9)))", V, "shape|length"),
    ("metrics.TopKCategoricalAccuracy(k=1.5)", T, "k must be an integer"),
    ("metrics.TopKCategoricalAccuracy().update_state(np.ones((2, 9)), np.ones((3, 9)))", V, "shape|length"),
    ("metrics.BinaryAccuracy(threshold='a')", T, "threshold must be a number"),
    ("metrics.Precision(thresholds=2)", V, "thresholds"),
    ("metrics.Precision(thresholds=['a'])", (V, T), "thresholds"),
    ("metrics.Precision(top_k=0)", V, "top_k"),
    ("metrics.Recall(class_id=-1)", V, "class_id"),
    ("metrics.Recall(class_id=7).update_state(np.ones((4, 3)), np.ones((4, 3)))", V, "class_id"),
    ("metrics.Accuracy().update_state([1, 2], [1, 2, 3])", V, "shape|length"),
    ("metrics.Mean().update_state('a')", (V, T), "."),
    ("metrics.Mean().update_state([1.0, 2.0], sample_weight=[1, 2, 3])", V, "."),
    ("metrics.Mean(name=5)", (V, T), "name"),
    ("metrics.Mean(dtype='text')", V, "dtype"),
    ("metrics.MeanMetricWrapper(5)", (V, T), "fn"),
    ("metrics.BinaryCrossentropy(label_smoothing=3)", V, "label_smoothing"),
    ("metrics.CategoricalCrossentropy().update_state(np.ones((4, 2)), np.ones((4, 3)))", V, "shape"),
    ("metrics.SparseCategoricalCrossentropy().update_state([9], np.ones((1, 3)))", V, "labels must be"),
    ("metrics.Metric().result()", NotImplementedError, ""),
    ("metrics.get('accuracies')", V, "unknown metric 'accuracies'. Known: "),
    ("metrics.get(5)", (V, T), "5"),
    ("metrics.deserialize({'class_name': 'exec', 'config': {}})", V, "'exec'"),
    ("metrics.confusion_matrix([0, 1], [0, 1, 2])", V, "same length"),
    ("metrics.binary_accuracy([0, 1], [0.5])", V, "shape|length"),
    ("metrics.categorical_accuracy(np.ones((2, 3)), np.ones((2, 4)))", V, "shape"),
    ("metrics.sparse_categorical_accuracy([0], np.ones((2, 4)))", V, "shape|length"),
    ("metrics.top_k_categorical_accuracy(np.ones((2, 3)), np.ones((2, 3)), k=0)", V, "k must be"),
    ("metrics.sparse_top_k_categorical_accuracy([0], np.ones((1, 3)), k='a')", T, "k must be"),
]

OPTIMIZERS: list[bad_input.Case] = [
    (f"optimizers.{kind}({argument}={value})", error, pattern)
    for kind in ("SGD", "Adam", "AdamW", "RMSprop")
    for argument, value, error, pattern in (
        ("learning_rate", "-0.1", V, f"{kind}: learning_rate must be at least 0"),
        ("learning_rate", "np.nan", V, f"{kind}: learning_rate must be"),
        ("learning_rate", "np.inf", V, f"{kind}: learning_rate must be"),
        ("learning_rate", "'fast'", (V, T), f"{kind}: learning_rate must be"),
        ("learning_rate", "10**400", V, f"{kind}: learning_rate must be"),
        ("weight_decay", "-1", V, "weight_decay"),
        ("weight_decay", "'a'", (V, T), "weight_decay"),
        ("clipnorm", "-1", V, "clipnorm"),
        ("clipnorm", "0", V, "clipnorm"),
        ("clipvalue", "'a'", (V, T), "clipvalue"),
        ("global_clipnorm", "-1", V, "global_clipnorm"),
        ("name", "5", (V, T), "name"),
        ("surprise", "1", (V, T), "surprise"),
    )
] + [
    ("optimizers.SGD(momentum=1.5)", V, "momentum must be at least 0 and at most 1"),
    ("optimizers.SGD(momentum='a')", T, "momentum must be a number"),
    ("optimizers.Adam(beta_1=1.0)", V, "beta_1"),
    ("optimizers.Adam(beta_2=-1)", V, "beta_2"),
    ("optimizers.Adam(epsilon='a')", T, "epsilon must be a number"),
    ("optimizers.AdamW(beta_1='a')", T, "beta_1"),
    ("optimizers.RMSprop(rho=2)", V, "rho"),
    ("optimizers.RMSprop(momentum=-1)", V, "momentum"),
    ("optimizers.SGD(clipnorm=1, clipvalue=1)", V, "clip"),
    ("optimizers.get('adamm')", V, "'adamm'.*Known"),
    ("optimizers.get(5)", (V, T), "5"),
    ("optimizers.deserialize({'class_name': 'Lion', 'config': {}})", V, "'Lion'"),
    ("optimizers.deserialize({'class_name': 'SGD', 'config': {'odd': 1}})", (V, T), "odd"),
    ("optimizers.serialize(5)", (V, T), "5"),
    ("trained.set_weights([])", V, "expected .* arrays, received 0"),
    ("trained.set_weights([W] * len(trained.variables))", V, "received an array of shape"),
    ("trained.set_weights('abc')", (V, T), "."),
    ("trained.apply([W], [W, W])", V, "."),
    ("trained.apply([W], [])", V, "."),
    ("schedules.ExponentialDecay(-1, 10, 0.5)", V, "initial_learning_rate"),
    ("schedules.ExponentialDecay(0.1, 0, 0.5)", V, "decay_steps"),
    ("schedules.ExponentialDecay(0.1, 10, 'a')", T, "decay_rate must be a number"),
    ("schedules.CosineDecay(0.1, -5)", V, "decay_steps"),
    ("schedules.CosineDecay(0.1, 5, alpha='a')", T, "alpha"),
    ("schedules.OneCycle(0.1, 0)", V, "total_steps"),
    ("schedules.OneCycle(0.1, 10, warmup_fraction=2)", V, "warmup_fraction"),
    ("schedules.OneCycle(0.1, 10, anneal='jump')", V, "anneal.*'jump'"),
    ("schedules.OneCycle(0.1, 10, div_factor=0)", V, "div_factor"),
    ("schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2])", V, "values"),
    ("schedules.PiecewiseConstantDecay([2, 1], [0.1, 0.2, 0.3])", V, "boundaries"),
    ("schedules.PiecewiseConstantDecay(5, [0.1])", (V, T), "boundaries"),
    ("schedules.deserialize({'class_name': 'system', 'config': {}})", V, "'system'"),
    ("schedules.serialize(5)", (V, T), "5"),
]

CALLBACKS: list[bad_input.Case] = [
    ("callbacks.EarlyStopping(mode='best')", V, "mode must be one of"),
    ("callbacks.EarlyStopping(patience=-1)", V, "patience must be at least 0"),
    ("callbacks.EarlyStopping(patience=1.5)", T, "patience must be an integer"),
    ("callbacks.EarlyStopping(min_delta='a')", T, "min_delta must be a number"),
    ("callbacks.EarlyStopping(monitor=5)", T, "monitor"),
    ("callbacks.EarlyStopping(baseline='a')", T, "baseline must be a number"),
    ("callbacks.EarlyStopping(start_from_epoch=-1)", V, "start_from_epoch"),
    ("callbacks.ModelCheckpoint('model.txt')", V, r"must end in|\.keras"),
    ("callbacks.ModelCheckpoint(5)", T, "."),
    ("callbacks.ModelCheckpoint('m.keras', save_freq='batch')", V, "save_freq"),
    ("callbacks.ModelCheckpoint('m.keras', save_freq=0)", V, "save_freq"),
    ("callbacks.ModelCheckpoint('m.keras', mode='best')", V, "mode must be one of"),
    ("callbacks.ModelCheckpoint('m.keras', save_weights_only=True)", V, r"\.weights\.h5"),
    ("callbacks.ModelCheckpoint('m.keras', initial_value_threshold='a')", T, "initial_value_threshold"),
    ("callbacks.ReduceLROnPlateau(factor=1.0)", V, "factor"),
    ("callbacks.ReduceLROnPlateau(factor='a')", T, "factor must be a number"),
    ("callbacks.ReduceLROnPlateau(patience=-1)", V, "patience"),
    ("callbacks.ReduceLROnPlateau(cooldown=-1)", V, "cooldown"),
    ("callbacks.ReduceLROnPlateau(min_lr=-1)", V, "min_lr"),
    ("callbacks.ReduceLROnPlateau(mode='best')", V, "mode must be one of"),
    ("callbacks.LearningRateScheduler(0.1)", T, "schedule must be"),
    ("callbacks.CSVLogger(5)", T, "."),
    ("callbacks.CSVLogger('a.csv', separator=5)", (V, T), "separator"),
    ("callbacks.LambdaCallback(on_epoch_end=5)", T, "on_epoch_end"),
    ("callbacks.LambdaCallback(on_epoch=print)", (V, T), "on_epoch"),
    ("callbacks.TensorBoard(update_freq='never')", T, "update_freq"),
    ("callbacks.ProgressBar(verbose=5)", V, "verbose"),
]

UTILS: list[bad_input.Case] = [
    (
        "utils.to_categorical([-1])",
        V,
        r"x must be class numbers, whole, from 0; received -1 at index 0\. Mend the labels",
    ),
    ("utils.to_categorical([3], 3)", V, "from 0 and below 3; received 3 at index 0"),
    ("utils.to_categorical([0.5])", V, "received 0.5 at index 0"),
    ("utils.to_categorical([np.nan])", V, "received nan"),
    ("utils.to_categorical([np.inf])", V, "received inf"),
    ("utils.to_categorical(['a'])", T, "x must hold numbers"),
    ("utils.to_categorical(None)", T, "x must"),
    ("utils.to_categorical([0], 2.5)", T, "num_classes must be an integer"),
    ("utils.to_categorical([0], -2)", V, "num_classes must be at least 0"),
    ("utils.to_categorical([0, 1], 2**62)", V, "does not fit 64 bits"),
    ("utils.to_categorical([2**62, 1])", V, "does not fit 64 bits"),
    ("utils.confusion_matrix([0, 1], [0])", V, "same length"),
    ("utils.confusion_matrix([0, -1], [0, 1])", V, "received -1 at index 1"),
    ("utils.confusion_matrix([0, np.nan], [0, 1])", V, "received nan at index 1"),
    ("utils.confusion_matrix([0, 1], np.full((2, 3), np.nan))", V, "holds NaN"),
    ("utils.confusion_matrix([0, 5], [0, 1], 3)", V, "below 3; received 5"),
    ("utils.confusion_matrix([0, 2**40], [0, 1])", V, "does not fit 64 bits"),
    ("utils.confusion_matrix('ab', [0, 1])", T, "must hold numbers"),
    ("utils.confusion_matrix(np.zeros((2, 2, 2)), [0, 1])", V, "must be class numbers"),
    ("utils.set_random_seed(-1)", V, "seed must be at least 0"),
    ("utils.set_random_seed(2**32)", V, "seed must be"),
    ("utils.set_random_seed('a')", T, "seed must be an integer"),
    ("utils.set_random_seed(1.5)", T, "seed must be an integer"),
    ("utils.set_random_seed(None)", T, "seed must be an integer"),
]

PLOTS: list[bad_input.Case] = [
    ("plots.plot_history(5)", T, "what fit returns"),
    ("plots.plot_history({})", V, "no epoch to draw"),
    ("plots.plot_history({'loss': ['a']})", (V, T), "."),
    ("plots.plot_filters(layers.ReLU())", V, "has no weights"),
    ("plots.plot_filters(np.ones((3, 3)))", V, "expected a convolution layer or a kernel"),
    ("plots.plot_filters(np.ones((3, 3, 1, 2)), max_filters=0)", V, "max_filters"),
    ("plots.plot_filters('a')", (V, T), "."),
    ("plots.plot_feature_maps(X)", V, r"Take one image: maps\[0\]"),
    ("plots.plot_feature_maps(X[0], max_maps=-1)", V, "max_maps"),
    ("plots.plot_feature_maps(None)", (V, T), "."),
    ("plots.plot_predictions(X[0, :, :, 0], np.ones((1, 3)) / 3)", V, r"Add the first axis: images\[None\]"),
    ("plots.plot_predictions(X, np.ones((11, 3)) / 3)", V, "same length"),
    ("plots.plot_predictions(X, np.ones((12, 3)) * 5)", V, "must lie between 0 and 1"),
    ("plots.plot_predictions(X, np.ones((12, 3)) / 3, Y + 5)", V, "class numbers"),
    ("plots.plot_predictions(X, np.ones((12, 3)) / 3, class_names=['a'])", V, "one name for each of 3 classes"),
    ("plots.plot_predictions(X, np.ones((12, 3)) / 3, columns=0)", V, "columns"),
    ("plots.plot_confidence_histogram(np.ones(3), [0, 1, 2])", V, r"probabilities must be \(n, classes\)"),
    ("plots.plot_confidence_histogram(np.full((2, 3), np.nan), [0, 1])", V, "must lie between 0 and 1"),
    ("plots.plot_confidence_histogram(np.ones((2, 3)) / 3, [0, 1], bins=0)", V, "bins"),
    ("plots.plot_confidence_histogram(np.ones((2, 3)) / 3, [0])", V, "same length"),
    ("plots.plot_confusion_matrix([0, 1], [0])", V, "same length"),
    ("plots.plot_confusion_matrix([0, 1], [0, 1], class_names=['a'])", V, "one name for each of 2 classes"),
    ("plots.plot_confusion_matrix([], [])", V, "empty"),
]

DATA: list[bad_input.Case] = [
    ("datasets.mnist.load_data('/nowhere')", FileNotFoundError, "not a directory.*must hold"),
    ("datasets.mnist.load_data('/nowhere/mnist.npz')", FileNotFoundError, "there is no file"),
    ("datasets.mnist.load_data(5)", T, "."),
    ("datasets.fashion_mnist.load_data('/nowhere')", FileNotFoundError, "not a directory"),
    ("datasets.fashion_mnist.load_data(5)", T, "."),
]

TABLES = {
    "models": MODEL, "losses": LOSSES, "metrics": METRICS, "optimizers": OPTIMIZERS, "callbacks": CALLBACKS,
    "utils": UTILS, "plots": PLOTS, "datasets": DATA,
}  # fmt: skip
CASES = [case for table in TABLES.values() for case in table]


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    return names()


def names() -> dict[str, Any]:
    """A model in the midst of its training, data for it, and the modules."""
    utils.set_random_seed(2)
    model = models.Sequential(
        [
            layers.Input((6, 6, 1)),
            layers.Conv2D(2, 3, activation="relu"),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = np.random.default_rng(0).normal(size=(12, 6, 6, 1)).astype("float32")
    y = np.arange(12) % 3
    model.fit(x, y, batch_size=6, verbose=0)
    return {
        "fc": fc, "layers": layers, "models": models, "losses": losses, "metrics": metrics, "optimizers": optimizers,
        "schedules": schedules, "callbacks": callbacks, "utils": utils, "plots": plots, "datasets": datasets, "np": np,
        "model": model, "trained": model.optimizer, "X": x, "Y": y, "W": np.ones((1, 1), "float32"),
    }  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_wrong_calls(table, given):
    if table == "plots":
        pytest.importorskip("matplotlib")
    for case in TABLES[table]:
        bad_input.check(case, given)


def test_the_model_that_the_wrong_calls_left_alone_trains_on(given):
    # After all of them it does what a twin does that none of them was made on.
    twin = names()["model"]
    for model in (given["model"], twin):
        utils.set_random_seed(3)
        model.fit(given["X"], given["Y"], batch_size=6, verbose=0)
    for a, b in zip(given["model"].get_weights(), twin.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_every_name_has_wrong_calls():
    silent = {
        "Callback",
        "History",
        "TerminateOnNaN",
        "CallbackList",
        "LearningRateSchedule",
        "Optimizer",
        "accuracy_for",
    }
    for name, module in {
        "losses": losses, "metrics": metrics, "optimizers": optimizers, "schedules": schedules, "callbacks": callbacks,
        "utils": utils, "plots": plots,
    }.items():  # fmt: skip
        public = {
            value.__name__
            for value in vars(module).values()
            if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("fastconv")
        }
        public = {one for one in public if not one.startswith("_") and one in getattr(module, "__all__", dir(module))}
        public -= silent
        missing = [one for one in sorted(public) if not bad_input.spoken_for(CASES, one)]
        assert missing == [], f"{name}: {missing}"
    assert len(CASES) > 350
