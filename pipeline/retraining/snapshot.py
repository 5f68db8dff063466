"""Inputs of a retraining decision, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tfx_feeder.schemas.statistics import SplitStatistics


@dataclass(frozen=True, slots=True)
class PastTraining:
    """A past training, including failed trainings and those served from the cache.

    Args:
        run_id: Id of the run.
        began: Start time (UTC).
        seconds: Training time; 0 if the model came from the cache.
        warm_start: True if the training started from a model.
        done: True if the training produced a model.
        cached: True if the model came from the cache.
    """

    run_id: str
    began: datetime
    seconds: float
    warm_start: bool
    done: bool
    cached: bool = False


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The served model.

    Args:
        id: Id of the model artifact.
        trained: Time of the training (UTC).
        metrics: Metrics by name, over all examples of the newest data that it was evaluated on.
        initial_metrics: Metrics of its first evaluation.
    """

    id: int
    trained: datetime
    metrics: Mapping[str, float] = field(default_factory=dict)
    initial_metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewerData:
    """Statistics of data that are newer than those the live model was trained on.

    Args:
        current: Statistics of the newest data.
        baseline: Statistics of the newest training data of the live model.
    """

    current: SplitStatistics
    baseline: SplitStatistics


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a retraining decision depends on.

    Args:
        now: Current time (UTC).
        spans: Complete spans, in order; empty if the data has none.
        has_spans: True if the data comes in spans, even before the first one arrives.
        done: Spans of completed runs.
        trainings: Past trainings, oldest first.
        live: Served model; ``None`` if there is none.
        measured: Spans with statistics.
        newer: Data newer than those of the live model; ``None`` if none have been measured.
        busy: Description of the active run; empty if there is none.
    """

    now: datetime
    spans: tuple[int, ...] = ()
    has_spans: bool = True
    done: frozenset[int] = frozenset()
    trainings: tuple[PastTraining, ...] = ()
    live: LiveModel | None = None
    measured: frozenset[int] = frozenset()
    newer: NewerData | None = None
    busy: str = ""

    @property
    def past_trainings(self) -> tuple[PastTraining, ...]:
        """Trainings without those in the future, whose age is unknown because a clock was wrong."""
        return tuple(training for training in self.trainings if training.began <= self.now)

    @property
    def new_spans(self) -> tuple[int, ...]:
        """Spans newer than all spans of completed runs."""
        newest = max(self.done, default=None)
        return tuple(span for span in self.spans if newest is None or span > newest)
