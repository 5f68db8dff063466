"""Puts a model card together from what is known of a pushed model."""

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.model_card.hashing import hash_files
from tfx_feeder.schemas import model_card, training_history
from tfx_feeder.schemas.evaluation import read_evaluation
from tfx_feeder.schemas.model_card import (
    EvaluationSummary,
    LineageEntry,
    ModelCardDocument,
    TrainingSummary,
)

_EVAL_CONFIG = "eval_config.json"


@dataclass(frozen=True, slots=True)
class PushedModelInfo:
    """A model that was pushed, and where the records about it are.

    Args:
        version: Under which it was pushed.
        destination: To which it was pushed: a folder, or what another server calls it.
        archive: Folder of the copy that the Pusher keeps.
        pipeline: Name of the pipeline.
        run_id: Of this run.
        lineage: The model itself, what it was made of, and what it was judged by.
        blessed: Whether it passed the gates; ``None`` where nobody said.
        evaluation: Folder of its evaluation; ``None``: there was none.
        history: Folder of its training history; ``None``: another trainer made it.
        intended_slices: Slices of the data for which it is meant.
        reason: Why this version was pushed, where a person decided it.
    """

    version: str
    destination: str
    archive: Path
    pipeline: str = ""
    run_id: str = ""
    lineage: tuple[LineageEntry, ...] = ()
    blessed: bool | None = None
    evaluation: Path | None = None
    history: Path | None = None
    intended_slices: tuple[str, ...] = ()
    reason: str = ""

    @property
    def folder(self) -> Path | None:
        """Where it is served from, if that is a folder on this machine."""
        path = Path(self.destination)
        return path if path.is_dir() else None


def write_card(pushed: PushedModelInfo, record: Path) -> ModelCardDocument:
    """Writes the card beside the model, and into a record of its own.

    Where the model is not served from a folder on this machine, the copy that the Pusher keeps is
    hashed, and the card is in the record only.

    Args:
        pushed: The model.
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
    """Returns the card of a pushed model; for errors see ``write_card``."""
    return ModelCardDocument(
        pushed_version=pushed.version,
        destination=pushed.destination,
        pipeline=pushed.pipeline,
        run_id=pushed.run_id,
        created_at=datetime.datetime.now(datetime.timezone.utc).isoformat(),
        reason=pushed.reason,
        intended_slices=pushed.intended_slices,
        lineage=pushed.lineage,
        evaluation=_evaluation(pushed.evaluation, pushed.blessed) if pushed.evaluation else None,
        training=_training(pushed.history) if pushed.history else None,
        files=hash_files(pushed.folder or pushed.archive, leave_out=[model_card.FILE_NAME]),
    )


def _evaluation(folder: Path, blessed: bool | None) -> EvaluationSummary:
    judgement = read_evaluation(folder)
    return EvaluationSummary(
        blessed=blessed,
        missed=tuple(map(str, judgement.causes)),
        rows=judgement.rows,
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
