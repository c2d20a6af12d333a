"""Ctrl-C during fit: the model is that of some whole number of steps, and can be used and trained further."""

from __future__ import annotations

import _thread
import os
import signal
import threading

import numpy as np
import pytest
from test_training import make_data, make_model

from fastconv import callbacks, optimizers


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    # The handler runs at the next bytecode that checks for it.
    for _ in range(100):
        pass


def consistent(model, steps):
    """Every moment and every weight has moved the same number of steps."""
    assert model.optimizer.iterations == steps
    for layer in model.layers:
        assert not layer._reuse_buffers
        assert not layer._emit_logits
    lengths = {len(values) for values in model.history.history.values()}
    assert len(lengths) <= 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class OneByOne(optimizers.Adam):
    """Adam, interrupted at the second of four parameters, in the second step."""

    calls = 0

    def _update(self, i, *args):
        assert i == self.calls % 4
        self.calls += 1
        if self.calls == 6:
            interrupt()
        super()._update(i, *args)


class AllAtOnce(optimizers.Adam):
    """Adam, interrupted in the second step."""

    calls = 0

    def _update_all(self, indices, *args):
        assert indices == [0, 1, 2, 3]
        self.calls += 4
        if self.calls == 8:
            interrupt()
        super()._update_all(indices, *args)


@pytest.mark.skipif(os.name != "posix", reason="os.kill sends no SIGINT elsewhere")
@pytest.mark.usefixtures("default_handler")
@pytest.mark.parametrize("adam", [OneByOne, AllAtOnce])
def test_an_interrupt_in_the_middle_of_an_update_waits_for_its_end(adam):
    x, y = make_data(40)
    model, twin = make_model(optimizer=adam()), make_model(optimizer=optimizers.Adam())
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=8, shuffle=False, epochs=2, verbose=0)
    assert model.optimizer.calls == 8
    consistent(model, 2)
    twin.fit(x[:16], y[:16], batch_size=8, shuffle=False, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.get_weights(), strict=True))
    # And on it goes.
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    assert model.optimizer.iterations == 7
    assert model.predict(x).sum(axis=1) == pytest.approx(np.ones(40), abs=1e-5)


@pytest.mark.skipif(os.name != "posix", reason="os.kill sends no SIGINT elsewhere")
@pytest.mark.usefixtures("default_handler")
@pytest.mark.parametrize("place", ["on_train_batch_begin", "on_test_batch_begin", "on_epoch_end"])
def test_an_interrupt_anywhere_else_leaves_a_usable_model(place, capsys):
    x, y = make_data(40)
    model = make_model()
    count = []

    def hook(*_):
        count.append(1)
        if len(count) == 2:
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        model.fit(
            x, y, batch_size=10, epochs=3, validation_data=(x, y), callbacks=[callbacks.LambdaCallback(**{place: hook})]
        )
    steps = {"on_train_batch_begin": 1, "on_test_batch_begin": 4, "on_epoch_end": 8}[place]
    consistent(model, steps)
    assert len(model.history.history.get("loss", [])) == {1: 0, 4: 0, 8: 2}[steps]
    assert len(capsys.readouterr().out.splitlines()) == {1: 0, 4: 0, 8: 2}[steps]
    assert np.allclose(model.predict(x).sum(axis=1), 1)
    model.fit(x, y, verbose=0)


def fit_until_interrupted(model, x, y, delay):
    """Train for ever; a timer strikes after ``delay`` seconds, perhaps before training has begun."""
    timer = threading.Timer(delay, _thread.interrupt_main)
    timer.start()
    model.fit(x, y, batch_size=8, shuffle=False, epochs=100_000, verbose=0)


@pytest.mark.usefixtures("default_handler")
def test_interrupts_at_random_moments():
    """Whatever the timer hits, the model is the one after some whole number of steps."""
    x, y = make_data(64)
    for delay in np.linspace(0.002, 0.05, 8):
        model = make_model()
        with pytest.raises(KeyboardInterrupt):
            fit_until_interrupted(model, x, y, float(delay))
        steps = model.optimizer.iterations
        if model.history is not None:
            consistent(model, steps)
        twin = make_model()
        twin.compile(optimizers.Adam(), "sparse_categorical_crossentropy")
        for step in range(steps):
            at = step % 8 * 8
            twin.train_on_batch(x[at : at + 8], y[at : at + 8])
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.get_weights(), strict=True))


def test_fit_works_outside_the_main_thread():
    x, y = make_data(20)
    model = make_model()
    thread = threading.Thread(target=lambda: model.fit(x, y, verbose=0))
    thread.start()
    thread.join()
    assert model.optimizer.iterations == 1
