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
SPEC = {
    "pixels": tf.io.FixedLenFeature([16], tf.float32),
    "id": tf.io.FixedLenFeature([], tf.int64),
    "label": tf.io.FixedLenFeature([], tf.int64),
}
SPARSE_SPEC = SPEC | {"tags": tf.io.VarLenFeature(tf.int64)}
NUM_TAGS = 6


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


@keras.saving.register_keras_serializable("tests")
class SumOfTags(keras.layers.Layer):
    """Sums the embeddings of a sparse feature of any number of tags."""

    def build(self, _) -> None:
        self.table = self.add_weight(name="table", shape=(NUM_TAGS + 1, 4))

    def call(self, tags):
        dense = tf.sparse.to_dense(tags, default_value=NUM_TAGS)
        is_tag = tf.cast(dense < NUM_TAGS, tf.float32)[..., None]
        return tf.reduce_sum(tf.gather(self.table, dense) * is_tag, axis=1)

    def compute_output_shape(self, shape) -> tuple[int | None, int]:
        return shape[0], 4


@keras.saving.register_keras_serializable("tests")
class TwoOptimizers(keras.Model):
    """Trains the last layer with an optimizer of its own, in a ``train_step`` of its own."""

    def compile(self, *args, **kwargs) -> None:
        super().compile(*args, **kwargs)
        self.last_optimizer = keras.optimizers.Adam(0.02)

    def train_step(self, data) -> dict[str, tf.Tensor]:
        x, y = data
        last = self.layers[-1].trainable_variables
        first = [v for v in self.trainable_variables if all(v is not each for each in last)]
        for variables, optimizer in ((first, self.optimizer), (last, self.last_optimizer)):
            with tf.GradientTape() as tape:
                # The second pass does not count: a step learns from an example once.
                loss = self.compute_loss(x, y, self(x, training=variables is first))
            optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


def model_fn(context: ModelContext) -> keras.Model:
    """Everything that has a state of its own: dropout, batch normalisation, Adam, metrics."""
    kind = context.custom_config["kind"]
    pixels = keras.Input((16,), name="pixels")
    ids = keras.Input((), name="id", dtype="int64")
    inputs = {"pixels": pixels, "id": ids}
    x = Counting(name="counting")([pixels, ids])
    if kind == "sparse":
        inputs["tags"] = keras.Input((None,), name="tags", dtype="int64", sparse=True)
        x = keras.layers.Concatenate()([x, SumOfTags()(inputs["tags"])])
    x = keras.layers.BatchNormalization()(keras.layers.Dense(32, activation="relu")(x))
    x = keras.layers.Dense(4)(keras.layers.Dropout(0.3)(x))
    model = (TwoOptimizers if kind == "two optimizers" else keras.Model)(inputs, x)
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
                "tags": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=random.integers(NUM_TAGS, size=index % 3))
                ),
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
    schedule: str,
    every_examples: int = 256,
    baseline: str | None = None,
    deterministic: bool = True,
    kind: str = "plain",
) -> None:
    """Trains from ``folder/data`` into ``folder``; goes on where a killed run stopped.

    With a baseline it validates, and gives up after 30 epochs if it cannot come up to it. The kind
    is ``"plain"``, ``"two optimizers"`` for a model with its own step, ``"sparse"`` for one with a
    sparse feature, or ``"streamed"`` for a feed without a cache.
    """
    spec = SPARSE_SPEC if kind == "sparse" else SPEC
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
                context=ModelContext(spec, feed, custom_config={"kind": kind}),
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
            raw_feature_spec=spec,
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
