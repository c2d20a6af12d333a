"""What ``compile`` was told comes back from a file: losses, metrics, optimizers, fastconv's and a user's own."""

from __future__ import annotations

import numpy as np
import pytest
from test_saving import make_data, make_model

from fastconv import losses, metrics, models, optimizers


def test_all_compile_settings_come_back(tmp_path):
    model = make_model(
        optimizers.AdamW(weight_decay=0.1),
        loss="huber",
        metrics=["mae", metrics.TopKCategoricalAccuracy(2), metrics.Precision([0.2, 0.4]), metrics.Recall],
        weighted_metrics=["accuracy", metrics.RootMeanSquaredError()],
    )
    model.save(tmp_path / "m.keras")
    twin = models.load_model(tmp_path / "m.keras")
    assert twin.optimizer.get_config() == model.optimizer.get_config()
    assert type(twin.loss) is losses.Huber
    x, y = make_data()
    ours, theirs = (one.evaluate(x, np.eye(3)[y], verbose=0, return_dict=True) for one in (model, twin))
    assert list(ours) == list(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_losses_metrics_and_optimizers_of_ones_own_come_back(tmp_path):
    class Cube(losses.MeanSquaredError):
        pass

    class Hits(metrics.CategoricalAccuracy):
        pass

    class Slow(optimizers.SGD):
        pass

    model = make_model(Slow(0.1), loss=Cube(), metrics=[Hits("hits")])
    model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="not compiled"):
        models.load_model(tmp_path / "m.keras")
    own = {"Cube": Cube, "Hits": Hits, "Slow": Slow}
    twin = models.load_model(tmp_path / "m.keras", custom_objects=own)
    assert (type(twin.optimizer), type(twin.loss)) == (Slow, Cube)
    assert twin._metric_identifiers[0].name == "hits"
