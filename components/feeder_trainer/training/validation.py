"""Validation after each epoch."""

from collections.abc import Iterator
from typing import Any

import keras

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.base import Feed, batch_sizes
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps

_PASSES = 1000
"""Passes per opened stream; opening one takes as long as several steps."""


class Validation:
    """Evaluates a model on all examples of a feed.

    Args:
        steps: Compiled steps of the model.
        feed: Validation examples.
        batch_size: Examples in a batch.

    Raises:
        ConfigError: The model cannot be evaluated.
    """

    def __init__(self, steps: CompiledSteps, feed: Feed, batch_size: int) -> None:
        if steps.evaluation_error:
            raise ConfigError(
                "feed eval_splits",
                received=f"a model that cannot be evaluated: {steps.evaluation_error}",
                expected="no validation splits for it",
                fix="Set eval_splits=() in FeedOptions, or override test_step.",
            )
        self._steps = steps
        self._feed = feed
        self._batch_size = batch_size
        self._batches: Iterator[Any] | None = None
        self._remaining_passes = 0

    def run(
        self, callbacks: keras.callbacks.CallbackList | None = None, *, every_batch: bool = False
    ) -> dict[str, Any]:
        """Runs one pass and returns loss and metrics.

        Args:
            callbacks: Callbacks to notify of begin and end; optional.
            every_batch: If True, the callbacks are notified of every batch as well.
        """
        if callbacks is None:
            callbacks = keras.callbacks.CallbackList([], model=self._steps.model)
        total = self._feed.num_examples
        if not self._remaining_passes:
            self._remaining_passes = _PASSES
            self._batches = iter(self._feed.batches([range(total)] * _PASSES, self._batch_size))
        self._remaining_passes -= 1
        sizes = batch_sizes(total, self._batch_size)
        self._steps.model.reset_metrics()
        callbacks.on_test_begin()
        if every_batch:
            for step in range(len(sizes)):
                callbacks.on_test_batch_begin(step)
                self._steps.evaluate(self._batches, sizes[step : step + 1])
                callbacks.on_test_batch_end(step, self._steps.batch_logs())
        else:
            self._steps.evaluate(self._batches, sizes)
        self._steps.synchronize()
        logs = self._steps.metrics_result()
        callbacks.on_test_end(logs)
        return logs
