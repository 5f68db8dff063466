"""A training that can be killed and started again, and that counts every example it learns from."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.fit import FitSpec
from tfx_feeder.components.feeder_trainer.distribution.options import SingleDevice
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.model.builder import ModelContext
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.train import TrainSpec, train
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions

NUM_EXAMPLES = 203
SCHEDULE = "0.01:8x80, 0.005:32x80, 0.0025:64x80"
SPEC = {
    "pixels": tf.io.FixedLenFeature([16], tf.float32),
    "id": tf.io.FixedLenFeature([], tf.int64),
    "label": tf.io.FixedLenFeature([], tf.int64),
}


@keras.saving.register_keras_serializable("tests")
class Counting(keras.layers.Layer):
    """Passes its input through and counts, in a weight, how often it saw each example."""

    def build(self, _) -> None:
        self.counts = self.add_weight(
            name="counts", shape=(NUM_EXAMPLES,), initializer="zeros", trainable=False
        )

    def call(self, inputs, training=False):
        pixels, ids = inputs
        if training:
            seen = tf.reduce_sum(tf.one_hot(tf.cast(ids, tf.int32), NUM_EXAMPLES), axis=[0])
            self.counts.assign_add(tf.reshape(seen, [NUM_EXAMPLES]))
        return pixels


def model_fn(_: ModelContext) -> keras.Model:
    """Everything that has a state of its own: dropout, batch normalisation, Adam, metrics."""
    pixels = keras.Input((16,), name="pixels")
    ids = keras.Input((), name="id", dtype="int64")
    x = Counting(name="counting")([pixels, ids])
    x = keras.layers.BatchNormalization()(keras.layers.Dense(32, activation="relu")(x))
    x = keras.layers.Dense(4)(keras.layers.Dropout(0.3)(x))
    model = keras.Model({"pixels": pixels, "id": ids}, x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model


def callbacks_fn(_: ModelContext) -> list[keras.callbacks.Callback]:
    """A callback whose patience must survive as well."""
    return [keras.callbacks.ReduceLROnPlateau("loss", factor=0.9, patience=3)]


def write_data(path: Path) -> None:
    """Writes learnable examples with ids."""
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index in range(NUM_EXAMPLES):
            label = index % 4
            feature = {
                "pixels": tf.train.Feature(
                    float_list=tf.train.FloatList(value=random.normal(label, 1, 16))
                ),
                "id": tf.train.Feature(int64_list=tf.train.Int64List(value=[index])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def run_after_a_deterministic_one(first: str, second: str) -> None:
    """Trains deterministically, then in the same process without that option."""
    run(first, schedule="0.01:8x1")
    run(second, schedule="0.01:8x1", deterministic=False)


def run(
    folder: str,
    *,
    schedule: str = SCHEDULE,
    every_examples: int = 256,
    baseline: str | None = None,
    deterministic: bool = True,
    kind: str = "plain",
) -> None:
    """Trains from ``folder/data`` into ``folder``; goes on where a killed run stopped.

    With a baseline it validates, and gives up after 30 epochs if it cannot come up to it. The kind
    is ``"plain"``, or ``"streamed"`` for a feed without a cache.
    """
    root = Path(folder)
    data = [str(root.parent / "data")]
    feed = FeedOptions(
        eval_splits=("eval",) if baseline else (),
        seed=7,
        cache="none" if kind == "streamed" else "auto",
        shuffle_buffer=64,
    )
    early_stopping = (
        BaselineEarlyStopping("val_accuracy", "max", after_epochs=30) if baseline else None
    )
    history = train(
        TrainSpec(
            fit=FitSpec(
                code=UserCode(module_file=__file__),
                context=ModelContext(SPEC, feed),
                schedule=Schedule.from_value(schedule),
                strategy=SingleDevice(),
                train_files=data,
                eval_files=data if baseline else [],
                checkpoint_dir=str(root / "checkpoints"),
                baseline=baseline,
                training=TrainingOptions(
                    deterministic=deterministic,
                    checkpoint_every_examples=every_examples,
                    early_stopping=early_stopping,
                ),
            ),
            raw_feature_spec=SPEC,
            transform=None,
            serving_dir=str(root / "serving"),
            keras_dir=str(root / "keras"),
            log_dir=str(root / "logs"),
        )
    )
    np.savez(
        root / "result.npz",
        messages=[e.message for e in history.events if e.kind in ("baseline_metric", "early_stop")],
        resumes=sum(event.kind == "resume" for event in history.events),
        losses=[row.metrics["loss"] for row in history.epochs],
        rates=[row.learning_rate for row in history.epochs],
        examples=[row.examples for row in history.epochs],
    )
