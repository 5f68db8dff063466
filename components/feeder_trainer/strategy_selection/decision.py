"""Which strategy to train with: the cheapest that is predicted to end in time.

Distribution costs inefficiency, so that the sequential training is the right one whenever it ends
within the time that the business allows. Whether it does is measured, and others are measured only
where they could change the choice.
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
"""The strategy that is probed first."""

Verdict = Literal["chosen", "in time", "too slow", "too expensive", "not probed", "cannot run"]

_KIND = re.compile("CPU|GPU|TPU")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A strategy that could be chosen, and what is known about it.

    Args:
        strategy: Its name.
        replicas: Copies of the model that share a batch.
        devices: Names of the devices that are paid for, as in ``"GPU:0"``.
        probe: What a few of its steps showed; ``None`` where it was not probed.
        predicted_s: Expected seconds of the whole schedule; ``None`` without a probe.
        low_s: Lower end of the prediction.
        high_s: Upper end of the prediction, which has to meet the requirement.
        cost: Predicted, in the unit of ``device_cost_per_hour``.
        verdict: What became of it; ``"cannot run"`` beforehand keeps it out.
        reason: Why, in one line with the figures.
    """

    strategy: str
    replicas: int
    devices: tuple[str, ...]
    probe: StepProfile | None = None
    predicted_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    cost: float | None = None
    verdict: Verdict = "not probed"
    reason: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each device: ``"CPU"``, ``"GPU"`` or ``"TPU"``."""
        return tuple(map(device_kind, self.devices))

    def cost_of(self, seconds: float, requirement: Budget) -> float:
        """Returns what the devices cost for some seconds."""
        return requirement.cost(self.strategy, self.kinds, seconds)

    def with_prediction(self, probe: StepProfile | None, prediction: TimePrediction) -> "Candidate":
        """Returns the candidate with what was measured and predicted."""
        return dataclasses.replace(
            self,
            probe=probe,
            predicted_s=prediction.seconds,
            low_s=prediction.low_s,
            high_s=prediction.high_s,
        )

    def to_row(self) -> CandidateRecord:
        """Returns the candidate as the training history holds it."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["probe"] = self.probe.to_dict() if self.probe else None
        return CandidateRecord(**values)


@dataclass(frozen=True, slots=True)
class StrategyChoice:
    """The outcome.

    Args:
        chosen: The strategy to train with.
        rows: All candidates, with verdicts, in the order in which they were given.
        warning: One sentence where the requirement is missed; else empty.
    """

    chosen: Candidate
    rows: tuple[Candidate, ...]
    warning: str = ""

    def to_rows(self) -> tuple[CandidateRecord, ...]:
        """Returns the candidates as the training history holds them."""
        return tuple(row.to_row() for row in self.rows)


def device_kind(device: str) -> str:
    """Returns ``"CPU"``, ``"GPU"`` or ``"TPU"`` for a name such as ``"/device:GPU:0"``."""
    match = _KIND.search(device.upper())
    return match.group() if match else "CPU"


def select_cheapest(candidates: Sequence[Candidate], requirement: Budget) -> StrategyChoice:
    """Chooses the cheapest candidate that meets the requirement with the end of its prediction.

    Where none does, the fastest of those within ``max_cost``; where none is within it either, the
    cheapest.

    Args:
        candidates: Those with a prediction are considered.
        requirement: What the training may take.

    Raises:
        ConfigError: No candidate has a prediction.
    """
    rows = [
        c
        if c.predicted_s is None
        else dataclasses.replace(c, cost=c.cost_of(c.predicted_s, requirement))
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
    affordable = [row for row in able if not _is_too_expensive(row, requirement)]
    meeting = [row for row in affordable if not _is_too_slow(row, requirement)]
    if meeting:
        chosen = min(meeting, key=lambda row: (row.cost, row.high_s))
    elif affordable:
        chosen = min(affordable, key=lambda row: (row.high_s, row.cost))
    else:
        chosen = min(able, key=lambda row: (row.cost, row.high_s))
    judged = [row if row.predicted_s is None else _judged(row, chosen, requirement) for row in rows]
    return StrategyChoice(
        chosen=judged[rows.index(chosen)],
        rows=tuple(judged),
        warning="" if meeting else _warning(chosen, requirement),
    )


def profile_and_select(
    candidates: Sequence[Candidate],
    segments: Sequence[EpochSpec],
    requirement: Budget,
    probe_fn: Callable[[Candidate], StepProfile],
    elapsed: Callable[[], float],
    *,
    drop_remainder: bool = False,
) -> StrategyChoice:
    """Probes what could change the choice, and chooses.

    Args:
        candidates: One for each strategy. ``sequential`` is probed first, the others in the order
            of what they would cost at perfect scaling.
        segments: The epochs of the training.
        requirement: What it may take.
        probe_fn: Measures a candidate. What it raises rules the candidate out, the sequential one
            excepted, whose failure would be that of any training.
        elapsed: Returns the seconds since the start of the Trainer.
        drop_remainder: As in ``predict``.

    Raises:
        ConfigError: No candidate can run.
    """
    rows = list(candidates)
    waiting = [index for index, row in enumerate(rows) if row.verdict != "cannot run"]
    baseline: Candidate | None = None
    while waiting:
        now = requirement.after(elapsed())
        best = {index: _at_best(rows[index], baseline) for index in waiting}
        waiting.sort(key=lambda index: _urgency(best[index], now))
        index = waiting.pop(0)
        row, probed = rows[index], [row for row in rows if row.predicted_s is not None]
        if (
            probed
            and (choice := select_cheapest([*probed, best[index]], now)).rows[-1].verdict
            != "chosen"
        ):
            rows[index] = dataclasses.replace(row, reason=_needless(best[index], choice, now))
            continue
        try:
            probe = probe_fn(row)
        except Exception as error:
            if row.strategy == BASELINE:
                raise
            first_line = f"{error}".strip().partition("\n")[0]
            reason = first_line or type(error).__name__
            rows[index] = dataclasses.replace(row, verdict="cannot run", reason=reason)
            continue
        prediction = predict(probe, segments, drop_remainder=drop_remainder)
        rows[index] = row.with_prediction(probe, prediction)
        if row.strategy == BASELINE:
            baseline = rows[index]
    return select_cheapest(rows, requirement.after(elapsed()))


def _at_best(row: Candidate, baseline: Candidate | None) -> Candidate:
    """Returns a candidate as it would be at perfect scaling; free where nothing bounds it."""
    bound = TimePrediction(0.0, 0.0, 0.0)
    # How fast a device of another kind is, the baseline does not say.
    if baseline and baseline.probe and set(row.kinds) == set(baseline.kinds):
        assert baseline.predicted_s is not None
        known = TimePrediction(baseline.predicted_s, 0.0, 0.0)
        bound = ideal_scaling(baseline.probe, known, row.replicas)
    return row.with_prediction(None, bound)


def _urgency(at_best: Candidate, requirement: Budget) -> tuple[bool, float, float]:
    seconds = at_best.predicted_s or 0.0
    return at_best.strategy != BASELINE, at_best.cost_of(seconds, requirement), seconds


def _is_too_slow(row: Candidate, requirement: Budget) -> bool:
    return row.high_s is not None and row.high_s > requirement.left_s


def _is_too_expensive(row: Candidate, requirement: Budget) -> bool:
    limit = requirement.max_cost
    return limit is not None and row.cost is not None and row.cost > limit


def _judged(row: Candidate, chosen: Candidate, requirement: Budget) -> Candidate:
    slow, expensive = _is_too_slow(row, requirement), _is_too_expensive(row, requirement)
    figures = _figures(row, requirement)
    if row is chosen:
        verdict = "chosen"
        missing = "the nearest to the requirement" if slow or expensive else "the cheapest in time"
        reason = f"{missing}: {figures}"
    elif slow:
        verdict, reason = "too slow", figures
    elif expensive:
        verdict, reason = "too expensive", figures
    else:
        verdict = "in time"
        reason = f"{figures}, where {chosen.strategy} costs {chosen.cost:.3g}"
    if row.probe and row.probe.reused:
        reason += " (probed by an earlier run)"
    return dataclasses.replace(row, verdict=verdict, reason=reason)


def _figures(row: Candidate, requirement: Budget) -> str:
    """Returns upper time and cost against what is allowed, as in ``up to 50s of 45s left``."""
    assert row.high_s is not None
    assert row.cost is not None
    time = f"up to {format_duration(row.high_s)}"
    if requirement.time_to_train_s is not None:
        left = requirement.left_s
        time += f" of {format_duration(max(0.0, left))} left"
        if row.high_s > left:
            time += f", {format_duration(row.high_s - left)} too long"
    cost = f"cost {row.cost:.3g}"
    if requirement.max_cost is not None:
        cost += f" of {requirement.max_cost:.3g} allowed"
    return f"{time}, {cost}"


def _needless(at_best: Candidate, choice: StrategyChoice, requirement: Budget) -> str:
    """Says why a probe of a candidate could not change the choice."""
    assert at_best.predicted_s is not None
    cost = at_best.cost_of(at_best.predicted_s, requirement)
    chosen = choice.chosen
    return (
        f"even at perfect scaling {format_duration(at_best.predicted_s)} and a cost of {cost:.3g}, "
        f"where {chosen.strategy} takes up to {format_duration(chosen.high_s or 0.0)} and costs "
        f"{chosen.cost:.3g}"
    )


def _warning(chosen: Candidate, requirement: Budget) -> str:
    assert chosen.high_s is not None
    assert chosen.cost is not None
    misses = []
    if _is_too_slow(chosen, requirement):
        limit = format_duration(requirement.time_to_train_s or 0.0)
        over = format_duration(chosen.high_s - requirement.left_s)
        misses.append(f"the time to train of {limit} by {over}")
    if _is_too_expensive(chosen, requirement):
        over = chosen.cost - (requirement.max_cost or 0.0)
        misses.append(f"the highest cost of {requirement.max_cost:.3g} by {over:.3g}")
    kind = "cheapest" if _is_too_expensive(chosen, requirement) else "fastest"
    return (
        f"No strategy meets the requirement. {chosen.strategy}, the {kind}, may miss "
        f"{' and '.join(misses)}."
    )
