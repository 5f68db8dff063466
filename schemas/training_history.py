"""Versioned JSON file format of a training history.

The file is the record of a run; ML Metadata holds its summary as an index.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_feeder.schemas.document import JsonDocument, storable

VERSION = 2
FILE_NAME = "history.json"
GIT_COMMIT, GIT_DIRTY = "git_commit", "git_dirty"
"""Keys of the environment: commit of the user's code, and uncommitted changes."""

_FORMAT = JsonDocument(
    "tfx_feeder.training_history", VERSION, FILE_NAME, "training history", oldest_version=1
)
_RENAMED = {
    "sync-bound": "communication-bound",
    "to_beat": "baseline_metric",
    "kept": "unchanged",
}
"""Values of version 1 and their names in version 2."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Record of one epoch.

    Args:
        epoch: Index of the epoch over the whole run, from 0.
        phase: Index of the schedule's phase, from 0.
        learning_rate: Learning rate at the end of the epoch.
        global_batch_size: Examples in an optimizer update, over all replicas.
        replicas: Number of replicas that processed a batch.
        steps: Optimizer updates.
        examples: Examples consumed in this epoch.
        examples_seen: Examples consumed since the start of the run, including this epoch.
        seconds: Time in training steps, including waits for input, without validation.
        examples_per_s: ``examples / seconds``.
        step_ms_p50: Median duration of a step.
        step_ms_p95: 95th percentile of the duration of a step.
        input_wait_pct: Wait for batches in percent of ``seconds``.
        first_step_s: Duration of the first step if it was compiled, otherwise ``None``.
        metrics: Loss and metrics; validation metrics start with ``val_``.
        noise_scale: Gradient noise scale in examples; ``None`` if not estimated.
    """

    epoch: int
    phase: int
    learning_rate: float
    global_batch_size: int
    replicas: int
    steps: int
    examples: int
    examples_seen: int
    seconds: float
    examples_per_s: float
    step_ms_p50: float
    step_ms_p95: float
    input_wait_pct: float
    first_step_s: float | None
    metrics: Mapping[str, float]
    noise_scale: float | None = None


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """Record of one phase of the schedule.

    Args:
        phase: Index of the phase, from 0.
        learning_rate: Learning rate at the start of the phase.
        global_batch_size: Examples in an optimizer update.
        epochs: Number of trained epochs.
        steps: Optimizer updates.
        examples: Examples consumed.
        seconds: Time in training steps.
        examples_per_s: ``examples / seconds``.
        input_wait_pct: Wait for input in percent of ``seconds``.
        reason: Reason why the phase began, given by the schedule or the policy.
        metrics: Loss and metrics at the end of the phase.
        verdict: Bottleneck: ``"input-bound"``, ``"device-bound"`` or ``"communication-bound"``.
        advice: Suggestion in one or two sentences.
        device_ceiling: Throughput of the model on a cached batch in examples/s; ``None`` if the
            phase was too short to measure it.
        input_ceiling: Throughput of the feed with no consumer in examples/s; ``None`` if the phase
            was too short to measure it.
    """

    phase: int
    learning_rate: float
    global_batch_size: int
    epochs: int
    steps: int
    examples: int
    seconds: float
    examples_per_s: float
    input_wait_pct: float
    reason: str
    metrics: Mapping[str, float]
    verdict: str = ""
    advice: str = ""
    device_ceiling: float | None = None
    input_ceiling: float | None = None

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "PhaseRecord":
        """Returns the record of a stored row, also of an earlier release."""
        record = cls(**row)
        return dataclasses.replace(record, verdict=_RENAMED.get(record.verdict, record.verdict))

    @property
    def utilization_pct(self) -> float | None:
        """Throughput in percent of the model's throughput on a cached batch."""
        return 100 * self.examples_per_s / self.device_ceiling if self.device_ceiling else None


@dataclass(frozen=True, slots=True)
class Event:
    """One-off event of a run.

    Args:
        kind: Short name, such as ``warm_start`` or ``early_stop``.
        examples_seen: Position in the run, in examples.
        message: One sentence.
    """

    kind: str
    examples_seen: int
    message: str

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Event":
        """Returns the event of a stored row, also of an earlier release."""
        return cls(**{**row, "kind": _RENAMED.get(row["kind"], row["kind"])})


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """Candidate of the strategy selection.

    Args:
        strategy: Name of the strategy.
        replicas: Number of replicas that would process a batch.
        devices: Names of the devices that the run would occupy.
        probe: Step profile, as written by ``StepProfile.to_dict``; ``None`` if not profiled.
        predicted_s: Predicted seconds of the run without export; ``None`` without a profile, like
            the next three.
        low_s: Lower end of the prediction.
        high_s: Upper end of the prediction.
        cost: Predicted cost in the unit of ``Strategy.device_cost_per_hour``.
        verdict: Status: ``"chosen"``, ``"in time"``, ``"too slow"``, ``"too expensive"``,
            ``"not probed"`` or ``"cannot run"``.
        reason: Reason for the status, in one line with the numbers.
        actual_s: Seconds of the run since the selection, with those of the attempts that it
            resumed; for the selected strategy only.
    """

    strategy: str
    replicas: int
    devices: tuple[str, ...]
    probe: Mapping[str, Any] | None
    predicted_s: float | None
    low_s: float | None
    high_s: float | None
    cost: float | None
    verdict: str
    reason: str
    actual_s: float | None = None

    @property
    def actual_to_predicted(self) -> float | None:
        """Actual duration of the run relative to the predicted one."""
        return self.actual_s / self.predicted_s if self.actual_s and self.predicted_s else None


@dataclass(frozen=True, slots=True)
class StrategyRecord:
    """Distribution strategy of a run.

    Args:
        strategy: Options of the strategy.
        replicas: Number of replicas that processed a batch.
        learning_rate_rule: Scaling of the schedule's learning rates with the number of replicas:
            ``"none"``, ``"linear"`` or ``"sqrt"``.
        attempts: Number of times the processes were started; more than 1 after a failure.
    """

    strategy: Mapping[str, Any]
    replicas: int = 1
    learning_rate_rule: str = "none"
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class History:
    """Record of a training run.

    Args:
        schedule: Schedule, as written by ``Schedule.to_dict``.
        strategy: Name of the distribution strategy.
        feed: Feed options, and the result of ``auto`` options.
        num_examples: Examples in one pass over the training splits.
        code_fingerprint: Hash of the user's code.
        environment: Versions of Python, TensorFlow, Keras and this package; if the user's code is
            in a Git repository, its commit, and ``"yes"`` if it had uncommitted changes.
        started_at: Start of the run, ISO 8601, UTC.
        seconds: Wall time of the run, including validation and setup.
        epochs: One record per epoch.
        phases: One record per phase.
        events: Events in chronological order.
        policy: Name of the policy; ``"schedule"`` for a fixed schedule.
        policy_state: Final state of the policy.
        candidates: Candidates of the strategy selection; empty if the strategy was configured.
        placement: Strategy that the run was trained with; ``None`` in the earliest files.
    """

    schedule: Mapping[str, Any]
    strategy: str
    feed: Mapping[str, Any]
    num_examples: int
    code_fingerprint: str
    environment: Mapping[str, str]
    started_at: str
    seconds: float
    epochs: tuple[EpochRecord, ...] = ()
    phases: tuple[PhaseRecord, ...] = ()
    events: tuple[Event, ...] = ()
    policy: str = "schedule"
    policy_state: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[CandidateRecord, ...] = ()
    placement: StrategyRecord | None = None

    @property
    def chosen(self) -> CandidateRecord | None:
        """Selected candidate; ``None`` if the strategy was configured."""
        return next((row for row in self.candidates if row.verdict == "chosen"), None)

    def summary(self) -> dict[str, int | float | str]:
        """Returns the primary metrics as a flat dict for custom properties in ML Metadata.

        A metric that is not finite is a string.
        """
        examples_seen = self.epochs[-1].examples_seen if self.epochs else 0
        summary: dict[str, int | float | str] = {
            "strategy": self.strategy,
            "num_examples": self.num_examples,
            "examples_seen": examples_seen,
            "epochs": len(self.epochs),
            "phases": len(self.phases),
            "seconds": self.seconds,
            "code_fingerprint": self.code_fingerprint,
            "policy": self.policy,
        }
        summary |= {k: v for k, v in self.environment.items() if k in (GIT_COMMIT, GIT_DIRTY)}
        chosen = self.chosen
        if chosen is not None and chosen.predicted_s is not None:
            summary["predicted_s"] = chosen.predicted_s
            if chosen.actual_to_predicted is not None:
                summary["actual_to_predicted"] = chosen.actual_to_predicted
        if self.epochs:
            trained = sum(row.seconds for row in self.epochs)
            waited = sum(row.seconds * row.input_wait_pct for row in self.epochs)
            summary["examples_per_s"] = examples_seen / trained if trained else 0.0
            summary["input_wait_pct"] = waited / trained if trained else 0.0
            final = _storable(self.epochs[-1].metrics)
            summary |= {f"final_{name}": value for name, value in final.items()}
        return summary


def write(history: History, folder: str | Path) -> Path:
    """Writes ``history.json`` to a folder atomically.

    Args:
        history: History to write.
        folder: Target folder; created if missing.

    Returns:
        Path of the file.
    """
    document = dataclasses.asdict(history)
    for row in (*document["epochs"], *document["phases"]):
        row["metrics"] = _storable(row["metrics"])
    return _FORMAT.write(document, folder)


def read(folder: str | Path) -> History:
    """Reads ``history.json`` from a folder.

    Raises:
        DataError: The file is missing, damaged, or of a newer version.
    """
    return _FORMAT.read(folder, _from_document)


def _from_document(document: dict[str, Any]) -> History:
    for row in (*document["epochs"], *document["phases"]):
        row["metrics"] = {name: float(value) for name, value in row["metrics"].items()}
    document["epochs"] = tuple(EpochRecord(**row) for row in document["epochs"])
    document["phases"] = tuple(PhaseRecord.from_dict(row) for row in document["phases"])
    document["events"] = tuple(Event.from_dict(row) for row in document["events"])
    # The earliest files have neither candidates nor placement.
    document["candidates"] = tuple(
        CandidateRecord(**row | {"devices": tuple(row["devices"])})
        for row in document.get("candidates", ())
    )
    placement = document.get("placement")
    document["placement"] = None if placement is None else StrategyRecord(**placement)
    return History(**document)


def _storable(metrics: Mapping[str, float]) -> dict[str, float | str]:
    return {name: storable(value) for name, value in metrics.items()}
