"""Distributed training that a test kills midway; the model counts its training examples.

A copy of this file serves as the user code. It writes process ids and a ready mark to its folder.
"""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.fit import FitSpec, fit
from tfx_feeder.components.feeder_trainer.distribution.options import MultiWorker, Strategy
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.model.builder import ModelContext
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.train import TrainSpec, train
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions

NUM_EXAMPLES = 203
# Each remainder is at least the largest number of workers: no replica gets an empty shard.
SCHEDULE = "0.01:16x15, 0.005:32x15"
EPOCHS = 30
READY_EPOCH = 4
SPEC = {
    "pixels": tf.io.FixedLenFeature([16], tf.float32),
    "id": tf.io.FixedLenFeature([], tf.int64),
    "label": tf.io.FixedLenFeature([], tf.int64),
}
FOLDER = Path(__file__).parent


@keras.saving.register_keras_serializable("cluster_job")
class Counting(keras.layers.Layer):
    """Identity layer that counts how often each example was processed.

    ``counts`` covers all replicas, ``mine`` only the first.
    """

    def build(self, _: Any) -> None:
        self.counts = self._weight("counts", "float32", "mean")
        self.mine = self._weight("mine", "int32", "only_first_replica")

    def _weight(self, name: str, dtype: str, aggregation: str) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=(NUM_EXAMPLES,),
            initializer="zeros",
            dtype=dtype,
            trainable=False,
            aggregation=aggregation,
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        pixels, ids = inputs
        if training:
            ids = tf.reshape(tf.cast(ids, tf.int32), [-1])
            seen = tf.reduce_sum(tf.one_hot(ids, NUM_EXAMPLES, dtype=tf.int32), axis=0)
            # The mean of the assigned values is the sum of the counts of all replicas.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            self.counts.assign_add(tf.cast(replicas * seen, tf.float32))
            self.mine.assign_add(seen)
        return pixels


def model_fn(_: ModelContext) -> keras.Model:
    """Returns a model that is random only in its initial weights; writes the process id."""
    task = ClusterTask.from_env(os.environ)
    if task is not None:
        (FOLDER / f"{task.type}-{task.index}").write_text(str(os.getpid()))
    pixels = keras.Input((16,), name="pixels")
    ids = keras.Input((), name="id", dtype="int64")
    x = Counting(name="counting")([pixels, ids])
    x = keras.layers.Dense(4)(keras.layers.Dense(16, activation="relu")(x))
    model = keras.Model({"pixels": pixels, "id": ids}, x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model


class Pace(keras.callbacks.Callback):
    """Writes the ready mark after some epochs, and slows down the training for the test."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == READY_EPOCH:
            (FOLDER / "ready").touch()
        time.sleep(0.05)


def callbacks_fn(_: ModelContext) -> list[keras.callbacks.Callback]:
    """Returns one callback, which runs on the chief."""
    return [Pace()]


def write_data(path: Path) -> None:
    """Writes learnable examples with ids."""
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index in range(NUM_EXAMPLES):
            label = index % 4
            pixels = tf.train.FloatList(value=random.normal(label, 1, 16))
            feature = {
                "pixels": tf.train.Feature(float_list=pixels),
                "id": tf.train.Feature(int64_list=tf.train.Int64List(value=[index])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def job(
    folder: Path, strategy: Strategy, every_examples: int = 300, schedule: str = SCHEDULE
) -> TrainSpec:
    """Returns a training whose data and checkpoints are in a folder."""
    folder.mkdir(exist_ok=True)
    code = folder / "job.py"
    if not code.exists():
        shutil.copy(__file__, code)
        write_data(folder / "data")
    return TrainSpec(
        fit=FitSpec(
            code=UserCode(module_file=str(code)),
            context=ModelContext(SPEC, FeedOptions(eval_splits=(), seed=7)),
            schedule=Schedule.from_value(schedule),
            strategy=strategy,
            train_files=[str(folder / "data")],
            eval_files=[],
            checkpoint_dir=str(folder / "checkpoints"),
            training=TrainingOptions(checkpoint_every_examples=every_examples, probe=False),
        ),
        raw_feature_spec=SPEC,
        transform=None,
        serving_dir=str(folder / "serving"),
        keras_dir=str(folder / "keras"),
        log_dir=str(folder / "logs"),
    )


def train_over_three(folder: str) -> None:
    """Trains on three workers; the test kills the process of this function."""
    made = job(Path(folder), MultiWorker("local:3"))
    (Path(folder) / "parent").write_text(str(os.getpid()))
    train(made)


def train_without_checkpoints(folder: str) -> None:
    """Trains on two workers; a checkpoint is saved only when the test interrupts this process."""
    train(job(Path(folder), MultiWorker("local:2"), every_examples=1_000_000))


def run_member(folder: str, task: str, schedule: str) -> None:
    """Trains as one of two workers; the chief saves the weights and the number of resumes.

    Args:
        folder: Folder of the training.
        task: Value of ``TF_CONFIG``.
        schedule: Schedule of the training.
    """
    os.environ["TF_CONFIG"] = task
    member = ClusterTask.required_from_env(os.environ)
    result = fit(job(Path(folder), MultiWorker("local:2"), 64, schedule).fit, member)
    if member.is_chief:
        resumes = sum(event.kind == "resume" for event in result.history.events)
        np.savez(Path(folder) / "result.npz", *result.weights, resumes=resumes)
    os._exit(0)  # Threads of TensorFlow may block a regular exit.
