"""Comparison of a run's progress with its predicted duration."""

from tfx_feeder.common.durations import format_duration
from tfx_feeder.components.feeder_trainer.schedules.time_model import TimePrediction

_CAUGHT_UP = 0.5
"""Fraction of the tolerance below which a late run counts as caught up; the gap prevents a run at
the limit from alternating after every epoch."""


class EtaTracker:
    """Compares the progress of a run with its prediction.

    Args:
        prediction: Predicted duration of the run.
        tolerance: Relative delay from which the run counts as behind.

    Example:
        >>> eta = EtaTracker(TimePrediction(seconds=100.0, low_s=95.0, high_s=110.0))
        >>> eta.update(elapsed_s=21.0, fraction=0.2) is None
        True
        >>> eta.update(elapsed_s=60.0, fraction=0.4)
        'Training is behind its prediction: 40 % of the work took 1m instead of 40s. At this rate \
it takes 2m30s in total instead of 1m40s.'
    """

    def __init__(self, prediction: TimePrediction, tolerance: float = 0.25) -> None:
        self._predicted_s = prediction.seconds
        self._tolerance = tolerance
        self._is_behind = False

    def update(self, elapsed_s: float, fraction: float) -> str | None:
        """Updates the progress of the run.

        Args:
            elapsed_s: Seconds since the run began, as counted by the prediction.
            fraction: Fraction of the predicted time that the completed epochs should have taken.

        Returns:
            One sentence if the run has just fallen behind or caught up; otherwise ``None``.
        """
        expected_s = fraction * self._predicted_s
        if not expected_s:
            return None
        ratio = elapsed_s / expected_s
        limit = 1 + self._tolerance * (_CAUGHT_UP if self._is_behind else 1.0)
        if (ratio > limit) == self._is_behind:
            return None
        self._is_behind = not self._is_behind
        took = f"{100 * fraction:.0f} % of the work took {format_duration(elapsed_s)}"
        if not self._is_behind:
            return (
                f"Training has caught up with its prediction: {took}; predicted: "
                f"{format_duration(expected_s)}."
            )
        return (
            f"Training is behind its prediction: {took} instead of {format_duration(expected_s)}. "
            f"At this rate it takes {format_duration(ratio * self._predicted_s)} in total instead "
            f"of {format_duration(self._predicted_s)}."
        )
