"""Decisions at given times."""

import dataclasses
from datetime import datetime, timedelta, timezone

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.retraining.policy import RetrainingPolicy, RunBudget, decide
from tfx_feeder.pipeline.retraining.snapshot import LiveModel, PastTraining, Snapshot
from tfx_feeder.pipeline.retraining.triggers import Cron, ModelAge, NewSpan, OnDemand
from tfx_feeder.pipeline.retraining.window import Window
from tfx_feeder.pipeline.run_plan import SpanWeight

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
NEW = Snapshot(NOW, spans=(1, 2, 3), done=frozenset({1, 2}))


def training(
    ago: timedelta, *, seconds=60.0, warm_start=True, done=True, cached=False
) -> PastTraining:
    return PastTraining("r", NOW - ago, seconds, warm_start, done, cached)


def with_trainings(*trainings: PastTraining) -> Snapshot:
    return dataclasses.replace(NEW, trainings=trainings)


def test_every_trigger_that_fires_is_a_reason():
    decision = decide(NEW, RetrainingPolicy((NewSpan(), ModelAge(60), NewSpan(2))))
    assert decision.retrain
    assert decision.reasons == ("new span 3", "no model is live")


def test_no_reason_says_what_each_trigger_saw():
    seen = dataclasses.replace(NEW, done=frozenset({3}), live=LiveModel(7, NOW))
    decision = decide(seen, RetrainingPolicy((NewSpan(), ModelAge(86400))))
    assert not decision.retrain
    assert decision.reasons == ("no new span", "model 7 is 0s old; at most 1d")


def test_the_newest_span_is_trained_on_with_those_of_the_window():
    plan = decide(NEW, RetrainingPolicy(window=Window.parse("rolling:2"))).plan
    assert (plan.span, plan.earlier, plan.warm_start) == (3, (SpanWeight(2),), True)


def test_data_without_spans_are_retrained_on_as_they_are():
    plan = decide(Snapshot(NOW, has_spans=False), RetrainingPolicy((Cron("0 3 * * *"),))).plan
    assert (plan.span, plan.earlier) == (None, ())


def test_without_a_span_there_is_nothing_to_train_on():
    assert (
        decide(Snapshot(NOW), RetrainingPolicy((ModelAge(1),))).reasons[0]
        == "no span has arrived yet"
    )


def test_one_retraining_at_a_time_even_by_hand():
    seen = dataclasses.replace(NEW, busy="another process retrains")
    decision = decide(seen, RetrainingPolicy((OnDemand("now"),)))
    assert decision.reasons == ("another process retrains", "it would be: by hand: now")
    assert not decision.retrain


@pytest.mark.parametrize(("minutes", "retrains"), [(59, False), (61, True), (62, True)])
def test_cool_down_counts_from_the_end_of_the_last_training(minutes, retrains):
    seen = with_trainings(training(timedelta(minutes=minutes), seconds=60.0))
    assert decide(seen, RetrainingPolicy(cool_down_s=3600)).retrain is retrains


@pytest.mark.parametrize(
    ("budget", "retrains"),
    [
        ("3/7d", True),
        ("2/7d", False),
        ("2/1d", True),
        ("10m/7d", False),
        ("11m/7d", True),
        ("1s/1h", True),
    ],
)
def test_budgets_count_what_began_within_the_period(budget, retrains):
    seen = with_trainings(
        training(timedelta(days=9), seconds=9999),
        training(timedelta(days=3), seconds=300),
        # One that failed has cost its time as well.
        training(timedelta(hours=2), seconds=300, done=False),
        # One that came from the cache has cost nothing.
        training(timedelta(minutes=9), seconds=0, done=False, cached=True),
    )
    assert decide(seen, RetrainingPolicy(budgets=(RunBudget.parse(budget),))).retrain is retrains


@pytest.mark.parametrize("text", ["", "3", "0/7d", "3/", "x/7d", "2h/0s"])
def test_budget_that_cannot_be_read_is_refused(text):
    with pytest.raises(ConfigError, match="budget"):
        RunBudget.parse(text)


def test_neither_cool_down_nor_budget_holds_back_what_somebody_asked_for():
    seen = with_trainings(training(timedelta(minutes=1)))
    policy = RetrainingPolicy(
        (OnDemand("labels were mended"),), cool_down_s=3600, budgets=(RunBudget.parse("1/1d"),)
    )
    assert decide(seen, policy).retrain


@pytest.mark.parametrize(
    ("every", "warm_starts"),
    [
        (None, [True] * 6),
        (1, [False] * 6),
        (3, [True, True, False, True, True, False]),
    ],
)
def test_every_nth_training_starts_from_scratch(every, warm_starts):
    # The first of all has no model to start from, whatever it was allowed to.
    trainings, chosen = [training(timedelta(days=9), warm_start=False)], []
    for _ in warm_starts:
        plan = decide(with_trainings(*trainings), RetrainingPolicy(scratch_every=every)).plan
        chosen.append(plan.warm_start)
        trainings.append(training(timedelta(days=1), warm_start=plan.warm_start))
        trainings.append(training(timedelta(days=1), warm_start=False, done=False))
    assert chosen == warm_starts


def test_a_year_of_weekly_spans_under_a_budget_of_two_runs_in_four_weeks():
    policy = RetrainingPolicy(
        (NewSpan(),), budgets=(RunBudget.parse("2/28d"),), window=Window.parse("rolling:4")
    )
    seen, trained = Snapshot(NOW), {}
    for hour in range(0, 52 * 7 * 24, 6):
        now = NOW + timedelta(hours=hour)
        spans = tuple(range(1, hour // (7 * 24) + 2))
        seen = dataclasses.replace(seen, now=now, spans=spans)
        plan = decide(seen, policy).plan
        if plan is not None:
            trained[plan.span] = now
            done = PastTraining("r", now, 600.0, plan.warm_start, done=True)
            seen = dataclasses.replace(
                seen,
                trainings=(*seen.trainings, done),
                done=seen.done | {plan.span, *(part.span for part in plan.earlier)},
            )
    assert len(trained) == 26
    for first, third in zip(list(trained.values()), list(trained.values())[2:], strict=False):
        assert third - first >= timedelta(days=28)
    # Spans that fell into a pause are trained on with the next.
    assert seen.done == set(range(1, max(trained) + 1))


def test_a_training_in_the_future_stops_nothing_for_a_clock_was_wrong():
    seen = with_trainings(training(timedelta(days=-365)))
    policy = RetrainingPolicy(
        (Cron("0 3 * * *"),), cool_down_s=3600, budgets=(RunBudget(86400, runs=1),)
    )
    assert decide(seen, policy).retrain


def test_a_training_that_was_killed_at_once_counts_for_the_budget():
    seen = with_trainings(training(timedelta(hours=2), seconds=0.0, done=False))
    policy = RetrainingPolicy((NewSpan(),), budgets=(RunBudget(86400, runs=1),))
    assert not decide(seen, policy).retrain
