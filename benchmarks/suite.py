"""FeederTrainer's feed, step and loop on the reference task, without TFX."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import reference

from tfx_feeder.components.feeder_trainer.feed.feed import Feed, open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.builder import feature_adapter
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps


def open_split(folder: Path, split: str, options: FeedOptions) -> Feed:
    """Opens the feed on a split of ``reference.write_records``; shuffled for training."""
    parser = ExampleParser(reference.FEATURES, options)
    return open_feed(reference.files(folder, split), parser, options, shuffle=split == "train")


def compiled_steps(model: keras.Model, element: tuple) -> CompiledSteps:
    """Returns the steps of a model, its variables built from one element of a feed."""
    steps = CompiledSteps(model, feature_adapter(model, ["image"]))
    steps.build(element)
    return steps


def train(
    model: keras.Model,
    folder: Path,
    schedule: Schedule,
    *,
    validation_batch_size: int | None = None,
    callbacks: Sequence[Any] = (),
) -> CompiledSteps:
    """Opens the feeds and trains a model by a schedule.

    Args:
        model: Compiled.
        folder: Of ``reference.write_records``.
        schedule: Learning rates, batch sizes and lengths.
        validation_batch_size: Examples in a batch of validation; ``None``: no validation.
        callbacks: Keras callbacks.
    """
    options = reference.feed_options()
    feed = open_split(folder, "train", options)
    validation = open_split(folder, "eval", options) if validation_batch_size else None
    steps = compiled_steps(model, next(iter(feed.batches([range(1)], 1))))
    TrainingLoop(
        steps,
        feed,
        make_plan(schedule, feed.num_examples),
        Recorder(),
        validation=validation,
        validation_batch_size=validation_batch_size or 1,
        callbacks=callbacks,
    ).run()
    return steps
