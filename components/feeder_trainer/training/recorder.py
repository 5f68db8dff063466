"""Records the training history."""

import dataclasses
import datetime
import platform
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder import __version__
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.training.bottleneck import Bottleneck, ThroughputBounds
from tfx_feeder.components.feeder_trainer.training.gradient_accumulation import noise_scale
from tfx_feeder.components.feeder_trainer.training.step_logs import scalars
from tfx_feeder.components.feeder_trainer.training.train_step import (
    BATCH_SQ_NORM,
    MICRO_BATCH_SIZE,
    MICRO_SQ_NORM,
    STEP_S,
    WAIT_S,
)
from tfx_feeder.schemas.training_history import (
    EpochRecord,
    Event,
    History,
    PhaseRecord,
    StrategyRecord,
)


class Recorder:
    """Collects records and events of a run and builds its ``History``.

    Args:
        replicas: Number of replicas that process a global batch.
    """

    def __init__(self, replicas: int = 1) -> None:
        self._replicas = replicas
        self._began = time.perf_counter()
        self._started_at = datetime.datetime.now(datetime.timezone.utc).isoformat()
        self._epochs: list[EpochRecord] = []
        self._phases: list[PhaseRecord] = []
        self._events: list[Event] = []

    @property
    def examples_seen(self) -> int:
        """Examples consumed in completed epochs."""
        return self._epochs[-1].examples_seen if self._epochs else 0

    @property
    def epochs(self) -> tuple[EpochRecord, ...]:
        """Completed epochs."""
        return tuple(self._epochs)

    @property
    def phases(self) -> tuple[PhaseRecord, ...]:
        """Completed phases."""
        return tuple(self._phases)

    @property
    def events(self) -> tuple[Event, ...]:
        """Events so far."""
        return tuple(self._events)

    @property
    def trained_s(self) -> float:
        """Seconds in training steps so far."""
        return sum(row.seconds for row in self._epochs)

    @property
    def seconds(self) -> float:
        """Seconds of the run so far, with those of the attempts that it resumes."""
        return time.perf_counter() - self._began

    def event(self, kind: str, message: str, examples_seen: int | None = None) -> None:
        """Appends a one-off event.

        Args:
            kind: Short name, such as ``warm_start``.
            message: One sentence.
            examples_seen: Position in examples; ``None`` for the end of the last epoch.
        """
        position = self.examples_seen if examples_seen is None else examples_seen
        self._events.append(Event(kind, position, message))

    def epoch(
        self,
        spec: EpochSpec,
        learning_rate: float,
        steps: np.ndarray,
        *,
        seconds: float,
        examples: int,
        first_step_s: float | None,
        metrics: Mapping[str, Any],
    ) -> EpochRecord:
        """Appends a completed epoch.

        Args:
            spec: Planned epoch.
            learning_rate: Learning rate at the end of the epoch.
            steps: Rows of ``CompiledSteps.train``, float64 ``[steps, 6]``.
            seconds: Duration of all steps without compilation.
            examples: Examples consumed by the epoch.
            first_step_s: Duration of a traced call, including compilation; ``None`` if none.
            metrics: Loss and metrics; a vector is recorded as ``name_0``, ``name_1``, and so on.

        Returns:
            The record of the epoch.
        """
        step_s = steps[:, STEP_S]
        # The compilation of the first step would distort the percentiles.
        compiled = step_s[1:] if first_step_s is not None and len(step_s) > 1 else step_s
        p50, p95 = np.percentile(compiled * 1e3, [50, 95])
        sizes = np.full(len(steps), float(spec.batch_size))
        sizes[-1] = examples - spec.batch_size * (len(steps) - 1)
        row = EpochRecord(
            epoch=spec.epoch,
            phase=spec.phase,
            learning_rate=learning_rate,
            global_batch_size=spec.batch_size,
            replicas=self._replicas,
            steps=len(steps),
            examples=examples,
            examples_seen=self.examples_seen + examples,
            seconds=seconds,
            examples_per_s=examples / seconds if seconds else 0.0,
            step_ms_p50=float(p50),
            step_ms_p95=float(p95),
            input_wait_pct=float(100 * steps[:, WAIT_S].sum() / seconds) if seconds else 0.0,
            first_step_s=first_step_s,
            metrics=scalars(metrics),
            noise_scale=noise_scale(
                steps[:, MICRO_SQ_NORM], steps[:, BATCH_SQ_NORM], steps[:, MICRO_BATCH_SIZE], sizes
            ),
        )
        self._epochs.append(row)
        return row

    def add_metrics(self, metrics: Mapping[str, float]) -> None:
        """Adds metrics to the last epoch, or replaces them."""
        row = self._epochs[-1]
        self._epochs[-1] = dataclasses.replace(row, metrics={**row.metrics, **metrics})

    def phase_throughput(self, phase: int) -> tuple[float, float]:
        """Returns examples/s and the input wait in percent of a phase so far."""
        rows = [row for row in self._epochs if row.phase == phase]
        seconds = sum(row.seconds for row in rows)
        waited = sum(row.seconds * row.input_wait_pct for row in rows)
        examples = sum(row.examples for row in rows)
        return (examples / seconds, waited / seconds) if seconds else (0.0, 0.0)

    def phase(
        self,
        first: EpochSpec,
        *,
        reason: str,
        metrics: Mapping[str, Any],
        bottleneck: Bottleneck,
        bounds: ThroughputBounds | None,
    ) -> None:
        """Appends a completed phase.

        Args:
            first: First planned epoch of the phase.
            reason: Reason why the phase began.
            metrics: Loss and metrics at the end of the phase.
            bottleneck: Diagnosis of the phase.
            bounds: Measured throughput of model and feed alone.
        """
        rows = [row for row in self._epochs if row.phase == first.phase]
        examples_per_s, input_wait_pct = self.phase_throughput(first.phase)
        self._phases.append(
            PhaseRecord(
                phase=first.phase,
                learning_rate=first.learning_rate,
                global_batch_size=first.batch_size,
                epochs=len(rows),
                steps=sum(row.steps for row in rows),
                examples=sum(row.examples for row in rows),
                seconds=sum(row.seconds for row in rows),
                examples_per_s=examples_per_s,
                input_wait_pct=input_wait_pct,
                reason=reason,
                metrics=scalars(metrics),
                verdict=bottleneck.kind,
                advice=bottleneck.advice,
                device_ceiling=bounds.device_examples_per_s if bounds else None,
                input_ceiling=bounds.input_examples_per_s if bounds else None,
            )
        )

    def state(self) -> dict[str, Any]:
        """Returns the recorded data as JSON values."""
        return {
            "started_at": self._started_at,
            "seconds": self.seconds,
            "epochs": [dataclasses.asdict(row) for row in self._epochs],
            "phases": [dataclasses.asdict(row) for row in self._phases],
            "events": [dataclasses.asdict(event) for event in self._events],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores data of ``state``, placed before the data recorded since.

        Args:
            state: JSON values returned by ``state``.
        """
        self._started_at = state["started_at"]
        self._began -= state["seconds"]
        self._epochs[:0] = [EpochRecord(**row) for row in state["epochs"]]
        self._phases[:0] = [PhaseRecord.from_dict(row) for row in state["phases"]]
        events = [Event.from_dict(event) for event in state["events"]]
        # Every attempt performs the warm start, but only that of the first attempt counts.
        self._events = events + [event for event in self._events if event not in events]

    def build(
        self,
        *,
        schedule: Mapping[str, Any],
        strategy: str,
        feed: Mapping[str, Any],
        num_examples: int,
        code_fingerprint: str,
        policy: str = "schedule",
        policy_state: Mapping[str, Any] | None = None,
        placement: StrategyRecord | None = None,
    ) -> History:
        """Returns the history of the run.

        Args:
            schedule: Schedule, as in ``History``.
            strategy: Name of the distribution strategy.
            feed: Feed options, and the result of ``auto`` options.
            num_examples: Examples in one pass over the training splits.
            code_fingerprint: Hash of the user's code.
            policy: Name of the policy.
            policy_state: Final state of the policy.
            placement: Strategy that the run was trained with.
        """
        return History(
            schedule=schedule,
            strategy=strategy,
            feed=feed,
            num_examples=num_examples,
            code_fingerprint=code_fingerprint,
            environment={
                "tfx_feeder": __version__,
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
            },
            started_at=self._started_at,
            seconds=self.seconds,
            epochs=tuple(self._epochs),
            phases=tuple(self._phases),
            events=tuple(self._events),
            policy=policy,
            policy_state=dict(policy_state or {}),
            placement=placement,
        )
