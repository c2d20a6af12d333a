"""Learning rate schedules: values by hand, their place in optimizers, configs and files, what is refused."""

from __future__ import annotations

import copy
import math
import os

import numpy as np
import pytest

from fastconv import callbacks, layers, models, optimizers
from fastconv.optimizers import schedules


def make_model(optimizer):
    model = models.Sequential([layers.Input((3,)), layers.Dense(1, kernel_initializer="ones")])
    model.compile(optimizer, "mse")
    return model


DATA = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")


def test_values_by_hand():
    assert [schedules.ExponentialDecay(0.5, 2, 0.25)(step) for step in range(4)] == [0.5, 0.25, 0.125, 0.0625]
    assert [schedules.ExponentialDecay(0.5, 2, 0.25, staircase=True)(step) for step in range(4)] == [
        0.5,
        0.5,
        0.125,
        0.125,
    ]
    piecewise = schedules.PiecewiseConstantDecay([1, 3], [4.0, 2.0, 1.0])
    assert [piecewise(step) for step in range(6)] == [4, 4, 2, 2, 1, 1]
    assert schedules.PiecewiseConstantDecay([], [3.0])(7) == 3.0
    cosine = schedules.CosineDecay(2.0, 4, alpha=0.5)
    assert [cosine(step) for step in (0, 2, 4, 9)] == pytest.approx([2, 1.5, 1, 1], rel=1e-15)
    warm = schedules.CosineDecay(1.0, 4, warmup_target=3.0, warmup_steps=2)
    assert [warm(step) for step in range(7)] == pytest.approx(
        [1, 2, 3, 3 * (1 + math.sqrt(0.5)) / 2, 1.5, 3 * (1 - math.sqrt(0.5)) / 2, 0], abs=1e-15
    )


@pytest.mark.parametrize("anneal", ["cosine", "linear"])
def test_one_cycle_goes_up_and_down_once(anneal):
    rate = schedules.OneCycle(1.0, 100, warmup_fraction=0.25, div_factor=10, final_div_factor=100, anneal=anneal)
    values = [rate(step) for step in range(100)]
    assert values[0] == pytest.approx(0.1)
    assert values[24] == 1.0 == max(values)
    assert values[99] == pytest.approx(0.001)
    assert np.all(np.diff(values[:25]) > 0)
    assert np.all(np.diff(values[24:]) < 0)
    assert values[12] == pytest.approx(0.55)  # Half way up, for both forms.
    assert rate(100) == rate(10_000) == values[99]


def test_one_cycle_equals_pytorch():
    # torch.optim.lr_scheduler.OneCycleLR of PyTorch 2, max_lr=0.1, total_steps=10: its rates for steps 0 … 9.
    published = [0.004, 0.052, 0.1, 0.09504846, 0.08117456, 0.06112620, 0.03887420, 0.01882584, 0.00495194, 4e-7]
    rate = schedules.OneCycle(0.1, 10)
    assert [rate(step) for step in range(10)] == pytest.approx(published, abs=1e-8)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_one_cycle_of_extreme_forms_stays_within_its_rates(fraction, steps):
    rate = schedules.OneCycle(1.0, steps, warmup_fraction=fraction)
    values = [rate(step) for step in range(steps + 2)]
    assert min(values) > 0
    assert max(values) <= 1
    assert values[-1] == pytest.approx(4e-6)


def test_a_schedule_moves_the_rate_of_an_optimizer():
    weight = np.array([1.0])
    optimizer = optimizers.SGD(schedules.PiecewiseConstantDecay([0, 1], [0.5, 0.25, 0.125]))
    seen = []
    for _ in range(4):
        seen.append(optimizer.learning_rate)
        optimizer.apply([np.array([-1.0])], [weight])
    assert seen == [0.5, 0.25, 0.125, 0.125]
    assert weight.tolist() == [2.0]
    assert len(optimizer.variables) == 1  # As in Keras: a rate that follows from the step is no state.
    twin = copy.deepcopy(optimizer)
    assert twin.learning_rate == 0.125
    assert twin.iterations == 4


def test_a_schedule_decays_weights_by_its_own_rate():
    weight = np.array([1.0])
    optimizer = optimizers.AdamW(schedules.PiecewiseConstantDecay([0], [0.5, 0.25]), weight_decay=1.0)
    for _ in range(2):
        optimizer.apply([np.zeros(1)], [weight])
    assert weight.tolist() == [0.5 * 0.75]


def test_rates_that_can_and_cannot_be_set():
    optimizer = optimizers.SGD(schedules.ExponentialDecay(0.5, 10, 0.5))
    with pytest.raises(TypeError, match=r"follows ExponentialDecay and cannot be set to 0\.1"):
        optimizer.learning_rate = 0.1
    assert optimizer.learning_rate == 0.5
    optimizer.learning_rate = schedules.ExponentialDecay(0.25, 10, 0.5)
    assert optimizer.learning_rate == 0.25
    plain = optimizers.SGD(0.1)
    plain.build([np.zeros(2)])
    assert len(plain.variables) == 2
    plain.learning_rate = schedules.CosineDecay(0.3, 5)
    assert plain.learning_rate == 0.3
    assert len(plain.variables) == 1
    moving = iter((0.5, 0.25))
    weight = np.array([0.0])
    free = optimizers.SGD(lambda: next(moving))
    free.apply([np.array([-1.0])], [weight])
    free.apply([np.array([-1.0])], [weight])
    assert weight.tolist() == [0.75]


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "fast", None])
def test_what_a_schedule_gives_is_checked_before_the_step(value):
    class Wild(schedules.LearningRateSchedule):
        def __call__(self, step):
            return value

    weight = np.array([1.0])
    optimizer = optimizers.SGD(Wild(), momentum=0.9)
    with pytest.raises((ValueError, TypeError), match="learning_rate must be"):
        optimizer.apply([np.array([1.0])], [weight])
    assert weight.tolist() == [1.0]
    assert optimizer.iterations == 0


SCHEDULES = [
    schedules.ExponentialDecay(0.1, 20, 0.5, staircase=True),
    schedules.PiecewiseConstantDecay([2, 5.5], [0.1, 0.05, 0.01]),
    schedules.CosineDecay(0.01, 30, 0.1, "mine", 0.2, 7),
    schedules.OneCycle(0.1, 40, 0.2, anneal="linear"),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_configs_go_round(schedule):
    again = schedules.deserialize(schedules.serialize(schedule))
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    optimizer = optimizers.AdamW(schedule, beta_1=0.8)
    twin = optimizers.get(optimizers.serialize(optimizer))
    assert twin.get_config() == optimizer.get_config()
    assert [twin.learning_rate, twin.beta_1] == [schedule(0), 0.8]
    module = schedules.serialize(schedule)["module"]
    ours = "fastconv.optimizers.schedules"
    assert module == (ours if isinstance(schedule, schedules.OneCycle) else "keras.optimizers.schedules")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_files_keep_schedules_and_their_step(schedule, tmp_path):
    model = make_model(optimizers.AdamW(schedule))
    model.fit(*DATA, batch_size=4, epochs=2, shuffle=False, verbose=0)
    model.save(tmp_path / "m.keras")
    twin = models.load_model(tmp_path / "m.keras")
    assert twin.optimizer.iterations == 4
    assert twin.optimizer.learning_rate == schedule(4) == model.optimizer.learning_rate
    for one in (model, twin):
        one.fit(*DATA, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.get_weights(), strict=True))


class Halving(schedules.LearningRateSchedule):
    """A schedule of a user."""

    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start * 0.5**step

    def get_config(self):
        return {"start": self.start}


def test_schedules_of_ones_own(tmp_path):
    path = tmp_path / "m.keras"
    model = make_model(optimizers.SGD(Halving(0.5)))
    model.fit(*DATA, batch_size=8, verbose=0)
    model.save(path)
    with pytest.warns(UserWarning, match="not compiled: .*learning rate schedule.*Halving"):
        assert not models.load_model(path).compiled
    twin = models.load_model(path, custom_objects={"Halving": Halving})
    assert twin.optimizer.learning_rate == 0.25

    class Silent(schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1

    for rate in (Silent(), lambda: 0.1):
        with pytest.raises(ValueError, match="cannot be serialized"):
            optimizers.SGD(rate).get_config()


def test_callbacks_do_not_fight_a_schedule():
    model = make_model(optimizers.SGD(schedules.CosineDecay(0.1, 10)))
    with pytest.raises(TypeError, match="follows CosineDecay"):
        model.fit(*DATA, callbacks=callbacks.LearningRateScheduler(lambda epoch: 0.1), verbose=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "decay_steps must be above 0 and finite, received 0"),
        (lambda: schedules.ExponentialDecay(-0.1, 10, 0.5), "initial_learning_rate must be at least 0"),
        (lambda: schedules.CosineDecay(0.1, -5), "decay_steps must be above 0"),
        (lambda: schedules.CosineDecay(0.1, 5, warmup_target=-1), "warmup_target must be at least 0"),
        (lambda: schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2]), "2 boundaries and 2 values"),
        (lambda: schedules.PiecewiseConstantDecay([2, 1], [0.1, 0.2, 0.3]), "expected numbers that rise"),
        (lambda: schedules.OneCycle(0.1, 0), "total_steps must be at least 1"),
        (lambda: schedules.OneCycle(0.1, 10, warmup_fraction=1.5), "warmup_fraction must be at least 0 and at most 1"),
        (lambda: schedules.OneCycle(0.1, 10, anneal="up"), "anneal must be one of 'cosine', 'linear'"),
        (lambda: schedules.deserialize({"class_name": "system", "config": {}}), "learning rate schedule identifier"),
        (lambda: optimizers.get({"class_name": "SGD", "config": {"learning_rate": {"class_name": "eval"}}}), "eval"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_keras_reads_our_schedules(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "jax"))
    keras = pytest.importorskip("keras")
    for schedule in SCHEDULES[:3]:
        model = make_model(optimizers.AdamW(schedule))
        model.fit(*DATA, batch_size=4, verbose=0)
        model.save(tmp_path / "m.keras")
        theirs = keras.models.load_model(tmp_path / "m.keras")
        assert type(theirs.optimizer).__name__ == "AdamW"
        assert float(theirs.optimizer.learning_rate) == pytest.approx(schedule(2), rel=1e-6)
