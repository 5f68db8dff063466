"""What the steps report: stops, noise scale of partial batches, errors of models of one's own."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.rows import (
    at_least_one_row,
    batch_of_tensors,
    count_rows,
    repeated_rows,
    take_rows,
)
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.step_logs import total_loss
from tfx_feeder.components.feeder_trainer.training.train_step import (
    BATCH_SQ_NORM,
    COLUMNS,
    MICRO_BATCH_SIZE,
    MICRO_SQ_NORM,
    CompiledSteps,
)
from tfx_feeder.components.feeder_trainer.training.validation import Validation

BATCH = ({"x": tf.ones([3, 4])}, tf.constant([[1.0], [2.0], [3.0]]))


class OwnStep(keras.Model):
    """Trains without a compiled loss."""

    def train_step(self, data: Any) -> dict[str, Any]:
        return {"my_loss": keras.ops.mean(self(data[0]))}


class WithoutCall(keras.Model):
    """Has a step, but no call."""

    def train_step(self, data: Any) -> dict[str, Any]:
        return {"my_loss": keras.ops.mean(data[0])}


def _steps(kind: type[keras.Model] = keras.Model, **compiled: Any) -> CompiledSteps:
    if kind is WithoutCall:
        model = WithoutCall()
    else:
        inputs = keras.Input((4,))
        model = kind(inputs, keras.layers.Dense(1)(inputs))
    model.compile(**({"optimizer": "sgd"} | compiled))
    return CompiledSteps(model, lambda features: features["x"])


def _built(*args: Any, **compiled: Any) -> CompiledSteps:
    steps = _steps(*args, **compiled)
    steps.build(BATCH)
    return steps


def test_rows_of_sparse_ragged_and_dense_tensors_are_the_same() -> None:
    ragged = tf.ragged.constant([[1, 2], [], [3]])
    batch = {
        "ragged": ragged,
        "sparse": ragged.to_sparse(),
        "dense": ragged.to_tensor(),
        "none": None,
    }

    part = take_rows(batch, tf.constant(1), tf.constant(3))
    twice = repeated_rows(part)
    example = take_rows(batch, 0, 1)
    filled = at_least_one_row(take_rows(batch, 0, 0), example)
    whole = at_least_one_row(batch, take_rows(batch, 2, 3))

    assert part["ragged"].to_list() == [[], [3]]
    assert tf.sparse.to_dense(part["sparse"]).numpy().tolist() == [[0, 0], [3, 0]]
    assert part["dense"].numpy().tolist() == [[0, 0], [3, 0]]
    assert part["none"] is None
    assert [int(count_rows(twice[name])) for name in ("ragged", "sparse", "dense")] == [4, 4, 4]
    for both, expected in ((filled, [[1, 2]]), (whole, [[1, 2], [0, 0], [3, 0]])):
        assert both["ragged"].to_list() == (ragged.to_list() if both is whole else [[1, 2]])
        assert tf.sparse.to_dense(both["sparse"]).numpy().tolist() == expected
        assert both["dense"].numpy().tolist() == expected
        assert both["none"] is None


def test_a_graph_fills_an_empty_shard_from_a_batch_of_arrays() -> None:
    arrays = ({"x": np.ones([3, 4], np.float32)}, np.array([[1.0], [2.0], [3.0]], np.float32))
    example = take_rows(batch_of_tensors(arrays), 0, 1)

    filled = tf.function(lambda batch: at_least_one_row(batch, example))(take_rows(BATCH, 0, 0))

    assert filled[0]["x"].numpy().tolist() == [[1, 1, 1, 1]]
    assert filled[1].numpy().tolist() == [[1]]


@pytest.mark.parametrize("kind", [OwnStep, keras.Model])
def test_running_out_of_memory_never_changes_the_update(kind: type[keras.Model]) -> None:
    loss = keras.losses.MeanSquaredError(reduction="sum")
    steps = _built(kind, loss=None if kind is OwnStep else loss)

    with pytest.raises(ConfigError, match=r"train_step|reduction sum"):
        steps.halve_micro_batches(8)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_logs_of_own_steps_are_those_of_the_last_batch(run_eagerly: bool) -> None:
    steps = _built(OwnStep, run_eagerly=run_eagerly)
    batches = tf.data.Dataset.from_tensors(BATCH).repeat()
    expected = float(keras.ops.mean(steps.model(BATCH[0]["x"])))

    rows = steps.train(iter(batches), [3, 3])

    assert rows.shape == (2, COLUMNS)
    assert steps.metrics_result() == pytest.approx({"my_loss": expected})


def test_a_model_without_loss_cannot_be_validated() -> None:
    with pytest.raises(ConfigError, match=r"No loss to compute.*eval_splits=\(\)"):
        Validation(_built(OwnStep), None, 8)


def test_a_model_without_call_is_refused_before_the_first_step() -> None:
    with pytest.raises(ConfigError, match=r"no call\(\)"):
        _built(WithoutCall)


def test_the_loss_to_watch_is_that_of_any_name() -> None:
    assert float(total_loss({"loss": 1.0, "d_loss": 2.0})) == 1
    assert float(total_loss({"d_loss": 2.0, "g_loss": 3.0, "accuracy": 9.0})) == 5
    assert np.isnan(total_loss({"d_loss": np.nan, "g_loss": 3.0}))


@pytest.mark.parametrize(("examples", "batch"), [(100, 64), (150, 128), (1000, 64), (1024, 64)])
def test_the_noise_scale_counts_a_partial_batch_by_its_size(examples: int, batch: int) -> None:
    scale, steps = 100.0, -(-examples // batch)
    sizes = np.full(steps, float(batch))
    sizes[-1] = examples - batch * (steps - 1)
    rows = np.ones((steps, COLUMNS))
    rows[:, MICRO_BATCH_SIZE] = sizes / 2
    rows[:, MICRO_SQ_NORM] = 1 + scale / (sizes / 2)
    rows[:, BATCH_SQ_NORM] = 1 + scale / sizes
    overflowed = np.full((1, COLUMNS), np.inf)
    rows = np.concatenate([overflowed, rows])

    record = Recorder().epoch(
        EpochSpec(0, 0, 0.1, batch, 0, examples + batch),
        0.1,
        rows,
        seconds=1.0,
        examples=examples + batch,
        first_step_s=None,
        metrics={"f1": np.array([0.25, 0.5])},
    )

    assert record.noise_scale == pytest.approx(scale)
    assert record.metrics == {"f1_0": 0.25, "f1_1": 0.5}
