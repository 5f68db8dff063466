"""Builds the model card of a pushed model."""

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.hashing import hash_files
from tfx_feeder.schemas import gate_report, model_card, training_history
from tfx_feeder.schemas.evaluation import read_evaluation
from tfx_feeder.schemas.gate_report import with_decision
from tfx_feeder.schemas.model_card import (
    EvaluationSummary,
    LineageEntry,
    ModelCardDocument,
    TrainingSummary,
)

_EVAL_CONFIG = "eval_config.json"


@dataclass(frozen=True, slots=True)
class PushedModelInfo:
    """Pushed model, and the locations of its records.

    Args:
        version: Version of the pushed model.
        destination: Folder, or the name that another model server uses.
        archive: Folder of the copy that the Pusher keeps as an artifact.
        pipeline: Name of the pipeline.
        run_id: Id of the current run.
        lineage: Model, training inputs and evaluation.
        blessed: True if all thresholds were met; ``None`` without an evaluation.
        evaluation: Folder of the evaluation, if any.
        gate_report: Folder of the gate report, if EvalGate decided.
        history: Folder of the training history; ``None`` for models of other trainers.
        intended_slices: Slices of the data that the model is intended for.
        reason: Reason for a push that was requested by a person, such as a rollback.
    """

    version: str
    destination: str
    archive: Path
    pipeline: str = ""
    run_id: str = ""
    lineage: tuple[LineageEntry, ...] = ()
    blessed: bool | None = None
    evaluation: Path | None = None
    gate_report: Path | None = None
    history: Path | None = None
    intended_slices: tuple[str, ...] = ()
    reason: str = ""

    @property
    def folder(self) -> Path | None:
        """Folder from which the model is served, if it is on this machine."""
        path = Path(self.destination)
        return path if path.is_dir() else None


def write_card(pushed: PushedModelInfo, record: Path) -> ModelCardDocument:
    """Writes the card beside the model and to a record.

    If the model is not served from a folder on this machine, the copy that the Pusher keeps is
    hashed, and the card is written to the record only.

    Args:
        pushed: Pushed model.
        record: Folder of the record.

    Raises:
        DataError: A file of the model, its evaluation or its history cannot be read.
    """
    card = make_card(pushed)
    if pushed.folder:
        model_card.write(card, pushed.folder)
    model_card.write(card, record)
    return card


def make_card(pushed: PushedModelInfo) -> ModelCardDocument:
    """Returns the card of a pushed model; raises the errors of ``write_card``."""
    return ModelCardDocument(
        pushed_version=pushed.version,
        destination=pushed.destination,
        pipeline=pushed.pipeline,
        run_id=pushed.run_id,
        created_at=datetime.datetime.now(datetime.timezone.utc).isoformat(),
        reason=pushed.reason,
        intended_slices=pushed.intended_slices,
        lineage=pushed.lineage,
        evaluation=_evaluation(pushed, pushed.evaluation) if pushed.evaluation else None,
        training=_training(pushed.history) if pushed.history else None,
        files=hash_files(pushed.folder or pushed.archive, exclude=[model_card.FILE_NAME]),
    )


def _evaluation(pushed: PushedModelInfo, folder: Path) -> EvaluationSummary:
    evaluation = read_evaluation(folder)
    if pushed.gate_report:
        evaluation = with_decision(evaluation, gate_report.read(pushed.gate_report))
    return EvaluationSummary(
        blessed=pushed.blessed,
        missed=tuple(map(str, evaluation.causes)),
        rows=evaluation.rows,
        eval_config=_eval_config(folder / _EVAL_CONFIG),
    )


def _eval_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))["evalConfig"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"No thresholds can be read from {path}: {error}") from error


def _training(folder: Path) -> TrainingSummary:
    history = training_history.read(folder)
    return TrainingSummary(
        schedule=history.schedule,
        policy=history.policy,
        strategy=history.strategy,
        num_examples=history.num_examples,
        started_at=history.started_at,
        seconds=history.seconds,
        epochs=len(history.epochs),
        metrics=history.epochs[-1].metrics if history.epochs else {},
        code_fingerprint=history.code_fingerprint,
        environment=history.environment,
    )
