"""What a decision about retraining looks at, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class PastTraining:
    """A training in the past, whatever became of it; one that came from the cache as well.

    Args:
        run_id: Of its run.
        began: When; UTC.
        seconds: How long it trained; 0 where the cache had the model already.
        warm_start: Whether it started from a model.
        done: Whether it made a model.
    """

    run_id: str
    began: datetime
    seconds: float
    warm_start: bool
    done: bool


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The model that is served.

    Args:
        id: In the store.
        trained: When; UTC.
        metrics: By name: on all examples of the newest data on which it was measured.
        metrics_then: The same when it was judged for the first time.
    """

    id: int
    trained: datetime
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_then: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """How far a feature of the newest data is from what the live model was trained on.

    Args:
        feature: Its name.
        measure: ``L-infinity`` (categories) or ``Jensen–Shannon`` (numbers, in bits).
        value: From 0 to 1.
    """

    feature: str
    measure: str
    value: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a decision depends on.

    Args:
        now: The time; UTC.
        spans: Those that are there and complete, in order; empty where the data has none.
        has_spans: Whether the data comes in spans, though none may be there yet.
        done: Spans that have been trained on to the end of the pipeline.
        trainings: The oldest first.
        live: ``None`` where nothing is served.
        measured: Spans whose statistics are there.
        drift: Of each feature; empty where no newer data has been measured.
        busy: What is running, in words; empty where nothing is.
    """

    now: datetime
    spans: tuple[int, ...] = ()
    has_spans: bool = True
    done: frozenset[int] = frozenset()
    trainings: tuple[PastTraining, ...] = ()
    live: LiveModel | None = None
    measured: frozenset[int] = frozenset()
    drift: tuple[FeatureDrift, ...] = ()
    busy: str = ""

    @property
    def new_spans(self) -> tuple[int, ...]:
        """Those after the newest that has been trained on."""
        newest = max(self.done, default=None)
        return tuple(span for span in self.spans if newest is None or span > newest)
