"""Falling behind a prediction, and catching up, is reported once each."""

from tfx_feeder.components.feeder_trainer.schedules.time_model import TimePrediction
from tfx_feeder.components.feeder_trainer.training.eta import EtaTracker

PREDICTION = TimePrediction(100.0, 95.0, 110.0, (20.0, 60.0, 100.0))


def test_within_the_tolerance_nothing_is_reported() -> None:
    eta = EtaTracker(PREDICTION)

    assert [
        eta.update(seconds, fraction) for seconds, fraction in ((24, 0.2), (70, 0.6), (90, 1))
    ] == [None] * 3


def test_falling_behind_is_reported_once_and_again_after_catching_up() -> None:
    eta = EtaTracker(PREDICTION)

    messages = [
        eta.update(seconds, fraction) for seconds, fraction in ((30, 0.2), (45, 0.3), (44, 0.4))
    ]
    later = eta.update(90, 0.5)

    assert messages[0] is not None
    assert "20 % of the work took 30s instead of 20s" in messages[0]
    assert "takes 2m30s in total instead of 1m40s" in messages[0]
    assert messages[1] is None
    assert messages[2] is not None
    assert "caught up" in messages[2]
    assert later is not None
    assert "behind" in later


def test_at_the_limit_it_does_not_change_its_mind() -> None:
    eta = EtaTracker(PREDICTION, tolerance=0.2)

    messages = [
        eta.update(100 * fraction * ratio, fraction)
        for ratio, fraction in ((1.21, 0.1), (1.19, 0.2), (1.21, 0.3), (1.19, 0.4))
    ]

    assert [bool(sentence) for sentence in messages] == [True, False, False, False]


def test_before_any_work_there_is_nothing_to_compare() -> None:
    assert EtaTracker(PREDICTION).update(1000.0, 0.0) is None
