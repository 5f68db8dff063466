"""Timing of training steps without a lasting effect on the model."""

import contextlib
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np

from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup
from tfx_feeder.components.feeder_trainer.training.train_step import STEP_S, WAIT_S

CALL_S = 0.5
"""Target duration of a compiled call: negligible overhead, and progress stays visible."""
MIN_STEPS = 5
MAX_STEPS = 1000
WARM_UP_STEPS = 5
"""Untimed steps; more than a newly opened feed has prefetched."""


@contextlib.contextmanager
def preserve_state(model: keras.Model) -> Iterator[None]:
    """Restores the variables of model, optimizer and metrics on exit."""
    before = capture(model)
    try:
        yield
    finally:
        restore(model, before)


def steps_per_call(count: int, call_s: float, min_steps: int = 1) -> int:
    """Returns the number of steps of the next compiled call, so that it takes about ``CALL_S``.

    Args:
        count: Steps of the last call.
        call_s: Duration of the last call in seconds.
        min_steps: Minimum number of steps, unless the call would grow more than 16-fold.
    """
    return min(max(min_steps, round(count * CALL_S / call_s)), 16 * count)


def time_steps(
    run: Callable[[int], np.ndarray],
    budget_s: float,
    process_group: ProcessGroup,
    *,
    warm_up_steps: int = WARM_UP_STEPS,
    first_steps: int = MIN_STEPS,
) -> np.ndarray:
    """Runs warm-up steps, then times steps until the budget is spent.

    At least ``MIN_STEPS`` steps are timed, even if they exceed the budget.

    Args:
        run: Function that runs a number of steps and returns the rows of ``CompiledSteps.train``.
        budget_s: Time for the timed steps in seconds; the chief's value counts.
        process_group: Processes that train together; each of them calls this function.
        warm_up_steps: Number of untimed steps.
        first_steps: Number of steps of the first call; the same on all processes.

    Returns:
        Duration of each step in seconds, including the wait for its batch, ``[steps]``.
    """
    if warm_up_steps:
        run(warm_up_steps)
    durations: list[float] = []
    count = first_steps
    begin = time.perf_counter()
    while count:
        call = time.perf_counter()
        rows = run(count)
        call_s = time.perf_counter() - call
        each = rows[:, [WAIT_S, STEP_S]].sum(axis=1)
        # Concurrent steps take less time together than the sum of their durations.
        durations.extend(each * min(1.0, call_s / each.sum()))
        affordable = (budget_s - (time.perf_counter() - begin)) * count / call_s
        remaining = min(affordable, steps_per_call(count, call_s), MAX_STEPS - len(durations))
        (remaining,) = process_group.broadcast([remaining])
        count = int(remaining) if remaining >= MIN_STEPS else 0
    return np.array(durations)
