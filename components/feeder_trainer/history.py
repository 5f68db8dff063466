"""Taking down a training as it happens."""

import datetime
import platform
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder import __version__
from tfx_feeder.components.feeder_trainer.schedule import Segment
from tfx_feeder.schemas.training_history import EpochRow, Event, History, PhaseRow


class Recorder:
    """Collects rows and events, and makes a ``History`` of them.

    Args:
        replicas: Devices that share a batch.
    """

    def __init__(self, replicas: int = 1) -> None:
        self._replicas = replicas
        self._began = time.perf_counter()
        self._started_at = datetime.datetime.now(datetime.timezone.utc).isoformat()
        self._epochs: list[EpochRow] = []
        self._phases: list[PhaseRow] = []
        self._events: list[Event] = []
        self._phase: tuple[Segment, str] | None = None

    @property
    def examples_seen(self) -> int:
        """Examples consumed so far."""
        return self._epochs[-1].examples_seen if self._epochs else 0

    def event(self, kind: str, message: str) -> None:
        """Takes down something that happened once."""
        self._events.append(Event(kind, self.examples_seen, message))

    def begin_phase(self, first: Segment, *, reason: str) -> None:
        """Opens a phase of the schedule with its first epoch."""
        self._phase = (first, reason)

    def epoch(
        self,
        segment: Segment,
        learning_rate: float,
        times: np.ndarray,
        *,
        examples: int,
        first_step_s: float | None,
        metrics: Mapping[str, float],
    ) -> EpochRow:
        """Takes down an epoch.

        Args:
            segment: The epoch as planned.
            learning_rate: Rate at its end.
            times: Seconds of each step, float64 ``[steps, 2]``: wait for the batch, and the step.
            examples: Examples that it consumed.
            first_step_s: Duration of a first step that was compiled, tracing included.
            metrics: Loss and metrics.
        """
        waits, works = times[:, 0], times[:, 1]
        seconds = float(times.sum())
        # A step that was compiled would hide what a step costs.
        usual = works[1:] if first_step_s is not None and len(works) > 1 else works
        p50, p95 = np.percentile(usual * 1e3, [50, 95])
        row = EpochRow(
            epoch=segment.epoch,
            phase=segment.phase,
            learning_rate=learning_rate,
            global_batch_size=segment.batch_size,
            replicas=self._replicas,
            steps=len(times),
            examples=examples,
            examples_seen=self.examples_seen + examples,
            seconds=seconds,
            examples_per_s=examples / seconds if seconds else 0.0,
            step_ms_p50=float(p50),
            step_ms_p95=float(p95),
            input_wait_pct=float(100 * waits.sum() / seconds) if seconds else 0.0,
            first_step_s=first_step_s,
            metrics=dict(metrics),
        )
        self._epochs.append(row)
        return row

    def end_phase(self, metrics: Mapping[str, float]) -> None:
        """Closes the phase that is open."""
        assert self._phase is not None
        first, reason = self._phase
        rows = [row for row in self._epochs if row.phase == first.phase]
        seconds = sum(row.seconds for row in rows)
        examples = sum(row.examples for row in rows)
        waited = sum(row.seconds * row.input_wait_pct for row in rows)
        self._phases.append(
            PhaseRow(
                phase=first.phase,
                learning_rate=first.learning_rate,
                global_batch_size=first.batch_size,
                epochs=len(rows),
                steps=sum(row.steps for row in rows),
                examples=examples,
                seconds=seconds,
                examples_per_s=examples / seconds if seconds else 0.0,
                input_wait_pct=waited / seconds if seconds else 0.0,
                reason=reason,
                metrics=dict(metrics),
            )
        )

    def finish(
        self,
        *,
        schedule: Mapping[str, Any],
        strategy: str,
        feed: Mapping[str, Any],
        num_examples: int,
        code_fingerprint: str,
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
        )
