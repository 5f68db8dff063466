"""The file format of a model card: one JSON document, versioned.

It lies beside a pushed model, so that a folder which was copied away still says where it came from
and whether it is whole.
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
    """An artifact that the model is, was made of, or was judged by.

    Args:
        role: What it is to the model, such as ``examples`` or ``baseline``.
        id: In the ML Metadata store.
        type_name: Such as ``Examples``; empty where only its place is known.
        uri: Where its files were.
        span: Of Examples that have one.
    """

    role: str
    id: int
    type_name: str
    uri: str
    span: int | None = None


@dataclass(frozen=True, slots=True)
class EvaluationSummary:
    """How the model was judged.

    Args:
        blessed: Whether it passed the gates; ``None`` where nobody said.
        missed: The thresholds that it missed, in words.
        rows: Metrics on slices, beside those of the baseline.
        eval_config: With the thresholds, as TensorFlow Model Analysis writes it.
    """

    blessed: bool | None
    missed: tuple[str, ...]
    rows: tuple[SliceRow, ...]
    eval_config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """How the model was trained; more is in the training history.

    Args:
        schedule: As ``Schedule.to_dict`` writes it.
        policy: That was in force; ``"schedule"`` for a fixed one.
        strategy: Name of the distribution strategy.
        num_examples: Examples in one pass over the training splits.
        started_at: ISO 8601, UTC.
        seconds: Wall time.
        epochs: That were trained.
        metrics: Loss and metrics at the end.
        code_fingerprint: Hash of the user's code.
        environment: Versions, and where the user's code stood in Git.
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
    """What a pushed model says of itself.

    Args:
        pushed_version: Under which it was pushed.
        destination: To which it was pushed.
        pipeline: Name of the pipeline.
        run_id: Of the run that wrote the card.
        created_at: When it was written; ISO 8601, UTC.
        reason: Why this version was pushed, where a person decided it.
        intended_slices: Slices of the data for which the model is meant.
        lineage: The model itself, what it was made of, and what it was judged by.
        evaluation: ``None`` where there was none.
        training: ``None`` where another trainer made it.
        files: SHA-256 of every file by its path in the folder, in hexadecimal digits.
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
        """Spans of the Examples, in order."""
        return tuple(sorted({row.span for row in self.lineage if row.span is not None}))

    def origin(self, role: str) -> LineageEntry | None:
        """Returns the first artifact of a role; ``None`` where there is none."""
        return next((row for row in self.lineage if row.role == role), None)


def write(card: ModelCardDocument, folder: str | Path) -> Path:
    """Writes ``model_card.json`` into a folder, whole or not at all.

    Returns:
        The path of the file.
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
        DataError: There is none, it is damaged, or of a newer version.
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
