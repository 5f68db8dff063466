"""Measures the duration of training steps without a lasting effect on the model."""

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.base import Feed
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.schedules.time_model import (
    PROFILE_TIME_FRACTION,
    StepProfile,
    StepTime,
    batch_sizes_to_profile,
    predict,
)
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup, SingleProcess
from tfx_feeder.components.feeder_trainer.training.step_timer import (
    MAX_STEPS,
    MIN_STEPS,
    WARM_UP_STEPS,
    preserve_state,
    time_steps,
)
from tfx_feeder.components.feeder_trainer.training.train_step import WAIT_S

_MAX_BUDGET_S = 10.0
"""Seconds of timed steps that suffice for a run of any length."""


def profile_schedule(
    steps: Any,
    feed: Feed,
    epochs: Iterable[EpochSpec],
    *,
    drop_remainder: bool = False,
    **options: Any,
) -> StepProfile:
    """Profiles the steps of a schedule within 5 % of the time that the schedule will take.

    Args:
        steps: Compiled steps, as in ``profile_steps``.
        feed: Training examples.
        epochs: Epochs of the run.
        drop_remainder: If True, the run drops the last partial batch of an epoch.
        **options: Options of ``profile_steps``.
    """
    epochs = list(epochs)
    sizes = batch_sizes_to_profile(epochs)
    first = profile_steps(steps, feed, sizes, 0.0, **options)
    predicted_s = predict(first, epochs, drop_remainder=drop_remainder).seconds
    warm_up_s = sum((1 + WARM_UP_STEPS) * time.median_s for time in first.step_s.values())
    # Every run has to trace its steps, so the budget does not include tracing.
    spent_s = first.seconds - (first.start_s - options.get("start_s", 0.0))
    budget_s = min(PROFILE_TIME_FRACTION * predicted_s - spent_s - warm_up_s, _MAX_BUDGET_S)
    # All processes must make the same decision.
    (budget_s,) = (options.get("process_group") or SingleProcess()).broadcast([budget_s])
    if budget_s < warm_up_s:
        return first
    second = profile_steps(steps, feed, sizes, budget_s, **options)
    return dataclasses.replace(
        second, start_s=first.start_s, seconds=first.seconds + second.seconds
    )


def profile_steps(
    steps: Any,
    feed: Feed,
    batch_sizes: Sequence[int],
    budget_s: float,
    *,
    validation: Feed | None = None,
    validation_batch_size: int = 256,
    process_group: ProcessGroup | None = None,
    start_s: float = 0.0,
) -> StepProfile:
    """Times some steps at each batch size and restores the model afterwards.

    Args:
        steps: ``CompiledSteps`` or a strategy's equivalent; the variables are built.
        feed: Training examples.
        batch_sizes: Global batch sizes.
        budget_s: Seconds of timed steps, divided evenly among the batch sizes. At least five steps
            are timed at each batch size, even if they exceed the budget.
        validation: Validation examples; some batches are timed.
        validation_batch_size: Examples in a validation batch.
        process_group: Processes that train together; each of them calls this function.
        start_s: Seconds of the start so far; tracing is added.
    """
    begin = time.perf_counter()
    process_group = process_group or SingleProcess()
    seconds = budget_s / (len(batch_sizes) + (validation is not None))
    step_s, opened_s, traced_s, eval_s = {}, 0.0, 0.0, 0.0
    with preserve_state(steps.model):
        for size in batch_sizes:
            step_s[size], open_s, trace_s = _profile_training(
                steps, feed, size, seconds, process_group
            )
            opened_s += open_s
            traced_s += trace_s
        if validation is not None:
            eval_s, trace_s = _profile_validation(
                steps, validation, validation_batch_size, seconds, process_group
            )
            traced_s += trace_s
    return StepProfile(
        start_s + traced_s,
        step_s,
        eval_s,
        opened_s / len(batch_sizes),
        time.perf_counter() - begin,
    )


def _profile_training(
    steps: Any, feed: Feed, size: int, seconds: float, process_group: ProcessGroup
) -> tuple[StepTime, float, float]:
    """Returns the time of a step, and the seconds of opening the feed and of tracing."""
    batches, open_s, first_s = _first_step(steps, feed, size, process_group)
    durations = time_steps(
        lambda count: steps.train(batches, [size] * count), seconds, process_group
    )
    lower, median, upper = np.percentile(durations, [25, 50, 75])
    measured = StepTime(float(median), float(upper - lower) / 2, len(durations))
    return measured, open_s, max(0.0, first_s - measured.median_s)


def _first_step(
    steps: Any, feed: Feed, size: int, process_group: ProcessGroup
) -> tuple[Iterator[Any], float, float]:
    """Opens the feed and runs a step, in micro-batches if the batch does not fit.

    Returns:
        The batches; the seconds until the first one; the seconds of the step, including tracing.
    """
    epochs = _whole_batches(feed.num_examples, size, MAX_STEPS)
    while True:
        begin = time.perf_counter()
        batches = iter(feed.batches(epochs, size))
        open_s = time.perf_counter() - begin
        try:
            wait_s = float(steps.train(batches, [size])[0, WAIT_S])
            return batches, open_s + wait_s, time.perf_counter() - begin - open_s - wait_s
        except tf.errors.ResourceExhaustedError:
            if process_group.size > 1 or size == 1 or steps.max_micro_batch_size == 1:
                raise
            steps.halve_micro_batches(size)


def _profile_validation(
    steps: Any, validation: Feed, size: int, seconds: float, process_group: ProcessGroup
) -> tuple[float, float]:
    """Returns the seconds of a validation pass, and those of opening and tracing it.

    A run opens its validation once as well, for all passes.
    """
    total = validation.num_examples
    size = min(size, total)
    batches = iter(validation.batches(_whole_batches(total, size, MAX_STEPS), size))

    def timed(count: int) -> float:
        begin = time.perf_counter()
        steps.evaluate(batches, [size] * count)
        return time.perf_counter() - begin

    cold_s, warm_s = timed(1), timed(1)
    (count,) = process_group.broadcast([min(max(MIN_STEPS, seconds / warm_s), MAX_STEPS - 2)])
    batch_s = timed(int(count)) / int(count)
    return batch_s * total / size, max(0.0, cold_s - batch_s)


def _whole_batches(num_examples: int, size: int, passes: int) -> list[range]:
    """Returns the positions of some passes without their partial batches."""
    whole = num_examples // size * size
    return [range(first, first + whole) for first in range(0, passes * num_examples, num_examples)]
