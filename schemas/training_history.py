"""The file format of a training history: one JSON document, versioned.

The file is the record of a training; ML Metadata holds its summary as an index.
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
"""Keys of the environment: at which commit the user's code stood, and whether it was changed."""

_FORMAT = JsonDocument(
    "tfx_feeder.training_history", VERSION, FILE_NAME, "training history", oldest_version=1
)
_RENAMED = {
    "sync-bound": "communication-bound",
    "to_beat": "baseline_metric",
    "kept": "unchanged",
}
"""Values of version 1, and their names since."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch did.

    Args:
        epoch: Index over the whole training, from 0.
        phase: Index of the schedule's phase, from 0.
        learning_rate: Rate at the epoch's end.
        global_batch_size: Examples in an optimizer update, over all replicas.
        replicas: Devices that shared a batch.
        steps: Optimizer updates.
        examples: Examples consumed in this epoch.
        examples_seen: Examples consumed since the training began, this epoch included.
        seconds: Time in training steps, waits for input included; validation is not.
        examples_per_s: ``examples / seconds``.
        step_ms_p50: Median duration of a step.
        step_ms_p95: 95th percentile of the duration of a step.
        input_wait_pct: Share of ``seconds`` in which the step waited for its batch, in percent.
        first_step_s: Duration of the first step where it had to be compiled, else ``None``.
        metrics: Loss and metrics; those of the validation begin with ``val_``.
        noise_scale: Gradient noise scale in examples; ``None`` where it was not estimated.
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
    """What one phase of the schedule did.

    Args:
        phase: Index of the phase, from 0.
        learning_rate: Rate at which the phase began.
        global_batch_size: Examples in an optimizer update.
        epochs: Epochs that were trained.
        steps: Optimizer updates.
        examples: Examples consumed.
        seconds: Time in training steps.
        examples_per_s: ``examples / seconds``.
        input_wait_pct: Share of ``seconds`` spent waiting for input, in percent.
        reason: Why the phase began: what the schedule or the policy said.
        metrics: Loss and metrics at the end of the phase.
        verdict: ``"input-bound"``, ``"device-bound"`` or ``"communication-bound"``.
        advice: What to try next, in words.
        device_ceiling: Examples/s of the model on a batch that is always there; ``None`` where
            the phase was too short to measure it.
        input_ceiling: Examples/s of the feed alone; ``None`` likewise.
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
    """Something worth knowing that happened once.

    Args:
        kind: A short name, such as ``warm_start`` or ``early_stop``.
        examples_seen: Position in the training, in examples.
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
    """A distribution strategy among which one was chosen.

    Args:
        strategy: Its name.
        replicas: Copies of the model that would share a batch.
        devices: Names of the devices that would be paid for.
        probe: What a few of its steps showed, as ``Probe.to_dict`` writes it; ``None`` where it was
            not probed.
        predicted_s: Expected seconds of the training, export not included; ``None`` without a
            probe, as the following.
        low_s: Lower end of the prediction.
        high_s: Upper end of the prediction.
        cost: Predicted, in the unit of ``Strategy.device_cost_per_hour``.
        verdict: ``"chosen"``, ``"in time"``, ``"too slow"``, ``"too expensive"``,
            ``"not probed"`` or ``"cannot run"``.
        reason: Why, in one line with the figures.
        actual_s: What the training took from the choice on; of the chosen one only.
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
        """What the training took, as a multiple of what was predicted."""
        return self.actual_s / self.predicted_s if self.actual_s and self.predicted_s else None


@dataclass(frozen=True, slots=True)
class StrategyRecord:
    """On what a training ran.

    Args:
        strategy: The options, as ``Strategy`` has them.
        replicas: Copies of the model that shared a batch.
        learning_rate_rule: What the schedule's rates were multiplied by: ``"none"``, ``"linear"``
            or ``"sqrt"``.
        attempts: How often its processes were started; more than 1 where some died.
    """

    strategy: Mapping[str, Any]
    replicas: int = 1
    learning_rate_rule: str = "none"
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class History:
    """A whole training.

    Args:
        schedule: As ``Schedule.to_dict`` writes it.
        strategy: Name of the distribution strategy.
        feed: The feed's options, and what ``auto`` options came to.
        num_examples: Examples in one pass over the training splits.
        code_fingerprint: Hash of the user's code.
        environment: Versions of Python, TensorFlow, Keras and this package; where the user's code
            is in a Git repository, its commit, and ``"yes"`` or ``"no"``: whether it was dirty.
        started_at: ISO 8601, UTC.
        seconds: Wall time of the training, validation and set-up included.
        epochs: One row an epoch.
        phases: One row a phase.
        events: In the order in which they happened.
        policy: Name of the policy that was in force; ``"schedule"`` for a fixed one.
        policy_state: What the policy remembered at the end.
        candidates: Strategies among which one was chosen; empty where it was named.
        placement: On what the training ran; ``None`` in files of earlier releases.
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
        """The candidate that was chosen; ``None`` where the strategy was named."""
        return next((row for row in self.candidates if row.verdict == "chosen"), None)

    def summary(self) -> dict[str, int | float | str]:
        """Returns the headline figures, flat, for custom properties in ML Metadata.

        A metric that is not finite is given as text.
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
    """Writes ``history.json`` into a folder, whole or not at all.

    Returns:
        The path of the file.
    """
    document = dataclasses.asdict(history)
    for row in (*document["epochs"], *document["phases"]):
        row["metrics"] = _storable(row["metrics"])
    return _FORMAT.write(document, folder)


def read(folder: str | Path) -> History:
    """Reads ``history.json`` from a folder.

    Raises:
        DataError: There is none, it is damaged, or of a newer version.
    """
    return _FORMAT.read(folder, _from_document)


def _from_document(document: dict[str, Any]) -> History:
    for row in (*document["epochs"], *document["phases"]):
        row["metrics"] = {name: float(value) for name, value in row["metrics"].items()}
    document["epochs"] = tuple(EpochRecord(**row) for row in document["epochs"])
    document["phases"] = tuple(PhaseRecord.from_dict(row) for row in document["phases"])
    document["events"] = tuple(Event.from_dict(row) for row in document["events"])
    # Files of earlier releases have neither of these.
    document["candidates"] = tuple(
        CandidateRecord(**row | {"devices": tuple(row["devices"])})
        for row in document.get("candidates", ())
    )
    placement = document.get("placement")
    document["placement"] = None if placement is None else StrategyRecord(**placement)
    return History(**document)


def _storable(metrics: Mapping[str, float]) -> dict[str, float | str]:
    return {name: storable(value) for name, value in metrics.items()}
