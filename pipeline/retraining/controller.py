"""Retraining controller: observes, decides and retrains once; the daemon calls it repeatedly."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from multiprocessing.process import BaseProcess
from pathlib import Path

from tfx_feeder.common.durations import format_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.retraining import run_process
from tfx_feeder.pipeline.retraining.observe import (
    ObservedData,
    observe_data,
    take_snapshot,
    unfinished_run,
)
from tfx_feeder.pipeline.retraining.policy import RetrainingDecision, RetrainingPolicy, decide
from tfx_feeder.pipeline.retraining.snapshot import Snapshot
from tfx_feeder.pipeline.retraining.state import StateFile
from tfx_feeder.pipeline.retraining.triggers import DataDrift, OnDemand
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.runner.launch import BUSY, DONE, INTERRUPTED, RunRequest
from tfx_feeder.pipeline.workspace import Workspace

_STALE = timedelta(hours=24)
"""Age of the last recorded change after which a running run counts as dead."""
_INTERRUPT_EVERY_S = 10.0
"""Seconds between two attempts to interrupt a run."""


@dataclass(slots=True)
class RetrainingController:
    """Retrains the reference pipeline by a policy.

    Args:
        request: Settings of each run, without span and plan.
        policy: Retraining policy.
        quiet_period_s: Seconds without a change after which a span counts as complete.
        store: ML Metadata store of the runs; ``None`` for the SQLite file below the root.
        metrics: JSON file with metrics of the live model by name, written by a monitor.
    """

    request: RunRequest
    policy: RetrainingPolicy
    quiet_period_s: float = 60.0
    store: str | None = None
    metrics: Path | None = None
    _process: BaseProcess | None = field(default=None, init=False)
    _idle: threading.Event = field(default_factory=threading.Event, init=False)
    _stopping: bool = field(default=False, init=False)
    _had_store: bool = field(default=False, init=False)
    _failed_spans: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._idle.set()

    def decide(self) -> RetrainingDecision:
        """Decides whether to retrain now, without writing anything.

        A retraining that started but did not finish is resumed after a pause, unless newer data
        has arrived or a retraining is requested on demand.

        Raises:
            ConfigError: The data, the store or the metrics file cannot be read, or the store of an
                earlier decision is gone.
            DataError: The data is invalid.
        """
        data = self._data()
        state = self._state(data)
        if busy := state.lock.busy():
            return RetrainingDecision((busy,))
        snapshot, pending = self._snapshot(data), state.pending()
        newest = snapshot.spans[-1] if snapshot.spans else None
        if pending is None or pending.plan.span != newest or self._has(OnDemand):
            return decide(snapshot, self.policy)
        wait_s = pending.wait_s(snapshot.now)
        if wait_s:
            retry = f"attempt {pending.count + 1} begins in {format_duration(wait_s)}"
            return RetrainingDecision(
                (retry, *(f"it is: {reason}" for reason in pending.plan.reasons))
            )
        return RetrainingDecision(pending.plan.reasons, pending.plan)

    def collect_statistics(self) -> None:
        """Computes the statistics of the newest span if a drift trigger needs them."""
        if not self._has(DataDrift):
            return
        data = self._data()
        if self._state(data).lock.busy():
            return
        snapshot = self._snapshot(data)
        known = {*snapshot.measured, *self._failed_spans}
        if snapshot.live is None or not snapshot.spans or snapshot.spans[-1] in known:
            return
        newest = snapshot.spans[-1]
        status = self._run(run_process.collect_statistics, RunPlan(span=newest), data)
        # A span that cannot be read must not be tried forever.
        if status not in (DONE, BUSY, INTERRUPTED):
            self._failed_spans.add(newest)

    def retrain(self, plan: RunPlan) -> int:
        """Retrains in a separate process, and waits for it.

        Returns:
            Exit status: that of ``run_with_logging``.
        """
        return self._run(run_process.train, plan, self._data())

    def stop(self) -> None:
        """Interrupts the active run and waits for it; called from another thread."""
        self._stopping = True
        while not self._idle.is_set():
            if self._process is not None:
                run_process.interrupt(self._process)
            # Libraries may swallow the signal, so it is sent repeatedly.
            self._idle.wait(_INTERRUPT_EVERY_S)

    @property
    def stopping(self) -> bool:
        """True if ``stop`` was called, or Ctrl-C was pressed during a run."""
        return self._stopping

    def _run(
        self, work: Callable[[RunRequest, StateFile], int], plan: RunPlan, data: ObservedData
    ) -> int:
        self._idle.clear()
        try:
            process = run_process.start(work, self.request, plan, self._state(data))
            self._process = process
            if self._stopping:
                run_process.interrupt(process)
            try:
                process.join()
            except KeyboardInterrupt:
                self._stopping = True
                run_process.interrupt(process)
                process.join()
            return process.exitcode or 0
        finally:
            self._process = None
            self._idle.set()

    def _has(self, kind: type) -> bool:
        return any(isinstance(trigger, kind) for trigger in self.policy.triggers)

    def _data(self) -> ObservedData:
        return observe_data(self.request.data, self._root, time.time() - self.quiet_period_s)

    def _snapshot(self, data: ObservedData) -> Snapshot:
        now = datetime.now(timezone.utc)
        lineage = self._lineage(data)
        # The lock of a run on another machine is not visible here, but its records are.
        busy = unfinished_run(lineage, now - _STALE) if self.store and lineage else ""
        return take_snapshot(lineage, data, now, busy=busy, measured=self._measured())

    def _lineage(self, data: ObservedData) -> Lineage | None:
        local = Workspace(self._root, data.pipeline).metadata
        if self.store is None and not local.exists():
            if not self._had_store:
                return None
            # Not a first run: that would train from scratch, and push without a baseline.
            raise ConfigError(
                "store",
                received=str(local),
                expected="the store that was there before",
                fix="Mount its volume, or restore it. To begin anew, start this command again.",
            )
        lineage = Lineage.open(self.store or local, data.pipeline)
        self._had_store = True
        return lineage

    def _measured(self) -> Mapping[str, float]:
        if self.metrics is None or not self.metrics.exists():
            return {}
        try:
            found = json.loads(self.metrics.read_text(encoding="utf-8"))
            return {str(name): float(value) for name, value in found.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(
                "metrics",
                received=str(self.metrics),
                expected='a JSON object with numbers by name, as in {"accuracy": 0.93}',
                fix=f"{error}.",
            ) from error

    def _state(self, data: ObservedData) -> StateFile:
        return StateFile(self._root, data.pipeline)

    @property
    def _root(self) -> Path:
        return self.request.root.absolute()
