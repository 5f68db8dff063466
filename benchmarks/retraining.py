"""Years of data, replayed span by span under several policies of retraining.

Each span meets the live model first, which is what is plotted; then the policy decides, by the same
function as ``tfx-feeder retrain``, on a clock that is made up. A model that it trains goes live
unless it is worse by more than two points on a third of the newest span that no model has seen.
The data are real and so is their drift: digits by the person who wrote them, one span a month, or
trips of Chicago's taxis by month, of which it is predicted whether the tip is above 20 %. The model
is a small network of scikit-learn, for the policies are compared here, not the trainers. A policy
that gives up stops by the same bound as FeederTrainer, measured on the unseen third.
"""

import copy
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path

import click
import harness
import numpy as np
from rich.console import Console
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.training.early_stopping import attainable_upper_bound
from tfx_feeder.pipeline.cli.plots import Line, Plot, Plots
from tfx_feeder.pipeline.datasets import DIGITS_FORMS
from tfx_feeder.pipeline.retraining.policy import RetrainingPolicy, RunBudget, decide
from tfx_feeder.pipeline.retraining.snapshot import LiveModel, NewerData, PastTraining, Snapshot
from tfx_feeder.pipeline.retraining.triggers import DataDrift, ModelAge, NewSpan, PerformanceDrop
from tfx_feeder.pipeline.retraining.window import Window
from tfx_feeder.pipeline.run_plan import RunPlan, SpanWeight
from tfx_feeder.schemas.statistics import Bucket, FeatureStatistics, SplitStatistics

MONTH = timedelta(days=30)
BEGIN = datetime(2013, 1, 1, tzinfo=timezone.utc)
WORSE_BY = 0.02
FIRST = ModelAge(100 * 365 * 86400.0)  # Fires where no model is live, and never again.
POLICIES: Mapping[str, RetrainingPolicy] = {
    "never": RetrainingPolicy((FIRST,)),
    "new span": RetrainingPolicy((NewSpan(),)),
    "new span, rolling 4": RetrainingPolicy((NewSpan(),), window=Window(4)),
    "new span, all": RetrainingPolicy((NewSpan(),), window=Window(None)),
    "new span, weighted": RetrainingPolicy((NewSpan(),), window=Window(None, 0.7)),
    "same, scratch 1 in 4": RetrainingPolicy(
        (NewSpan(),), window=Window(None, 0.7), scratch_every=4
    ),
    "from scratch": RetrainingPolicy((NewSpan(),), scratch_every=1),
    "same, gives up": RetrainingPolicy((NewSpan(),), scratch_every=1, early_stop_after=3),
    "drift, rolling 4": RetrainingPolicy((FIRST, DataDrift(0.02, 0.02)), window=Window(4)),
    "performance, rolling 4": RetrainingPolicy(
        (FIRST, PerformanceDrop("accuracy", drop=0.02)), window=Window(4)
    ),
    "age, rolling 4": RetrainingPolicy((ModelAge(89 * 86400.0),), window=Window(4)),
    "budget, rolling 4": RetrainingPolicy(
        (NewSpan(),), window=Window(4), budgets=(RunBudget(180 * 86400.0, runs=2),)
    ),
}
PLOTTED = ("never", "new span", "performance, rolling 4")
STYLES = ("red", "yellow", "green")


@dataclass(frozen=True, slots=True)
class Span:
    """What arrived in a month.

    Args:
        features: Rows of features.
        labels: Of each row.
        signal: One number per row whose distribution tells of drift, 0 to 1.
    """

    features: np.ndarray
    labels: np.ndarray
    signal: np.ndarray

    @property
    def training(self) -> np.ndarray:
        """Rows to train on: two of three."""
        return np.arange(len(self.labels)) % 3 != 0

    def statistics(self) -> SplitStatistics:
        """Returns the statistics of the signal."""
        counts, bounds = np.histogram(self.signal, bins=10, range=(0, 1))
        rows = len(self.signal)
        buckets = tuple(
            Bucket(float(low), float(high), float(count / rows))
            for low, high, count in zip(bounds[:-1], bounds[1:], counts, strict=True)
        )
        signal = FeatureStatistics(
            "signal",
            "number",
            0.0,
            buckets=buckets,
            quantiles=tuple(np.quantile(self.signal, np.linspace(0, 1, 11)).tolist()),
            present=rows,
            values=rows,
            counted=rows,
        )
        return SplitStatistics("train", rows, (signal,))


@dataclass(slots=True)
class Replay:
    """All spans under one policy.

    Args:
        spans: In the order of their arrival.
        policy: When to retrain.
        epochs: Passes in each training.
        model: That is live; likewise the following.
        trained_on: Number of its newest span, from 1; 0: there is none.
        live: What the policy gets to know of it.
        trainings: The oldest first.
        done: Spans that were trained on.
        accuracy: Of the live model on each span that it had not seen; the first has none.
        refused: How many models were too bad to go live.
        epochs_trained: Passes over all trainings.
    """

    spans: Sequence[Span]
    policy: RetrainingPolicy
    epochs: int
    model: MLPClassifier | None = None
    trained_on: int = 0
    live: LiveModel | None = None
    trainings: list[PastTraining] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    accuracy: list[float] = field(default_factory=list)
    refused: int = 0
    epochs_trained: int = 0

    def run(self) -> "Replay":
        """Lets all spans arrive."""
        for number, span in enumerate(self.spans, start=1):
            now = BEGIN + number * MONTH
            self._meet(span)
            seen = Snapshot(
                now=now,
                spans=tuple(range(1, number + 1)),
                done=frozenset(self.done),
                trainings=tuple(self.trainings),
                live=self.live,
                newer=self._newer(span),
            )
            plan = decide(seen, self.policy).plan
            if plan is not None:
                self._retrain(plan, now)
        return self

    @property
    def seconds(self) -> float:
        """Seconds of training."""
        return sum(training.seconds for training in self.trainings)

    @property
    def errors(self) -> float:
        """Fraction of wrong predictions over all spans but the first."""
        return 1 - float(np.mean(self.accuracy))

    def _meet(self, span: Span) -> None:
        if self.model is None or self.live is None:
            return
        accuracy = float(self.model.score(span.features, span.labels))
        self.accuracy.append(accuracy)
        initial_metrics = self.live.initial_metrics
        self.live = LiveModel(
            self.live.id, self.live.trained, {"accuracy": accuracy}, initial_metrics
        )

    def _newer(self, span: Span) -> NewerData | None:
        if not self.trained_on:
            return None
        known = self.spans[self.trained_on - 1]
        return NewerData(span.statistics(), known.statistics())

    def _retrain(self, plan: RunPlan, now: datetime) -> None:
        assert plan.span is not None
        parts = (*plan.earlier, SpanWeight(plan.span))
        rows = [self._rows(part) for part in parts]
        features, labels = (np.concatenate(columns) for columns in zip(*rows, strict=True))
        live = self.model if plan.warm_start else None
        held_out = self._held_out(plan.span)
        baseline_accuracy = float(self.model.score(*held_out)) - WORSE_BY if self.model else 0.0
        model = copy.deepcopy(live) if live else _new_model()
        seconds, reached = 0.0, []
        while len(reached) < self.epochs and not self._hopeless(plan, reached, baseline_accuracy):
            begin = time.perf_counter()
            model.partial_fit(features, labels, classes=self._classes())
            seconds += time.perf_counter() - begin
            reached.append(float(model.score(*held_out)))
        self.epochs_trained += len(reached)
        run_id = str(len(self.trainings) + 1)
        self.trainings.append(PastTraining(run_id, now, seconds, live is not None, done=True))
        self.done |= {part.span for part in parts}
        accuracy = reached[-1]
        if accuracy < baseline_accuracy:
            self.refused += 1
            return
        self.model, self.trained_on = model, plan.span
        now_and_then = {"accuracy": accuracy}
        self.live = LiveModel(len(self.trainings), now, now_and_then, now_and_then)

    def _hopeless(self, plan: RunPlan, reached: Sequence[float], baseline_accuracy: float) -> bool:
        after = plan.early_stop_after
        if after is None or len(reached) < after:
            return False
        epochs = [EpochSpec(0, epoch, 1.0, 1, epoch, 1) for epoch in range(self.epochs)]
        done, ahead = epochs[: len(reached)], epochs[len(reached) :]
        return attainable_upper_bound(reached, done, ahead, window=after) < baseline_accuracy

    def _rows(self, part: SpanWeight) -> tuple[np.ndarray, np.ndarray]:
        span = self.spans[part.span - 1]
        features, labels = span.features[span.training], span.labels[span.training]
        kept = round(part.fraction * len(labels))
        chosen = np.random.default_rng(part.span).permutation(len(labels))[:kept]
        return features[chosen], labels[chosen]

    def _held_out(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        span = self.spans[number - 1]
        return span.features[~span.training], span.labels[~span.training]

    def _classes(self) -> np.ndarray:
        return np.unique(np.concatenate([span.labels for span in self.spans]))


def _new_model() -> MLPClassifier:
    return MLPClassifier((32,), learning_rate_init=0.005, random_state=0)


def digits() -> list[Span]:
    """Reads the digits, one person a month."""
    features, labels = load_digits(return_X_y=True)
    features = features / 16
    return [
        Span(features[begin:end], labels[begin:end], features[begin:end].mean(axis=1) * 2)
        for begin, end in itertools.pairwise(DIGITS_FORMS)
    ]


def taxi() -> list[Span]:
    """Reads the trips that TFX's own examples come with, one calendar month a span."""
    import pandas as pd

    spec = find_spec("tfx")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "examples/chicago_taxi_pipeline/data/simple"
    trips = pd.read_csv(folder / "data.csv")
    hour = 2 * np.pi * trips.trip_start_hour / 24
    columns = [
        *(np.log1p(trips[name].fillna(0)) / 5 for name in ("fare", "trip_miles", "trip_seconds")),
        np.sin(hour),
        np.cos(hour),
        *(trips.payment_type == name for name in ("Cash", "Credit Card")),
        *(trips.company.fillna("").str.len() % 8 == rest for rest in range(8)),
    ]
    features = np.stack(columns, axis=1).astype(np.float64)
    labels = np.asarray(trips.tips > 0.2 * trips.fare, dtype=int)
    month = pd.to_datetime(trips.trip_start_timestamp, unit="s").dt.to_period("M")
    signal = np.clip(np.log1p(trips.fare.fillna(0).to_numpy()) / 5, 0, 1)
    return [
        Span(features[rows], labels[rows], signal[rows])
        for rows in ((month == name).to_numpy() for name in sorted(month.unique()))
    ]


@click.command(help=__doc__)
@click.option("--data", type=click.Choice(["digits", "taxi"]), default="taxi", show_default=True)
@click.option("--epochs", default=20, show_default=True, help="Passes in each training.")
@click.option("--quick", is_flag=True, help="Prove that it runs; figures mean nothing.")
def main(data: str, epochs: int, quick: bool) -> None:
    spans = {"digits": digits, "taxi": taxi}[data]()
    if quick:
        spans, epochs = spans[:5], 2
    replays = {name: Replay(spans, policy, epochs).run() for name, policy in POLICIES.items()}
    harness.show(
        f"{data}: {len(spans)} spans",
        ("policy", "mean accuracy", "worst span", "trainings", "refused", "epochs", "training s"),
        [
            [
                name,
                f"{1 - replay.errors:.4f}",
                f"{min(replay.accuracy):.4f}",
                str(len(replay.trainings)),
                str(replay.refused),
                str(replay.epochs_trained),
                f"{replay.seconds:.2f}",
            ]
            for name, replay in replays.items()
        ],
    )
    lines = [
        Line(name, replays[name].accuracy, style, dotted=index == 0)
        for index, (name, style) in enumerate(zip(PLOTTED, STYLES, strict=True))
    ]
    chart = Plot("accuracy of the live model on each new span", lines, height=12)
    Console(width=110).print(Plots([chart], [1] * (len(spans) - 1), [], "spans"))
    print("Wrong answers under 'new span, rolling 4' to those of a model that is never retrained:")
    ratio = replays["new span, rolling 4"].errors / replays["never"].errors
    print(f"ratio {harness.describe([ratio])}")


if __name__ == "__main__":
    main()
