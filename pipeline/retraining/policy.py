"""Retraining decision: a pure function of a snapshot and a retraining policy."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from tfx_feeder.common.durations import format_duration, parse_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.retraining.snapshot import PastTraining, Snapshot
from tfx_feeder.pipeline.retraining.triggers import NewSpan, OnDemand, Trigger
from tfx_feeder.pipeline.retraining.window import Window
from tfx_feeder.pipeline.run_plan import RunPlan

_COUNT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class RunBudget:
    """Limit on training within any period of a given length.

    Args:
        period_s: Length of the period, in seconds.
        runs: Maximum number of trainings that may start in it; ``None`` for no limit.
        training_s: Training time in it, in seconds, after which no training may start; ``None``
            for no limit.

    Raises:
        ConfigError: A value is out of range, or no limit is set.
    """

    period_s: float
    runs: int | None = None
    training_s: float | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.runs, self.training_s) if limit is not None]
        if not limits or min(self.period_s, *limits) <= 0:
            raise ConfigError(
                "budget", received=self, expected="runs or seconds above 0, and a period above 0"
            )

    @classmethod
    def parse(cls, text: str) -> "RunBudget":
        """Parses ``4/7d`` (four runs per week) or ``2h/7d`` (two hours of training per week).

        Raises:
            ConfigError: The text has another form.
        """
        amount, _, period = (part.strip() for part in text.partition("/"))
        period_s = parse_duration("budget", period)
        if _COUNT.fullmatch(amount):
            return cls(period_s, runs=int(amount))
        return cls(period_s, training_s=parse_duration("budget", amount))

    def exhausted_reason(self, snapshot: Snapshot) -> str:
        """Returns why no training may start; empty if the budget is not exhausted."""
        begin = snapshot.now - timedelta(seconds=self.period_s)
        recent = [t for t in snapshot.past_trainings if t.began > begin and not t.cached]
        seconds = sum(training.seconds for training in recent)
        period = format_duration(self.period_s)
        if self.runs is not None and len(recent) >= self.runs:
            return f"budget: {len(recent)} runs of {self.runs} began within {period}"
        if self.training_s is not None and seconds >= self.training_s:
            limit = format_duration(self.training_s)
            return f"budget: {format_duration(seconds)} of {limit} were trained within {period}"
        return ""


@dataclass(frozen=True, slots=True)
class RetrainingPolicy:
    """Defines when to retrain, on which spans, and from which model.

    Args:
        triggers: Triggers, any of which is sufficient.
        cool_down_s: Minimum pause after a training, in seconds.
        budgets: Budgets, all of which apply.
        window: Spans to train on.
        scratch_every: Interval, in trainings, of training from scratch, so that errors that a model
            has learned do not persist; 1 for every training, ``None`` for never.
        early_stop_after: Epochs after which baseline early stopping may end a training; ``None``
            disables it.

    Raises:
        ConfigError: A value is out of range, or there is no trigger.
    """

    triggers: tuple[Trigger, ...] = (NewSpan(),)
    cool_down_s: float = 0.0
    budgets: tuple[RunBudget, ...] = ()
    window: Window = field(default_factory=Window)
    scratch_every: int | None = None
    early_stop_after: int | None = None

    def __post_init__(self) -> None:
        if not self.triggers:
            raise ConfigError("triggers", received=(), expected="at least one")
        if self.cool_down_s < 0:
            raise ConfigError("cool_down", received=self.cool_down_s, expected="0 or more seconds")
        if self.scratch_every is not None and self.scratch_every < 1:
            raise ConfigError("scratch_every", received=self.scratch_every, expected="1 or more")
        RunPlan(early_stop_after=self.early_stop_after)  # RunPlan checks the number.


@dataclass(frozen=True, slots=True)
class RetrainingDecision:
    """Result of a decision.

    Args:
        reasons: Reasons for or against retraining, as sentences.
        plan: Plan of the run; ``None`` if there is no reason to retrain.
    """

    reasons: tuple[str, ...]
    plan: RunPlan | None = None

    @property
    def retrain(self) -> bool:
        """True if a run should start now."""
        return self.plan is not None


def decide(snapshot: Snapshot, policy: RetrainingPolicy) -> RetrainingDecision:
    """Decides whether to retrain.

    Args:
        snapshot: Everything that the decision depends on.
        policy: Retraining policy.
    """
    results = [(trigger, trigger.evaluate(snapshot)) for trigger in policy.triggers]
    fired = [(trigger, result) for trigger, result in results if result.fired]
    if not fired:
        return RetrainingDecision(tuple(result.reason for _, result in results))
    reasons = tuple(result.reason for _, result in fired)
    on_demand = any(isinstance(trigger, OnDemand) for trigger, _ in fired)
    obstacles = tuple(_obstacles(snapshot, policy, on_demand=on_demand))
    if obstacles:
        return RetrainingDecision((*obstacles, *(f"it would be: {reason}" for reason in reasons)))
    plan = RunPlan(
        reasons=reasons,
        span=snapshot.spans[-1] if snapshot.spans else None,
        earlier=policy.window.earlier(snapshot.spans),
        warm_start=not _is_turn_of_scratch(snapshot.trainings, policy.scratch_every),
        early_stop_after=policy.early_stop_after,
    )
    return RetrainingDecision(reasons, plan)


def _obstacles(snapshot: Snapshot, policy: RetrainingPolicy, *, on_demand: bool) -> Iterator[str]:
    if snapshot.busy:
        yield snapshot.busy
    if snapshot.has_spans and not snapshot.spans:
        yield "no span has arrived yet"
    if on_demand:
        return
    for last in snapshot.past_trainings[-1:]:
        pause_s = (snapshot.now - last.began).total_seconds() - last.seconds
        if pause_s < policy.cool_down_s:
            rest = format_duration(policy.cool_down_s - pause_s)
            yield f"cool-down: {rest} are left"
    yield from filter(None, (budget.exhausted_reason(snapshot) for budget in policy.budgets))


def _is_turn_of_scratch(trainings: tuple[PastTraining, ...], every: int | None) -> bool:
    if every is None:
        return False
    done = [training for training in trainings if training.done]
    warm = next((n for n, t in enumerate(reversed(done)) if not t.warm_start), len(done))
    return warm >= every - 1
