"""Selects the cheapest strategy predicted to meet the deadline.

Distribution adds overhead, so single-device training wins whenever it finishes in time. Its steps
are profiled first; other strategies are profiled only if they could change the selection.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tfx_feeder.common.durations import format_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.schedules.time_model import (
    StepProfile,
    TimePrediction,
    ideal_scaling,
    predict,
)
from tfx_feeder.components.feeder_trainer.strategy_selection.budget import Budget
from tfx_feeder.schemas.training_history import CandidateRecord

BASELINE = "sequential"
"""Name of the strategy that is profiled first."""

CandidateStatus = Literal[
    "chosen", "in time", "too slow", "too expensive", "not probed", "cannot run"
]

_KIND = re.compile("CPU|GPU|TPU")


@dataclass(frozen=True, slots=True)
class StrategyCandidate:
    """Candidate strategy with its measurements and prediction.

    Args:
        strategy: Name of the strategy.
        replicas: Number of replicas that divide a batch.
        devices: Names of the billed devices, as in ``"GPU:0"``.
        profile: Profile of its steps; ``None`` if it was not profiled.
        predicted_s: Predicted seconds of the whole schedule; ``None`` without a profile.
        low_s: Lower bound of the prediction in seconds.
        high_s: Upper bound in seconds; it must be within the budget.
        cost: Predicted cost, in the unit of ``device_cost_per_hour``.
        status: Result of the selection; a candidate that starts as ``"cannot run"`` is skipped.
        reason: Explanation in one line, with figures.
    """

    strategy: str
    replicas: int
    devices: tuple[str, ...]
    profile: StepProfile | None = None
    predicted_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    cost: float | None = None
    status: CandidateStatus = "not probed"
    reason: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each device: ``"CPU"``, ``"GPU"`` or ``"TPU"``."""
        return tuple(map(device_kind, self.devices))

    def cost_of(self, seconds: float, budget: Budget) -> float:
        """Returns the cost of the candidate's devices for a duration.

        Args:
            seconds: Duration in seconds.
            budget: Budget with the prices.
        """
        return budget.cost(self.strategy, self.kinds, seconds)

    def with_prediction(
        self, profile: StepProfile | None, prediction: TimePrediction
    ) -> "StrategyCandidate":
        """Returns a copy with a profile and a prediction.

        Args:
            profile: Step profile; ``None`` if the candidate was not profiled.
            prediction: Predicted duration.
        """
        return dataclasses.replace(
            self,
            profile=profile,
            predicted_s=prediction.seconds,
            low_s=prediction.low_s,
            high_s=prediction.high_s,
        )

    def to_row(self) -> CandidateRecord:
        """Returns the record of the candidate for the training history."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        # Keys of the stored history.
        values["verdict"] = values.pop("status")
        values["probe"] = self.profile.to_dict() if self.profile else None
        del values["profile"]
        return CandidateRecord(**values)


@dataclass(frozen=True, slots=True)
class StrategyChoice:
    """Result of a strategy selection.

    Args:
        selected: Strategy to train with.
        rows: All candidates with their status, in the order given.
        warning: One sentence if the budget may be exceeded; otherwise empty.
    """

    selected: StrategyCandidate
    rows: tuple[StrategyCandidate, ...]
    warning: str = ""

    def to_rows(self) -> tuple[CandidateRecord, ...]:
        """Returns the records of the candidates for the training history."""
        return tuple(row.to_row() for row in self.rows)


def device_kind(device: str) -> str:
    """Returns ``"CPU"``, ``"GPU"`` or ``"TPU"`` for a name such as ``"/device:GPU:0"``."""
    match = _KIND.search(device.upper())
    return match.group() if match else "CPU"


def select_cheapest(candidates: Sequence[StrategyCandidate], budget: Budget) -> StrategyChoice:
    """Selects the cheapest candidate whose upper prediction bound is within the budget.

    If there is none, selects the fastest candidate within ``max_cost``; if none is within it
    either, the cheapest.

    Args:
        candidates: Candidates; those without a prediction are not considered.
        budget: Time and cost budget.

    Raises:
        ConfigError: No candidate has a prediction.
    """
    rows = [
        c
        if c.predicted_s is None
        else dataclasses.replace(c, cost=c.cost_of(c.predicted_s, budget))
        for c in candidates
    ]
    able = [row for row in rows if row.predicted_s is not None]
    if not able:
        raise ConfigError(
            "strategy candidates",
            received=[c.strategy for c in candidates],
            expected="at least one that can run here",
            fix=" ".join(f"{c.strategy}: {c.reason}" for c in candidates if c.reason),
        )
    affordable = [row for row in able if not _is_too_expensive(row, budget)]
    meeting = [row for row in affordable if not _is_too_slow(row, budget)]
    if meeting:
        selected = min(meeting, key=lambda row: (row.cost, row.high_s))
    elif affordable:
        selected = min(affordable, key=lambda row: (row.high_s, row.cost))
    else:
        selected = min(able, key=lambda row: (row.cost, row.high_s))
    decided = [
        row if row.predicted_s is None else _with_status(row, selected, budget) for row in rows
    ]
    return StrategyChoice(
        selected=decided[rows.index(selected)],
        rows=tuple(decided),
        warning="" if meeting else _warning(selected, budget),
    )


def profile_and_select(
    candidates: Sequence[StrategyCandidate],
    epochs: Sequence[EpochSpec],
    budget: Budget,
    profile: Callable[[StrategyCandidate], StepProfile],
    elapsed: Callable[[], float],
    *,
    drop_remainder: bool = False,
) -> StrategyChoice:
    """Profiles the candidates that could change the selection, and selects one.

    Args:
        candidates: One candidate per strategy. ``sequential`` is profiled first, the others in
            order of their cost at ideal scaling.
        epochs: Epochs of the training.
        budget: Time and cost budget.
        profile: Function that profiles a candidate. An exception excludes the candidate, except
            for ``sequential``, whose failure would affect any training.
        elapsed: Function that returns the seconds since the start of the Trainer.
        drop_remainder: See ``predict``.

    Raises:
        ConfigError: No candidate can run.
    """
    rows = list(candidates)
    pending = [index for index, row in enumerate(rows) if row.status != "cannot run"]
    baseline: StrategyCandidate | None = None
    while pending:
        now = budget.at(elapsed())
        bounds = {index: _at_ideal_scaling(rows[index], baseline) for index in pending}
        pending.sort(key=lambda index: _profiling_order(bounds[index], now))
        index = pending.pop(0)
        row, profiled = rows[index], [row for row in rows if row.predicted_s is not None]
        if (
            profiled
            and (choice := select_cheapest([*profiled, bounds[index]], now)).rows[-1].status
            != "chosen"
        ):
            rows[index] = dataclasses.replace(
                row, reason=_reason_not_profiled(bounds[index], choice, now)
            )
            continue
        try:
            step_profile = profile(row)
        except Exception as error:
            if row.strategy == BASELINE:
                raise
            first_line = f"{error}".strip().partition("\n")[0]
            reason = first_line or type(error).__name__
            rows[index] = dataclasses.replace(row, status="cannot run", reason=reason)
            continue
        prediction = predict(step_profile, epochs, drop_remainder=drop_remainder)
        rows[index] = row.with_prediction(step_profile, prediction)
        if row.strategy == BASELINE:
            baseline = rows[index]
    return select_cheapest(rows, budget.at(elapsed()))


def _at_ideal_scaling(
    row: StrategyCandidate, baseline: StrategyCandidate | None
) -> StrategyCandidate:
    """Returns the candidate at ideal scaling; its cost is 0 if nothing bounds it."""
    bound = TimePrediction(0.0, 0.0, 0.0)
    # The baseline does not predict the speed of another kind of device.
    if baseline and baseline.profile and set(row.kinds) == set(baseline.kinds):
        assert baseline.predicted_s is not None
        known = TimePrediction(baseline.predicted_s, 0.0, 0.0)
        bound = ideal_scaling(baseline.profile, known, row.replicas)
    return row.with_prediction(None, bound)


def _profiling_order(bound: StrategyCandidate, budget: Budget) -> tuple[bool, float, float]:
    seconds = bound.predicted_s or 0.0
    return bound.strategy != BASELINE, bound.cost_of(seconds, budget), seconds


def _is_too_slow(row: StrategyCandidate, budget: Budget) -> bool:
    return row.high_s is not None and row.high_s > budget.remaining_s


def _is_too_expensive(row: StrategyCandidate, budget: Budget) -> bool:
    limit = budget.max_cost
    return limit is not None and row.cost is not None and row.cost > limit


def _with_status(
    row: StrategyCandidate, selected: StrategyCandidate, budget: Budget
) -> StrategyCandidate:
    slow, expensive = _is_too_slow(row, budget), _is_too_expensive(row, budget)
    figures = _figures(row, budget)
    if row is selected:
        status = "chosen"
        missing = "closest to the budget" if slow or expensive else "cheapest within the budget"
        reason = f"{missing}: {figures}"
    elif slow:
        status, reason = "too slow", figures
    elif expensive:
        status, reason = "too expensive", figures
    else:
        status = "in time"
        reason = f"{figures}, where {selected.strategy} costs {selected.cost:.3g}"
    if row.profile and row.profile.reused:
        reason += " (profiled by an earlier run)"
    return dataclasses.replace(row, status=status, reason=reason)


def _figures(row: StrategyCandidate, budget: Budget) -> str:
    """Returns upper time and cost against the budget, as in ``up to 50s of 45s left``."""
    assert row.high_s is not None
    assert row.cost is not None
    time = f"up to {format_duration(row.high_s)}"
    if budget.time_to_train_s is not None:
        left = budget.remaining_s
        time += f" of {format_duration(max(0.0, left))} left"
        if row.high_s > left:
            time += f", {format_duration(row.high_s - left)} too long"
    cost = f"cost {row.cost:.3g}"
    if budget.max_cost is not None:
        cost += f" of {budget.max_cost:.3g} allowed"
    return f"{time}, {cost}"


def _reason_not_profiled(bound: StrategyCandidate, choice: StrategyChoice, budget: Budget) -> str:
    """Explains why profiling a candidate could not change the selection."""
    assert bound.predicted_s is not None
    cost = bound.cost_of(bound.predicted_s, budget)
    selected = choice.selected
    return (
        f"even at perfect scaling {format_duration(bound.predicted_s)} and a cost of {cost:.3g}, "
        f"where {selected.strategy} takes up to {format_duration(selected.high_s or 0.0)} "
        f"and costs {selected.cost:.3g}"
    )


def _warning(selected: StrategyCandidate, budget: Budget) -> str:
    assert selected.high_s is not None
    assert selected.cost is not None
    misses = []
    if _is_too_slow(selected, budget):
        limit = format_duration(budget.time_to_train_s or 0.0)
        over = format_duration(selected.high_s - budget.remaining_s)
        misses.append(f"the time to train of {limit} by {over}")
    if _is_too_expensive(selected, budget):
        over = selected.cost - (budget.max_cost or 0.0)
        misses.append(f"the highest cost of {budget.max_cost:.3g} by {over:.3g}")
    kind = "cheapest" if _is_too_expensive(selected, budget) else "fastest"
    return (
        f"No strategy meets the budget. {selected.strategy}, the {kind}, may miss "
        f"{' and '.join(misses)}."
    )
