"""File format of a model card: one versioned JSON document.

The file is stored beside a pushed model, so that a copied folder still identifies its origin and
can be checked for completeness.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.schemas.document import JsonDocument, storable
from tfx_feeder.schemas.evaluation import SliceRow

VERSION = 1
FILE_NAME = "model_card.json"

_FORMAT = JsonDocument("tfx_feeder.model_card", VERSION, FILE_NAME, "model card")


@dataclass(frozen=True, slots=True)
class LineageEntry:
    """Artifact in the lineage of a model: the model itself, one of its inputs, or its evaluation.

    Args:
        role: Role in the lineage, such as ``examples`` or ``baseline``.
        id: Artifact id in the ML Metadata store.
        type_name: Artifact type such as ``Examples``; empty if only the URI is known.
        uri: Location of the files when the card was written.
        span: Span of Examples, if any.
    """

    role: str
    id: int
    type_name: str
    uri: str
    span: int | None = None


@dataclass(frozen=True, slots=True)
class EvaluationSummary:
    """Evaluation of the model.

    Args:
        blessed: True if all thresholds were met; ``None`` without an evaluation.
        missed: Descriptions of the missed thresholds.
        rows: Metrics per slice, with those of the baseline.
        eval_config: ``EvalConfig`` with the thresholds, in the JSON form of TensorFlow Model
            Analysis.
    """

    blessed: bool | None
    missed: tuple[str, ...]
    rows: tuple[SliceRow, ...]
    eval_config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """Summary of the training; the training history has the details.

    Args:
        schedule: Schedule in the form of ``Schedule.to_dict``.
        policy: Name of the policy; ``"schedule"`` for a fixed schedule.
        strategy: Name of the distribution strategy.
        num_examples: Examples in one pass over the training splits.
        started_at: Start time; ISO 8601, UTC.
        seconds: Wall time.
        epochs: Number of trained epochs.
        metrics: Final loss and metrics.
        code_fingerprint: Hash of the user's code.
        environment: Package versions, and the Git commit of the user's code.
    """

    schedule: Mapping[str, Any]
    policy: str
    strategy: str
    num_examples: int
    started_at: str
    seconds: float
    epochs: int
    metrics: Mapping[str, float]
    code_fingerprint: str
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelCardDocument:
    """Card of a pushed model.

    Args:
        pushed_version: Version of the pushed model.
        destination: Folder to which the model was pushed.
        pipeline: Name of the pipeline.
        run_id: Run that wrote the card.
        created_at: Creation time; ISO 8601, UTC.
        reason: Reason for a push that was requested by a person, such as a rollback.
        intended_slices: Slices of the data that the model is intended for.
        lineage: Model, training inputs and evaluation.
        evaluation: Evaluation summary, if the model was evaluated.
        training: Training summary; ``None`` for models of other trainers.
        files: SHA-256 in hexadecimal digits, by file path relative to the folder.
    """

    pushed_version: str
    destination: str
    pipeline: str
    run_id: str
    created_at: str
    files: Mapping[str, str]
    lineage: tuple[LineageEntry, ...] = ()
    evaluation: EvaluationSummary | None = None
    training: TrainingSummary | None = None
    intended_slices: tuple[str, ...] = ()
    reason: str = ""

    @property
    def spans(self) -> tuple[int, ...]:
        """Spans of the Examples, sorted."""
        return tuple(sorted({row.span for row in self.lineage if row.span is not None}))

    def origin(self, role: str) -> LineageEntry | None:
        """Returns the first artifact with a role, or ``None``."""
        return next((row for row in self.lineage if row.role == role), None)


def write(card: ModelCardDocument, folder: str | Path) -> Path:
    """Writes ``model_card.json`` to a folder atomically.

    Args:
        card: Card to write.
        folder: Target folder; created if missing.

    Returns:
        Path of the file.
    """
    document = dataclasses.asdict(card)
    if card.evaluation:
        for row in document["evaluation"]["rows"]:
            row["candidate"] = storable(row["candidate"])
            row["baseline"] = None if row["baseline"] is None else storable(row["baseline"])
    if card.training:
        metrics = document["training"]["metrics"]
        document["training"]["metrics"] = {name: storable(v) for name, v in metrics.items()}
    return _FORMAT.write(document, folder)


def read(folder: str | Path) -> ModelCardDocument:
    """Reads ``model_card.json`` from a folder.

    Raises:
        DataError: The file is missing, damaged, or has an unknown version.
    """
    return _FORMAT.read(folder, _from_document)


def _from_document(document: dict[str, Any]) -> ModelCardDocument:
    evaluation, training = document["evaluation"], document["training"]
    document["files"] = {str(name): str(digest) for name, digest in document["files"].items()}
    document["lineage"] = tuple(LineageEntry(**row) for row in document["lineage"])
    document["intended_slices"] = tuple(document["intended_slices"])
    if evaluation is not None:
        rows = tuple(_row(row) for row in evaluation["rows"])
        missed = tuple(evaluation["missed"])
        document["evaluation"] = EvaluationSummary(**evaluation | {"rows": rows, "missed": missed})
    if training is not None:
        metrics = {name: float(value) for name, value in training["metrics"].items()}
        document["training"] = TrainingSummary(**training | {"metrics": metrics})
    return ModelCardDocument(**document)


def _row(row: dict[str, Any]) -> SliceRow:
    baseline = row["baseline"]
    return SliceRow(
        **row
        | {
            "candidate": float(row["candidate"]),
            "baseline": None if baseline is None else float(baseline),
        }
    )
