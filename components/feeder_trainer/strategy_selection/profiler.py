"""Measures what the steps of a training cost, and leaves no trace of it."""

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.base import Feed
from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.schedules.time_model import (
    PROFILE_TIME_FRACTION,
    StepProfile,
    StepTime,
    batch_sizes_to_profile,
    predict,
)
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup, SingleProcess
from tfx_feeder.components.feeder_trainer.training.train_step import STEP_S, WAIT_S

_FEWEST_STEPS = 5
_MOST_STEPS = 1000
_WARM_UP = 5
"""Steps before those that count: more than a feed has in store when it begins."""
_LONGEST_S = 10.0
"""Seconds of steps that tell enough, however long the training."""
_CALL_S = 0.5
"""Aim for the duration of one compiled call, as in the training loop."""


def probe_schedule(
    steps: Any,
    feed: Feed,
    segments: Iterable[EpochSpec],
    *,
    drop_remainder: bool = False,
    **options: Any,
) -> StepProfile:
    """Measures the steps of a schedule within 5 % of the time that the schedule will take.

    Args:
        steps: As in ``profile_steps``.
        feed: As in ``profile_steps``.
        segments: The epochs of the training.
        drop_remainder: As in ``predict``.
        **options: Those of ``profile_steps``.
    """
    segments = list(segments)
    sizes = batch_sizes_to_profile(segments)
    first = profile_steps(steps, feed, sizes, 0.0, **options)
    predicted_s = predict(first, segments, drop_remainder=drop_remainder).seconds
    warm_up_s = sum((1 + _WARM_UP) * time.median_s for time in first.step_s.values())
    # Tracing is part of any training, and as such of the prediction.
    spent_s = first.seconds - (first.start_s - options.get("start_s", 0.0))
    left_s = min(PROFILE_TIME_FRACTION * predicted_s - spent_s - warm_up_s, _LONGEST_S)
    # Members of a team go on together, or not.
    (left_s,) = (options.get("team") or SingleProcess()).broadcast([left_s])
    if left_s < warm_up_s:
        return first
    second = profile_steps(steps, feed, sizes, left_s, **options)
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
    team: ProcessGroup | None = None,
    start_s: float = 0.0,
) -> StepProfile:
    """Runs a few warm steps at each batch size, measures them, and undoes what they did.

    Args:
        steps: ``CompiledSteps``, or those of another strategy; their variables are built.
        feed: Training examples.
        batch_sizes: Global batch sizes.
        budget_s: Seconds for the steps that count, shared out evenly. At least five are measured
            at each batch size even where this takes longer.
        validation: Examples to validate on; some batches are measured.
        validation_batch_size: Examples in a batch of validation.
        team: Those that train side by side; each of them has to call this.
        start_s: What it took to get here; tracing is added to it.
    """
    begin = time.perf_counter()
    team = team or SingleProcess()
    before = capture(steps.model)
    seconds = budget_s / (len(batch_sizes) + (validation is not None))
    step_s, opened_s, traced_s, eval_s = {}, 0.0, 0.0, 0.0
    try:
        for size in batch_sizes:
            step_s[size], open_s, trace_s = _train(steps, feed, size, seconds, team)
            opened_s += open_s
            traced_s += trace_s
        if validation is not None:
            eval_s, trace_s = _evaluate(steps, validation, validation_batch_size, seconds, team)
            traced_s += trace_s
    finally:
        restore(steps.model, before)
    return StepProfile(
        start_s + traced_s,
        step_s,
        eval_s,
        opened_s / len(batch_sizes),
        time.perf_counter() - begin,
    )


def _train(
    steps: Any, feed: Feed, size: int, seconds: float, team: ProcessGroup
) -> tuple[StepTime, float, float]:
    """Returns what a step costs, and seconds of opening the feed and of tracing."""
    batches, open_s, first_s = _open_fitting(steps, feed, size, team)
    steps.train(batches, [size] * _WARM_UP)
    durations: list[float] = []
    count = _FEWEST_STEPS
    begin = time.perf_counter()
    while count:
        call = time.perf_counter()
        rows = steps.train(batches, [size] * count)
        call_s = time.perf_counter() - call
        each = rows[:, [WAIT_S, STEP_S]].sum(axis=1)
        # Steps that run side by side take less together than their sum.
        durations.extend(each * min(1.0, call_s / each.sum()))
        left_s = seconds - (time.perf_counter() - begin)
        more = min(left_s, _CALL_S, call_s * 16) * count / call_s
        (agreed,) = team.broadcast([min(more, _MOST_STEPS - len(durations))])
        count = int(agreed) if agreed >= _FEWEST_STEPS else 0
    lower, median, upper = np.percentile(durations, [25, 50, 75])
    measured = StepTime(float(median), float(upper - lower) / 2, len(durations))
    return measured, open_s, max(0.0, first_s - measured.median_s)


def _open_fitting(
    steps: Any, feed: Feed, size: int, team: ProcessGroup
) -> tuple[Iterator[Any], float, float]:
    """Opens the feed and runs a step, in micro-batches where the batch does not fit.

    Returns:
        The batches; seconds until the first one was there; seconds of the step, tracing included.
    """
    epochs = _whole_batches(feed.num_examples, size, _MOST_STEPS)
    while True:
        begin = time.perf_counter()
        batches = iter(feed.batches(epochs, size))
        open_s = time.perf_counter() - begin
        try:
            wait_s = float(steps.train(batches, [size])[0, WAIT_S])
            return batches, open_s + wait_s, time.perf_counter() - begin - open_s - wait_s
        except tf.errors.ResourceExhaustedError:
            if team.size > 1 or size == 1 or steps.max_micro_batch_size == 1:
                raise
            steps.halve_micro_batches(size)


def _evaluate(
    steps: Any, validation: Feed, size: int, seconds: float, team: ProcessGroup
) -> tuple[float, float]:
    """Returns what a pass of validation costs, and what it took to open and trace it.

    A training opens its validation once as well, for all passes.
    """
    total = validation.num_examples
    size = min(size, total)
    batches = iter(validation.batches(_whole_batches(total, size, _MOST_STEPS), size))

    def timed(count: int) -> float:
        begin = time.perf_counter()
        steps.evaluate(batches, [size] * count)
        return time.perf_counter() - begin

    cold_s, warm_s = timed(1), timed(1)
    (agreed,) = team.broadcast([min(max(_FEWEST_STEPS, seconds / warm_s), _MOST_STEPS - 2)])
    each_s = timed(int(agreed)) / int(agreed)
    return each_s * total / size, max(0.0, cold_s - each_s)


def _whole_batches(num_examples: int, size: int, passes: int) -> list[range]:
    """Returns the positions of some passes without their partial batches."""
    whole = num_examples // size * size
    return [range(first, first + whole) for first in range(0, passes * num_examples, num_examples)]
