"""Looks, decides and retrains, once; the daemon does so again and again."""

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
    look_at_data,
    observe,
    unfinished_run,
)
from tfx_feeder.pipeline.retraining.policy import RetrainingDecision, RetrainingPolicy, decide
from tfx_feeder.pipeline.retraining.snapshot import Snapshot
from tfx_feeder.pipeline.retraining.state import StateFile
from tfx_feeder.pipeline.retraining.triggers import DataDrift, OnDemand
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.runner.launch import DONE, RunRequest
from tfx_feeder.pipeline.workspace import Workspace

_STALE = timedelta(hours=24)
"""A run of which nothing was heard for as long is taken for dead."""
_PRESS_AGAIN_S = 10.0
"""Between two attempts to interrupt a run."""


@dataclass(slots=True)
class RetrainingController:
    """Retrains the reference pipeline by a policy.

    Args:
        request: What each run is to do, but for span and plan.
        policy: When to retrain.
        settle_s: A span counts once nothing in it has changed for as long, in seconds.
        store: Where the runs are recorded, if not in the SQLite file of the root.
        metrics: JSON file with metrics of the live model by name, which something else writes.
    """

    request: RunRequest
    policy: RetrainingPolicy
    settle_s: float = 60.0
    store: str | None = None
    metrics: Path | None = None
    _process: BaseProcess | None = field(default=None, init=False)
    _idle: threading.Event = field(default_factory=threading.Event, init=False)
    _stopping: bool = field(default=False, init=False)
    _unmeasurable: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._idle.set()

    def decide(self) -> RetrainingDecision:
        """Decides whether to retrain now; writes nothing.

        A retraining that was begun and has not got to its end goes on, after a pause, unless
        newer data has arrived meanwhile, or somebody asks for another one.

        Raises:
            ConfigError: The data, the store or the file of metrics cannot be read.
            DataError: The data cannot be used.
        """
        data = self._data()
        state = self._state(data)
        if busy := state.busy():
            return RetrainingDecision((busy,))
        seen, attempt = self._look(data), state.attempt()
        newest = seen.spans[-1] if seen.spans else None
        if attempt is None or attempt.plan.span != newest or self._has(OnDemand):
            return decide(seen, self.policy)
        wait_s = attempt.wait_s(seen.now)
        if wait_s:
            again = f"attempt {attempt.count + 1} begins in {format_duration(wait_s)}"
            return RetrainingDecision(
                (again, *(f"it is: {reason}" for reason in attempt.plan.reasons))
            )
        return RetrainingDecision(attempt.plan.reasons, attempt.plan)

    def measure(self) -> None:
        """Gathers the statistics of the newest span, where drift is to be judged by them."""
        if not self._has(DataDrift):
            return
        data = self._data()
        if self._state(data).busy():
            return
        seen = self._look(data)
        known = {*seen.measured, *self._unmeasurable}
        if seen.live is None or not seen.spans or seen.spans[-1] in known:
            return
        # One that cannot be read must not be tried without end.
        if self._run(run_process.collect_statistics, RunPlan(span=seen.spans[-1]), data) != DONE:
            self._unmeasurable.add(seen.spans[-1])

    def retrain(self, plan: RunPlan) -> int:
        """Retrains in a process of its own, and waits for it.

        Returns:
            Exit status: as of ``launch``, or ``child.BUSY``.
        """
        return self._run(run_process.train, plan, self._data())

    def stop(self) -> None:
        """Interrupts what is running, and waits for it; called from another thread."""
        self._stopping = True
        while not self._idle.is_set():
            if self._process is not None:
                run_process.interrupt(self._process)
            # Libraries may swallow it, so it is said again.
            self._idle.wait(_PRESS_AGAIN_S)

    @property
    def stopping(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopping

    def _run(
        self, work: Callable[[RunRequest, StateFile], int], plan: RunPlan, data: ObservedData
    ) -> int:
        self._idle.clear()
        self._process = run_process.start(work, self.request, plan, self._state(data))
        if self._stopping:
            run_process.interrupt(self._process)
        try:
            self._process.join()
        except KeyboardInterrupt:
            run_process.interrupt(self._process)
            self._process.join()
        finally:
            self._idle.set()
        return self._process.exitcode or 0

    def _has(self, kind: type) -> bool:
        return any(isinstance(trigger, kind) for trigger in self.policy.triggers)

    def _data(self) -> ObservedData:
        return look_at_data(self.request.data, self._root, time.time() - self.settle_s)

    def _look(self, data: ObservedData) -> Snapshot:
        now = datetime.now(timezone.utc)
        lineage = self._lineage(data)
        # Of a run on another machine no lock here tells.
        busy = unfinished_run(lineage, now - _STALE) if self.store and lineage else ""
        return observe(lineage, data, now, busy=busy, measured=self._measured())

    def _lineage(self, data: ObservedData) -> Lineage | None:
        local = Workspace(self._root, data.pipeline).metadata
        if self.store is None and not local.exists():
            return None
        return Lineage.open(self.store or local, data.pipeline)

    def _measured(self) -> Mapping[str, float]:
        if self.metrics is None or not self.metrics.exists():
            return {}
        try:
            found = json.loads(self.metrics.read_text(encoding="utf-8"))
            return {str(name): float(value) for name, value in found.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                "metrics",
                received=str(self.metrics),
                expected='a JSON file with numbers by name, as in {"accuracy": 0.93}',
                fix=f"{error}.",
            ) from error

    def _state(self, data: ObservedData) -> StateFile:
        return StateFile(self._root, data.pipeline)

    @property
    def _root(self) -> Path:
        return self.request.root.absolute()
