"""Checks, before the first step, that the parts of a batch give the update of the whole batch."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.rows import (
    count_rows,
    take_rows,
    with_unknown_batch_size,
)
from tfx_feeder.components.feeder_trainer.training.loss_division import (
    changes_variables,
    is_mean_over_examples,
    loss_mask,
    unmasked_fraction,
)
from tfx_feeder.components.feeder_trainer.training.metric_division import (
    DependentMetricError,
    check_sums,
    variables_by_batch,
)
from tfx_feeder.components.feeder_trainer.training.model_calls import ModelCalls


def _call(update: Callable[[tuple], None], batch: tuple) -> None:
    update(batch)


class DivisionCheck:
    """Checks of a built model on some examples.

    Args:
        calls: Calls of the model.
        division: Name of what divides the batches, for error messages.
        examples: Element of a feed; several examples reveal losses and metrics that depend on the
            other examples of a batch.
        in_replica: Function that calls another one with a batch, as the steps do.
    """

    def __init__(
        self,
        calls: ModelCalls,
        division: str,
        examples: tuple,
        in_replica: Callable[[Callable[[tuple], None], tuple], None] = _call,
    ) -> None:
        self._calls, self._model = calls, calls.model
        self._in_replica = in_replica
        self._division = division
        self._examples = examples

    def check_loss(self, *, weights_masked_targets: bool) -> None:
        """Checks that the loss of a batch follows from the losses of its parts.

        Args:
            weights_masked_targets: True if the parts are weighted by their unmasked targets.

        Raises:
            ConfigError: The loss changes variables, or is not a mean over the examples.
        """
        calls = self._calls
        x, y, weight = calls.unpack(take_rows(self._examples, 0, 1))
        y_pred = self._model(x, training=False)
        if changes_variables(self._model, lambda: calls.loss(x, y, y_pred, weight, training=True)):
            raise ConfigError(
                "model_fn",
                received="a loss that changes variables when it is called, such as a counter",
                expected=f"a loss that only reads its variables, for {self._division}",
                fix="Change them in a callback, or train whole batches on one device.",
            )
        masks = [loss_mask(each) is not None for each in tf.nest.flatten(y_pred)]
        can_weight = weights_masked_targets and not calls.own_compute_loss
        if any(masks) and (len(masks) > 1 or not can_weight):
            raise cannot_divide("a loss with masked targets", self._division)
        for training in self._modes:
            loss_of = functools.partial(self._loss_and_fraction, training=training)
            if not is_mean_over_examples(loss_of, self._examples):
                raise cannot_divide(
                    "a loss that depends on the other examples of the batch", self._division
                )

    def batch_counters(self, *, sums_replicas: bool) -> list[keras.Variable]:
        """Returns the variables of metrics that count batches; see ``variables_by_batch``.

        Args:
            sums_replicas: True if each part updates metrics of its own, which are summed.

        Raises:
            ConfigError: A metric of a batch does not follow from those of its parts.
        """
        found: dict[int, keras.Variable] = {}
        for update in self._metric_updates():
            if not self._model.run_eagerly:
                # In a graph, as the steps: Keras weights losses by output by the size of the batch
                # where it is known.
                spec = tf.nest.map_structure(tf.type_spec_from_value, self._examples)
                signature = [with_unknown_batch_size(spec)]
                update = tf.function(update, input_signature=signature, autograph=False)
            try:
                counters = variables_by_batch(
                    self._model, update, self._examples, sums_replicas=sums_replicas
                )
            except DependentMetricError as error:
                reason = "depends on the other examples of the batch"
                raise self._no_sum(error, reason) from error
            found |= {id(variable): variable for variable in counters}
        return list(found.values())

    def check_sums(self) -> None:
        """Checks that the metrics of workers with batches of their own add up.

        Raises:
            ConfigError: A metric is no sum over batches, such as a maximum.
        """
        for update in self._metric_updates():
            try:
                check_sums(self._model, update, self._examples)
            except DependentMetricError as error:
                raise self._no_sum(error, "does not add up over batches") from error

    def _no_sum(self, metric: DependentMetricError, reason: str) -> ConfigError:
        return ConfigError(
            "model_fn",
            received=f"a metric {metric} that {reason}",
            expected=f"a sum or a mean over the examples, for {self._division}",
            fix="Use a keras.metrics.Metric that adds up over batches, such as F1Score, or train "
            "whole batches on one device.",
        )

    @functools.cached_property
    def _modes(self) -> tuple[bool, ...]:
        """Values of ``training`` to check: False, and True if its outputs are each example's own.

        With dropout or BatchNormalization, no part of a batch gives the outputs of the whole.
        """
        count = int(count_rows(self._examples))
        half = (count + 1) // 2
        bounds = [(0, count), *[(0, half), (half, count)][: min(count, 2)]]
        whole, *parts = [self._outputs(take_rows(self._examples, *each)) for each in bounds]
        joined = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        is_own = all(
            a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
            for a, b in zip(whole, joined, strict=True)
        )
        return (False, True) if is_own else (False,)

    def _outputs(self, batch: tuple) -> list[np.ndarray]:
        """Returns the arrays of the output in training."""
        outputs = self._predictions(self._calls.unpack(batch)[0], training=True)
        return [np.array(each) for each in tf.nest.flatten(outputs, expand_composites=True)]

    def _predictions(self, x: Any, *, training: bool) -> Any:
        if training:
            return self._calls.predictions(x, training=True)
        return self._model(x, training=False)

    def _loss_and_fraction(self, batch: tuple, *, training: bool) -> tuple[float, float]:
        x, y, weight = self._calls.unpack(batch)
        y_pred = self._predictions(x, training=training)
        loss = self._calls.loss(x, y, y_pred, weight, training=training)
        return float(loss), float(unmasked_fraction(y_pred))

    def _metric_updates(self) -> Iterator[Callable[[tuple], None]]:
        """Yields functions that update the metrics with a batch, in evaluation and in training."""
        yield self._metric_update(training=False)
        # Compiled metrics see the outputs only; others may be updated in training only.
        if self._calls.has_own_metrics and True in self._modes:
            yield self._metric_update(training=True)

    def _metric_update(self, *, training: bool) -> Callable[[tuple], None]:
        update = functools.partial(self._update_metrics, training=training)
        # Outside of the replicas, TensorFlow divides what is assigned to integer counts.
        return functools.partial(self._in_replica, update)

    def _update_metrics(self, batch: tuple, *, training: bool) -> None:
        x, y, weight = self._calls.unpack(batch)
        y_pred = self._predictions(x, training=training)
        self._calls.loss(x, y, y_pred, weight, training=training)
        self._calls.update_metrics(x, y, y_pred, weight)


def cannot_divide(received: str, division: str) -> ConfigError:
    """Returns the error for a model whose batches cannot be divided.

    Args:
        received: Property of the model that prevents it.
        division: Name of what divides the batches.
    """
    return ConfigError(
        "model_fn",
        received=received,
        expected=f"a loss that is a mean over the examples, for {division}",
        fix="Divide sums over the batch by its size, or train whole batches on one device.",
    )
