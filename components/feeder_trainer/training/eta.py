"""Whether a training keeps up with its prediction."""

from tfx_feeder.common.durations import format_duration
from tfx_feeder.components.feeder_trainer.schedules.time_model import TimePrediction

_CAUGHT_UP = 0.5
"""Share of the tolerance below which a training that was behind counts as caught up, so that one
at the limit does not change its mind after every epoch."""


class EtaTracker:
    """Compares a training with its prediction as it goes.

    Args:
        prediction: Of the whole training.
        tolerance: Share by which it may take longer before it counts as behind.

    Example:
        >>> pace = EtaTracker(TimePrediction(seconds=100.0, low_s=95.0, high_s=110.0))
        >>> pace.told(elapsed_s=21.0, share=0.2) is None
        True
        >>> pace.told(elapsed_s=60.0, share=0.4)
        'The training is behind its prediction: 40 % of the work took 1m instead of 40s. At this \
pace it takes 2m30s instead of 1m40s in all.'
    """

    def __init__(self, prediction: TimePrediction, tolerance: float = 0.25) -> None:
        self._predicted_s = prediction.seconds
        self._tolerance = tolerance
        self._is_behind = False

    def told(self, elapsed_s: float, share: float) -> str | None:
        """Takes note of where the training stands.

        Args:
            elapsed_s: Seconds since the training began, as the prediction counts them.
            share: Of the predicted time, what should be over by now; see ``TimePrediction.share``.

        Returns:
            One sentence if the training has just fallen behind, or caught up; else ``None``.
        """
        expected_s = share * self._predicted_s
        if not expected_s:
            return None
        ratio = elapsed_s / expected_s
        limit = 1 + self._tolerance * (_CAUGHT_UP if self._is_behind else 1.0)
        if (ratio > limit) == self._is_behind:
            return None
        self._is_behind = not self._is_behind
        took = f"{100 * share:.0f} % of the work took {format_duration(elapsed_s)}"
        if not self._is_behind:
            return (
                f"The training has caught up with its prediction: {took}, and "
                f"{format_duration(expected_s)} was predicted."
            )
        return (
            f"The training is behind its prediction: {took} instead of "
            f"{format_duration(expected_s)}. At this pace it takes "
            f"{format_duration(ratio * self._predicted_s)} instead of "
            f"{format_duration(self._predicted_s)} in all."
        )
