"""Triggers on constructed snapshots."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from tests.components.slice_gen.measured import measured
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.retraining.snapshot import LiveModel, NewerData, PastTraining, Snapshot
from tfx_feeder.pipeline.retraining.triggers import (
    Cron,
    DataDrift,
    ModelAge,
    NewSpan,
    OnDemand,
    PerformanceDrop,
)
from tfx_feeder.schemas.statistics import SplitStatistics

NOW = datetime(2026, 3, 30, 12, tzinfo=timezone.utc)  # A Monday, a day after the clocks changed.


def trained(hours_ago: float) -> PastTraining:
    return PastTraining("r", NOW - timedelta(hours=hours_ago), 60.0, warm_start=True, done=True)


@pytest.mark.parametrize(
    ("expression", "zone", "hours_ago", "fired"),
    [
        ("0 3 * * *", "UTC", 10, True),
        ("0 3 * * *", "UTC", 8, False),
        ("0 12 * * *", "UTC", 1, True),  # Due this very moment.
        ("0 0 * * 1", "UTC", 24, True),  # 1 is Monday, as in crontab.
        ("0 0 * * 2", "UTC", 24, False),
        ("0 13 * * *", "Europe/Berlin", 2, True),  # 11 UTC, in summer time.
        ("30 13 * * *", "Europe/Berlin", 0.25, False),
    ],
)
def test_cron_fires_when_its_last_time_was_not_served(expression, zone, hours_ago, fired):
    seen = Snapshot(NOW, trainings=(trained(hours_ago),))
    assert Cron(expression, zone).evaluate(seen).fired is fired


def test_cron_fires_where_nothing_was_trained_yet():
    assert Cron("0 3 * * *").evaluate(Snapshot(NOW)).fired


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("never", "UTC"),
        ("0 3 * *", "UTC"),
        ("0 0 3 * * *", "UTC"),  # With seconds, which crontab does not have.
        ("0 0 30 2 *", "UTC"),  # Never comes.
        ("0 3 * * *", "Nowhere/At all"),
        ("0 3 * * *", "Europe"),  # A folder of time zones.
    ],
)
def test_cron_that_cannot_be_read_is_refused(expression, zone):
    with pytest.raises(ConfigError):
        Cron(expression, zone)


@pytest.mark.parametrize(
    ("spans", "done", "at_least", "fired"),
    [
        ((1,), (), 1, True),
        ((1, 2), (1,), 1, True),
        ((1, 2), (1, 2), 1, False),
        ((1, 2, 3), (3,), 1, False),  # What arrives late is no news.
        ((1, 2, 3), (1,), 3, False),
        ((1, 2, 3, 4), (1,), 3, True),
        ((), (), 1, False),
    ],
)
def test_new_span_fires_when_enough_have_arrived(spans, done, at_least, fired):
    seen = Snapshot(NOW, spans=spans, done=frozenset(done))
    assert NewSpan(at_least).evaluate(seen).fired is fired


def data(number: int, share: float) -> SplitStatistics:
    """Returns the statistics of examples of which a share is "a" and dark."""
    is_first = np.arange(number) < share * number
    brightness = np.linspace(0.0, 0.9, number) % 0.45 + 0.45 * ~is_first
    return measured({"label": np.where(is_first, "a", "b"), "brightness": brightness})


@pytest.mark.parametrize(
    ("trigger", "fired", "named"),
    [
        (DataDrift(), True, "drift of label: L-infinity 0.15, 0.12"),
        (DataDrift(0.2, 0.01), True, "drift of brightness: Jensen–Shannon"),
        (DataDrift(0.2, 0.2), False, "no drift; closest is label: L-infinity 0.15"),
        (DataDrift(0.02, 0.2, ("brightness",)), False, "no drift; closest is brightness"),
        (DataDrift(features=("absent",)), False, "no feature could be tested"),
    ],
)
def test_drift_fires_for_the_feature_farthest_above_the_noise(trigger, fired, named):
    newer = NewerData(data(1000, 0.65), data(1000, 0.5))
    result = trigger.evaluate(Snapshot(NOW, newer=newer))
    assert result.fired is fired
    assert named in result.reason


def test_the_noise_of_few_examples_is_no_drift():
    newer = NewerData(data(20, 0.65), data(1000, 0.5))
    result = DataDrift().evaluate(Snapshot(NOW, newer=newer))
    assert (result.fired, "by chance" in result.reason) == (False, True)


def test_drift_waits_for_newer_data():
    assert DataDrift().evaluate(Snapshot(NOW)).reason.startswith("no newer data")


@pytest.mark.parametrize(
    ("condition", "now", "then", "fired"),
    [
        ("accuracy>=0.9", 0.89, 0.95, True),
        ("accuracy >= 0.9", 0.9, 0.95, False),
        ("accuracy-0.02", 0.92, 0.95, True),
        ("accuracy-0.02", 0.93, 0.95, False),
        ("accuracy<=0.5", 0.6, 0.4, True),
    ],
)
def test_performance_fires_when_its_condition_does_not_hold(condition, now, then, fired):
    live = LiveModel(7, NOW, {"accuracy": now}, {"accuracy": then})
    assert PerformanceDrop.parse(condition).evaluate(Snapshot(NOW, live=live)).fired is fired


@pytest.mark.parametrize("live", [None, LiveModel(7, NOW), LiveModel(7, NOW, {"loss": 1.0})])
def test_performance_that_is_not_known_is_no_reason(live):
    assert not PerformanceDrop.parse("accuracy>=0.9").evaluate(Snapshot(NOW, live=live)).fired


@pytest.mark.parametrize("condition", ["accuracy", "accuracy=0.9", ">=0.9", "accuracy>=high"])
def test_condition_that_cannot_be_read_is_refused(condition):
    with pytest.raises(ConfigError, match="performance"):
        PerformanceDrop.parse(condition)


def test_age_fires_for_an_old_model_or_none():
    week = ModelAge(7 * 86400)
    young, old = (LiveModel(1, NOW - timedelta(days=days)) for days in (6, 8))
    assert not week.evaluate(Snapshot(NOW, live=young)).fired
    assert week.evaluate(Snapshot(NOW, live=old)).fired
    assert week.evaluate(Snapshot(NOW)).fired


def test_a_model_of_a_wrong_clock_does_not_stay_young():
    week = ModelAge(7 * 86400)
    near, far = (LiveModel(1, NOW + timedelta(days=days)) for days in (6, 365))
    assert week.evaluate(Snapshot(NOW, live=near)).reason == "model 1 is 0s old; at most 7d"
    result = week.evaluate(Snapshot(NOW, live=far))
    assert (result.fired, result.reason) == (
        True,
        "model 1 was trained 365d in the future; at most 7d",
    )


def test_manual_needs_a_reason():
    assert OnDemand("labels were mended").evaluate(Snapshot(NOW)).fired
    with pytest.raises(ConfigError):
        OnDemand(" ")
