"""Taking down a training as it happens."""

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
    """Collects rows and events, and makes a ``History`` of them.

    Args:
        replicas: Devices that share a batch.
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
        """Examples consumed in epochs that are over."""
        return self._epochs[-1].examples_seen if self._epochs else 0

    @property
    def epochs(self) -> tuple[EpochRecord, ...]:
        """Epochs that are over."""
        return tuple(self._epochs)

    @property
    def phases(self) -> tuple[PhaseRecord, ...]:
        """Phases that are over."""
        return tuple(self._phases)

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened once, so far."""
        return tuple(self._events)

    @property
    def trained_s(self) -> float:
        """Seconds in training steps so far."""
        return sum(row.seconds for row in self._epochs)

    def event(self, kind: str, message: str, examples_seen: int | None = None) -> None:
        """Takes down something that happened once."""
        position = self.examples_seen if examples_seen is None else examples_seen
        self._events.append(Event(kind, position, message))

    def epoch(
        self,
        segment: EpochSpec,
        learning_rate: float,
        steps: np.ndarray,
        *,
        seconds: float,
        examples: int,
        first_step_s: float | None,
        metrics: Mapping[str, float],
    ) -> EpochRecord:
        """Takes down an epoch.

        Args:
            segment: The epoch as planned.
            learning_rate: Rate at its end.
            steps: What ``CompiledSteps.train`` returned for each step, float64 ``[steps, 6]``.
            seconds: Time of all steps, compilation left out.
            examples: Examples that it consumed.
            first_step_s: Duration of a call that was compiled, compilation included.
            metrics: Loss and metrics.
        """
        works = steps[:, STEP_S]
        # A step that was compiled would hide what a step costs.
        usual = works[1:] if first_step_s is not None and len(works) > 1 else works
        p50, p95 = np.percentile(usual * 1e3, [50, 95])
        sizes = np.full(len(steps), float(segment.batch_size))
        row = EpochRecord(
            epoch=segment.epoch,
            phase=segment.phase,
            learning_rate=learning_rate,
            global_batch_size=segment.batch_size,
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
            metrics=dict(metrics),
            noise_scale=noise_scale(
                steps[:, MICRO_SQ_NORM], steps[:, BATCH_SQ_NORM], steps[:, MICRO_BATCH_SIZE], sizes
            ),
        )
        self._epochs.append(row)
        return row

    def phase_throughput(self, phase: int) -> tuple[float, float]:
        """Returns examples/s and the share of waiting, in percent, of a phase so far."""
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
        metrics: Mapping[str, float],
        bottleneck: Bottleneck,
        bounds: ThroughputBounds | None,
    ) -> None:
        """Takes down a phase that is over.

        Args:
            first: Its first epoch as planned.
            reason: Why it began.
            metrics: Loss and metrics at its end.
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
                metrics=dict(metrics),
                verdict=bottleneck.kind,
                advice=bottleneck.advice,
                device_ceiling=bounds.device_examples_per_s if bounds else None,
                input_ceiling=bounds.input_examples_per_s if bounds else None,
            )
        )

    def state(self) -> dict[str, Any]:
        """Returns all that was taken down, as JSON can hold it."""
        return {
            "started_at": self._started_at,
            "seconds": time.perf_counter() - self._began,
            "epochs": [dataclasses.asdict(row) for row in self._epochs],
            "phases": [dataclasses.asdict(row) for row in self._phases],
            "events": [dataclasses.asdict(event) for event in self._events],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Puts what ``state`` returned before anything taken down since."""
        self._started_at = state["started_at"]
        self._began -= state["seconds"]
        self._epochs[:0] = [EpochRecord(**row) for row in state["epochs"]]
        self._phases[:0] = [PhaseRecord.from_dict(row) for row in state["phases"]]
        events = [Event.from_dict(event) for event in state["events"]]
        # A warm start happens in every attempt, but only the first one trained on.
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
        """Returns the whole record; see ``History`` for the arguments."""
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
            seconds=time.perf_counter() - self._began,
            epochs=tuple(self._epochs),
            phases=tuple(self._phases),
            events=tuple(self._events),
            policy=policy,
            policy_state=dict(policy_state or {}),
            placement=placement,
        )
