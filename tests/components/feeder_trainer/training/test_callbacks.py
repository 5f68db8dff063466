"""Which callbacks need every batch, and what they remember across a restart."""

import keras
import numpy as np
import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.training.callbacks import (
    TRAIN_BATCH_HOOKS,
    capture_callbacks,
    needs_every_batch,
    restore_callbacks,
)


class EveryBatch(keras.callbacks.Callback):
    def on_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (keras.callbacks.EarlyStopping("loss"), False),
        (keras.callbacks.ReduceLROnPlateau("loss"), False),
        (keras.callbacks.ModelCheckpoint("x.keras"), False),
        (keras.callbacks.ModelCheckpoint("x.keras", save_freq=10), True),
        (keras.callbacks.TensorBoard("logs"), True),
        (EveryBatch(), True),
    ],
)
def test_only_callbacks_that_act_on_batches_cost_a_round_trip(callback, expected):
    assert needs_every_batch([callback], TRAIN_BATCH_HOOKS) is expected


def test_patience_and_best_weights_survive():
    old = [keras.callbacks.EarlyStopping("loss", patience=5), keras.callbacks.Callback()]
    old[0].wait, old[0].best = 3, np.float32(0.25)
    old[0].best_weights = [np.arange(12.0), np.ones((2, 2))]
    states, arrays = capture_callbacks(old)

    new = [keras.callbacks.EarlyStopping("loss", patience=5), keras.callbacks.Callback()]
    restore_callbacks(new, states, arrays)
    assert (new[0].wait, new[0].best) == (3, 0.25)
    for got, expected in zip(new[0].best_weights, old[0].best_weights, strict=True):
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(ConfigError, match=r"expected 2 callbacks.* Received: 1\. Return"):
        restore_callbacks(new[:1], states, arrays)


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau"])
@pytest.mark.parametrize(("mode", "values"), [("min", (1.0, 0.95)), ("max", (0.95, 1.0))])
def test_what_counts_as_an_improvement_survives(name, mode, values):
    def make():
        callback = getattr(keras.callbacks, name)("loss", mode=mode, min_delta=0.1, patience=9)
        callback.set_model(keras.Sequential([keras.layers.Dense(1)]))
        callback.model.compile("sgd", "mse")
        callback.on_train_begin()
        return callback

    old, new = make(), make()
    old.on_epoch_end(0, {"loss": values[0]})
    restore_callbacks([new], *capture_callbacks([old]))
    for callback in (old, new):
        callback.on_epoch_end(1, {"loss": values[1]})
        assert callback.wait == 1
        assert callback.best == values[0]
