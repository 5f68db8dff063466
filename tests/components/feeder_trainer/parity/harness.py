"""Trains the cases with ``fit()`` and with the loop in each mode, and compares the outcomes.

``python -m tests.components.feeder_trainer.parity.harness`` prints the table of case and mode.
"""

import functools
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.components.feeder_trainer.parity.cases import CASES, EXAMPLES, Case
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import (
    DistributionContext,
    open_context,
)
from tfx_feeder.components.feeder_trainer.distribution.devices import open_devices
from tfx_feeder.components.feeder_trainer.distribution.options import (
    CentralStorage,
    Mirrored,
    SingleDevice,
    Strategy,
)
from tfx_feeder.components.feeder_trainer.feed.feed import Feed, open_feed
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.model.builder import feature_adapter, input_names
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.train_step import (
    EXAMPLES_TO_BUILD,
    StepOptions,
)

BATCH, EPOCHS = 8, 2
DEVICES = ("CPU:0", "CPU:1")
MODES: dict[str, tuple[Strategy, StepOptions]] = {
    "sequential": (SingleDevice(), StepOptions()),
    "micro-batches": (SingleDevice(), StepOptions(max_micro_batch_size=3)),
    "central_storage": (CentralStorage(DEVICES), StepOptions()),
    # Last: its steps change how Keras scales losses in this process.
    "mirrored": (Mirrored(DEVICES), StepOptions()),
}

Outcome = dict[str, Any]


class Logs(keras.callbacks.Callback):
    """Keeps the logs of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[dict[str, Any]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Copies the logs."""
        self.epochs.append({name: np.asarray(value) for name, value in (logs or {}).items()})


def serialize(row: Any) -> bytes:
    """Returns a row as a serialized Example."""
    features = {}
    for key, value in row.items():
        values = value if isinstance(value, list) else [value]
        if not values:
            features[key] = tf.train.Feature()
        elif any(isinstance(each, (str, bytes)) for each in values):
            encoded = [each.encode() if isinstance(each, str) else each for each in values]
            features[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
        elif any(isinstance(each, float) for each in values):
            features[key] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            features[key] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_examples(case: Case, folder: str) -> str:
    """Writes the data of a case to a TFRecord file and returns its path."""
    path = str(Path(folder, "data.tfrecord"))
    with tf.io.TFRecordWriter(path) as writer:
        for row in case.examples():
            writer.write(serialize(row))
    return path


def _opened(case: Case, model: keras.Model, path: str, shard: Shard) -> tuple[Feed, Feed, Callable]:
    """Returns the feeds of training and validation, and the adapter of their features."""
    parser = ExampleParser(case.spec, case.feed, input_names(model))
    train = open_feed([path], parser, case.feed, shuffle=True, shard=shard)
    validation = open_feed([path], parser, case.feed, shuffle=False, shard=shard)
    return train, validation, feature_adapter(model, parser.feature_names)


def fit(case: Case, path: str) -> Outcome:
    """Trains a case with ``fit()``."""
    keras.utils.set_random_seed(1)
    model = case.make()
    train, validation, adapt = _opened(case, model, path, Shard())

    def adapted(feed: Feed, ranges: list[range], batch_size: int) -> tf.data.Dataset:
        batches = feed.batches(ranges, batch_size)
        count = sum(-(-len(positions) // batch_size) for positions in ranges)
        sized = batches.apply(tf.data.experimental.assert_cardinality(count))

        def as_fit_takes(features: Any, *rest: Any) -> Any:
            x = _as_tuple(adapt(features))
            return (x, *rest) if rest else x

        return sized.map(as_fit_takes)

    logs = Logs()
    model.fit(
        adapted(train, [range(i * EXAMPLES, (i + 1) * EXAMPLES) for i in range(EPOCHS)], BATCH),
        epochs=EPOCHS,
        steps_per_epoch=-(-EXAMPLES // BATCH),
        validation_data=adapted(validation, [range(EXAMPLES)], case.eval_batch_size),
        callbacks=[logs],
        verbose=0,
    )
    return {"weights": _weights(model), "logs": logs.epochs}


def _as_tuple(inputs: Any) -> Any:
    """Returns a list of inputs as a tuple, because tf.data would make one tensor of a list."""
    return tuple(inputs) if isinstance(inputs, list) else inputs


def loop(case: Case, path: str, placement: DistributionContext, options: StepOptions) -> Outcome:
    """Trains a case with the loop; returns the weights, the logs and the recorded metrics.

    Raises:
        ConfigError: The mode does not support the model.
    """
    with placement.scope():
        keras.utils.set_random_seed(1)
        model = case.make()
        feed, validation, adapt = _opened(case, model, path, placement.shard)
        steps = placement.steps(model, adapt, options)
        steps.build(feed.sample(EXAMPLES_TO_BUILD * placement.shard.count))
        recorder, logs = Recorder(placement.replicas), Logs()
        rate = float(model.optimizer.learning_rate.numpy())
        TrainingLoop(
            steps,
            feed,
            make_plan(Schedule([(rate, BATCH, EPOCHS)]), feed.num_examples),
            recorder,
            validation=validation,
            validation_batch_size=case.eval_batch_size,
            callbacks=[logs] if placement.process_group.is_chief else [],
            probe=False,
            process_group=placement.process_group,
        ).run()
        recorded = [dict(row.metrics) for row in recorder.epochs]
        return {"weights": _weights(model), "logs": logs.epochs, "recorded": recorded}


def _weights(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v) for v in model.weights if "seed" not in v.path]


def outcome(ours: Callable[[], Outcome], theirs: Outcome) -> str:
    """Returns the outcome of training with the loop: see ``difference``."""
    try:
        got = ours()
    except ConfigError as error:
        return difference(error, theirs)
    except Exception as error:  # The other cells are still of interest.
        traceback.print_exc()
        return f"error: {error!r}"
    return difference(got, theirs)


def difference(got: Outcome | ConfigError, theirs: Outcome, tolerance: float = 2e-4) -> str:
    """Returns ``equal``, the reason of a refusal, or the first difference.

    Args:
        got: Outcome of the loop.
        theirs: Outcome of ``fit()``.
        tolerance: Largest difference of weights and logs that counts as rounding.
    """
    if isinstance(got, ConfigError):
        return f"refused: {got}"
    for index, (mine, other) in enumerate(zip(got["weights"], theirs["weights"], strict=True)):
        if not np.allclose(mine, other, tolerance, tolerance):
            return f"weight {index} differs by {np.abs(mine - other).max():.3g}"
    return _compare_logs(got, theirs["logs"], tolerance)


def _compare_logs(got: Outcome, expected: Sequence[dict], tolerance: float) -> str:
    for epoch, (mine, recorded, other) in enumerate(
        zip(got["logs"], got["recorded"], expected, strict=True)
    ):
        if sorted(mine) != sorted(other):
            return f"epoch {epoch} logs {sorted(mine)}, in fit() {sorted(other)}"
        for name, value in other.items():
            if mine[name].shape != value.shape or not np.allclose(
                mine[name], value, tolerance, tolerance
            ):
                return f"epoch {epoch} logs {name}={mine[name]}, in fit() {value}"
            keys = [f"{name}_{i}" for i in range(value.size)] if value.ndim else [name]
            if not np.allclose([recorded[key] for key in keys], np.ravel(value), tolerance):
                return f"epoch {epoch} records {name} as {recorded}"
    return "equal"


def run(names: Sequence[str] | None = None, task: ClusterTask | None = None) -> dict[str, dict]:
    """Trains cases in every mode of one process; returns the outcomes by case and mode.

    Args:
        names: Names of the cases; ``None`` for all.
        task: Unused.
    """
    del task
    open_devices(DEVICES)  # Before TensorFlow starts.
    cases = {name: CASES[name] for name in names or CASES}
    table: dict[str, dict[str, str]] = {name: {} for name in cases}
    with tempfile.TemporaryDirectory() as root:
        paths, references = {}, {}
        for name, case in cases.items():
            folder = Path(root, name)
            folder.mkdir()
            paths[name] = write_examples(case, str(folder))
            references[name] = fit(case, paths[name])
        for mode, (strategy, options) in MODES.items():
            placement = open_context(strategy, None)
            for name, case in cases.items():
                train = functools.partial(loop, case, paths[name], placement, options)
                table[name][mode] = outcome(train, references[name])
                print(f"{name} / {mode}: {table[name][mode]}", file=sys.stderr, flush=True)
    return table


def main() -> None:
    """Prints the table as Markdown, and each outcome in full to stderr.

    The arguments are names of cases; without any, all are trained.
    """
    print_table(run(sys.argv[1:] or None), MODES)


def print_table(table: Mapping[str, Mapping[str, str]], modes: Iterable[str]) -> None:
    """Prints a table of outcomes as Markdown.

    Args:
        table: Outcomes by case and mode.
        modes: Columns of the table.
    """
    header = ["Model", *modes]
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for name, cells in table.items():
        print(f"| {name} | " + " | ".join(_cell(text) for text in cells.values()) + " |")


def _cell(outcome: str) -> str:
    return "differs" if outcome.startswith(("weight", "epoch")) else outcome.partition(":")[0]


if __name__ == "__main__":
    main()
