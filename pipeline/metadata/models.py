"""Models of a store, with their training data, evaluations and deployments."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.types import COMPLETE, Artifact, Execution, Graph
from tfx_feeder.schemas.gate_report import SAME_MODEL
from tfx_feeder.schemas.properties import WITHDRAWN

MODEL, EXAMPLES = "Model", "Examples"
EVALUATION, BLESSING, PUSHED = "ModelEvaluation", "ModelBlessing", "PushedModel"
HISTORY, GATE_REPORT = "tfx_feeder.TrainingHistory", "tfx_feeder.GateReport"
SLICES, DRIFT_REPORT = "tfx_feeder.Slices", "tfx_feeder.DriftReport"


@dataclass(frozen=True, slots=True)
class Push:
    """Deployment of a model to a serving location.

    Args:
        version: Serving version.
        destination: Location of the pushed files, such as a folder.
        at: Time of the push; UTC.
        run_id: Run that pushed the model.
        artifact: The ``PushedModel`` artifact.
    """

    version: str
    destination: str
    at: datetime
    run_id: str
    artifact: Artifact

    @property
    def place(self) -> str:
        """Base path shared by all versions of a served model; see ``place_of``."""
        return place_of(self.destination)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A trained model with its evaluation and deployment status.

    Args:
        model: The ``Model`` artifact.
        run_id: Run that trained the model.
        pipeline: Name of the pipeline.
        created_at: Time of registration; UTC.
        spans: Spans of the training Examples, excluding those of the base model.
        blessed: Outcome of the last evaluation; ``None`` if the model was not evaluated.
        evaluation: Artifact of the last evaluation.
        blessing: Blessing of the last evaluation.
        gate_report: Report of EvalGate; ``None`` if the Evaluator decided.
        baseline_id: Id of the baseline model in the last evaluation.
        history: Training history; ``None`` if another trainer trained the model.
        pushes: Deployments, oldest first.
        live: True if the model is the newest version in a serving location.
        withdrawn: Reason of the rollback; empty if the model was not rolled back.
    """

    model: Artifact
    run_id: str
    pipeline: str
    created_at: datetime
    spans: tuple[int, ...] = ()
    blessed: bool | None = None
    evaluation: Artifact | None = None
    blessing: Artifact | None = None
    gate_report: Artifact | None = None
    baseline_id: int | None = None
    history: Artifact | None = None
    pushes: tuple[Push, ...] = ()
    live: bool = False
    withdrawn: str = ""


def read_models(lineage: Lineage, newest: int | None = None) -> list[ModelVersion]:
    """Returns the models of a store, newest first.

    Args:
        lineage: Lineage of the store.
        newest: Maximum number of models; ``None``: all.
    """
    return to_model_versions(lineage, lineage.artifacts(MODEL)[::-1][:newest])


def to_model_versions(lineage: Lineage, models: Sequence[Artifact]) -> list[ModelVersion]:
    """Looks up the status of models; keeps their order.

    Args:
        lineage: Lineage of the store.
        models: Artifacts of type ``Model``.
    """
    ids = [model.id for model in models]
    # The walk stops at the base model of a training.
    origins, uses = lineage.upstream(ids, stop_at=(MODEL,)), lineage.consumers(ids)
    served = served_ids(lineage)
    return [_version(model, origins, uses, served) for model in models]


def spans_of(artifact_id: int, origins: Graph) -> tuple[int, ...]:
    """Returns the sorted spans of the Examples that an artifact was derived from.

    Args:
        artifact_id: Id of the artifact.
        origins: Upstream lineage of the artifact.
    """
    spans: set[int] = set()
    seen, new = {artifact_id}, [artifact_id]
    while new:
        producer = origins.producer(new.pop())
        for artifact in producer.input_artifacts if producer else ():
            if artifact.type_name == MODEL or artifact.id in seen:
                continue
            seen.add(artifact.id)
            new.append(artifact.id)
            if artifact.type_name == EXAMPLES and "span" in artifact.properties:
                spans.add(int(artifact.properties["span"]))
    return tuple(sorted(spans))


def served_ids(lineage: Lineage) -> set[int]:
    """Returns the ids of ``PushedModel`` artifacts that are served: the highest of their location.

    Where the serving folder is on this machine, a version without a folder in it is not served,
    such as one that ``repair`` has set aside.
    """
    return _highest_ids(artifact for artifact in _pushes(lineage) if not is_gone(artifact))


def last_pushed_ids(lineage: Lineage) -> set[int]:
    """Returns the ids of ``PushedModel`` artifacts that should be served, by the store alone."""
    return _highest_ids(_pushes(lineage))


def _pushes(lineage: Lineage) -> Iterable[Artifact]:
    return (a for a in lineage.artifacts(PUSHED) if a.properties.get("pushed"))


def place_of(destination: str) -> str:
    """Returns the base path of a pushed version: of a local one, the folder behind all links.

    A root that was moved, with a link at its old place, has two paths and one serving folder.

    Args:
        destination: Location of the pushed files.
    """
    base = destination.rpartition("/")[0]
    return os.path.realpath(base) if os.path.isabs(base) else base


def _destination(pushed: Artifact) -> str:
    return str(pushed.properties.get("pushed_destination", ""))


def is_gone(pushed: Artifact) -> bool:
    """Returns True if the serving folder is on this machine, and a pushed version is not in it."""
    folder = Path(_destination(pushed))
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return folder.is_absolute() and folder.parent.is_dir()
    except OSError:  # Of a folder that only the server may read.
        return False
    return False


def _highest_ids(pushes: Iterable[Artifact]) -> set[int]:
    highest: dict[str, tuple[tuple[int, int], int]] = {}
    places: dict[str, str] = {}  # There may be thousands of pushes to each.
    for artifact in pushes:
        destination = _destination(artifact)
        base, _, version = destination.rpartition("/")
        place = places[base] if base in places else places.setdefault(base, place_of(destination))
        # A server loads the highest number; other versions rank in the order of their pushes.
        rank = (int(version) if version.isdecimal() else 0, artifact.id)
        highest[place] = max(highest.get(place, (rank, artifact.id)), (rank, artifact.id))
    return {artifact_id for _, artifact_id in highest.values()}


def _version(model: Artifact, origins: Graph, uses: Graph, served: set[int]) -> ModelVersion:
    producer = origins.producer(model.id)
    consumers = [e for e in uses.consumers(model.id) if e.state == COMPLETE]
    judge = _judge(e for e in consumers if model in e.inputs.get("model", ()))
    blessing = judge.output_of_type(BLESSING) if judge else None
    pushes = tuple(push for e in consumers if (push := _push(e)) is not None)
    return ModelVersion(
        model=model,
        run_id=producer.run_id if producer else "",
        pipeline=producer.pipeline if producer else "",
        created_at=model.created_at,
        spans=spans_of(model.id, origins),
        blessed=bool(blessing.properties.get("blessed")) if blessing else None,
        evaluation=_evaluation(judge) if judge else None,
        blessing=blessing,
        gate_report=judge.output_of_type(GATE_REPORT) if judge else None,
        baseline_id=blessing.properties.get("baseline_model_id") if blessing else None,
        history=producer.output_of_type(HISTORY) if producer else None,
        pushes=pushes,
        live=any(push.artifact.id in served for push in pushes),
        withdrawn=str(model.properties.get(WITHDRAWN, "")),
    )


def _judge(executions: Iterable[Execution]) -> Execution | None:
    """Returns the execution that last decided on a model, or else the last that evaluated it.

    The Evaluator writes an empty blessing if EvalGate decides. A gate that was given the blessed
    model itself decides nothing.
    """
    found: list[tuple[bool, int, Execution]] = []
    for execution in executions:
        blessing = execution.output_of_type(BLESSING)
        report = execution.output_of_type(GATE_REPORT)
        if blessing and not (report and report.properties.get("baseline") == SAME_MODEL):
            found.append(("blessed" in blessing.properties, execution.id, execution))
    return max(found, default=(False, 0, None))[2]


def _evaluation(judge: Execution) -> Artifact | None:
    """Returns the evaluation that an Evaluator wrote, or that EvalGate read."""
    read = (a for group in judge.inputs.values() for a in group if a.type_name == EVALUATION)
    return judge.output_of_type(EVALUATION) or next(read, None)


def _push(execution: Execution) -> Push | None:
    pushed = execution.output_of_type(PUSHED)
    if pushed is None or not pushed.properties.get("pushed"):
        return None
    destination = _destination(pushed)
    return Push(
        version=str(pushed.properties.get("pushed_version") or destination.rpartition("/")[2]),
        destination=destination,
        at=execution.updated_at,
        run_id=execution.run_id,
        artifact=pushed,
    )
