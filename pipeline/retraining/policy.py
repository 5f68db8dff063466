"""Whether to retrain now, on what, and from what: a function of the situation and the policy."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from tfx_feeder.common.durations import format_duration, parse_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.retraining.snapshot import PastTraining, Snapshot
from tfx_feeder.pipeline.retraining.triggers import NewSpan, OnDemand, Trigger
from tfx_feeder.pipeline.retraining.window import Window
from tfx_feeder.pipeline.run_plan import RunPlan


@dataclass(frozen=True, slots=True)
class RunBudget:
    """How much may be trained in any period of some length.

    Args:
        period_s: Length of the period, in seconds.
        runs: Most trainings that may begin in it; ``None``: any number.
        training_s: Seconds of training after which none begins any more; ``None``: any.

    Raises:
        ConfigError: A value is out of range, or nothing is limited.
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
        """Reads ``4/7d``, four runs a week, or ``2h/7d``, two hours of training a week.

        Raises:
            ConfigError: It is none of these.
        """
        amount, _, period = (part.strip() for part in text.partition("/"))
        period_s = parse_duration("budget", period)
        if amount.isdecimal():
            return cls(period_s, runs=int(amount))
        return cls(period_s, training_s=parse_duration("budget", amount))

    def spent(self, seen: Snapshot) -> str:
        """Says what of it has been used up; empty where enough is left."""
        begin = seen.now - timedelta(seconds=self.period_s)
        recent = [t for t in seen.trainings if t.began > begin and t.seconds > 0]
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
    """When to retrain, on what, and from what.

    Args:
        triggers: Any of them is enough.
        cool_down_s: Least pause after a training, in seconds.
        budgets: All of them hold.
        window: The spans to train on.
        scratch_every: Every how many trainings starts from scratch, so that what a model has
            learned wrong does not stay for ever; 1: each, ``None``: none.
        early_stop_after: See ``RunPlan``.

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
        RunPlan(early_stop_after=self.early_stop_after)  # It checks the number.


@dataclass(frozen=True, slots=True)
class RetrainingDecision:
    """What was decided.

    Args:
        reasons: Why, or why not, in sentences.
        plan: What to do; ``None``: nothing.
    """

    reasons: tuple[str, ...]
    plan: RunPlan | None = None

    @property
    def retrain(self) -> bool:
        """Whether to retrain now."""
        return self.plan is not None


def decide(seen: Snapshot, policy: RetrainingPolicy) -> RetrainingDecision:
    """Decides whether to retrain.

    Args:
        seen: The situation.
        policy: What the user wants.
    """
    verdicts = [(trigger, trigger.judge(seen)) for trigger in policy.triggers]
    fired = [(trigger, verdict) for trigger, verdict in verdicts if verdict.fires]
    if not fired:
        return RetrainingDecision(tuple(verdict.text for _, verdict in verdicts))
    reasons = tuple(verdict.text for _, verdict in fired)
    asked_for = any(isinstance(trigger, OnDemand) for trigger, _ in fired)
    obstacles = tuple(_obstacles(seen, policy, asked_for=asked_for))
    if obstacles:
        return RetrainingDecision((*obstacles, *(f"it would be: {reason}" for reason in reasons)))
    plan = RunPlan(
        reasons=reasons,
        span=seen.spans[-1] if seen.spans else None,
        earlier=policy.window.earlier(seen.spans),
        warm_start=not _is_turn_of_scratch(seen.trainings, policy.scratch_every),
        early_stop_after=policy.early_stop_after,
    )
    return RetrainingDecision(reasons, plan)


def _obstacles(seen: Snapshot, policy: RetrainingPolicy, *, asked_for: bool) -> Iterator[str]:
    if seen.busy:
        yield seen.busy
    if seen.has_spans and not seen.spans:
        yield "there is no span yet"
    if asked_for:
        return
    if seen.trainings:
        last = seen.trainings[-1]
        pause_s = (seen.now - last.began).total_seconds() - last.seconds
        if pause_s < policy.cool_down_s:
            rest = format_duration(policy.cool_down_s - pause_s)
            yield f"cool-down: {rest} are left"
    yield from filter(None, (budget.spent(seen) for budget in policy.budgets))


def _is_turn_of_scratch(trainings: tuple[PastTraining, ...], every: int | None) -> bool:
    if every is None:
        return False
    done = [training for training in trainings if training.done]
    warm = next((n for n, t in enumerate(reversed(done)) if not t.warm_start), len(done))
    return warm >= every - 1
