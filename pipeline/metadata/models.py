"""The models of a store: out of which data, judged how, pushed where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.types import COMPLETE, Artifact, Execution, Graph
from tfx_feeder.schemas.properties import WITHDRAWN

MODEL, EXAMPLES = "Model", "Examples"
EVALUATION, BLESSING, PUSHED = "ModelEvaluation", "ModelBlessing", "PushedModel"
HISTORY = "tfx_feeder.TrainingHistory"


@dataclass(frozen=True, slots=True)
class Push:
    """A model that was brought to where it is served.

    Args:
        version: Under which it is served.
        destination: Where to, such as a folder.
        at: When; UTC.
        run_id: Of the run that pushed it.
        artifact: The ``PushedModel``.
    """

    version: str
    destination: str
    at: datetime
    run_id: str
    artifact: Artifact

    @property
    def place(self) -> str:
        """What the versions of one served model have in common."""
        return self.destination.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A trained model and what became of it.

    Args:
        model: The artifact.
        run_id: Of the run that trained it.
        pipeline: Name of the pipeline.
        created: When it was registered; UTC.
        spans: Of the Examples that it was trained on; not of those of a model it started from.
        blessed: Whether its last evaluation blessed it; ``None`` where there was none.
        evaluation: The last one.
        blessing: That of the last evaluation.
        baseline_id: Of the model that it was compared with then.
        history: The record of its training; ``None`` where another trainer made it.
        pushes: The oldest first.
        live: Whether it is the newest version in a place to which it was pushed.
        withdrawn: Why it was rolled back; empty where it was not.
    """

    model: Artifact
    run_id: str
    pipeline: str
    created: datetime
    spans: tuple[int, ...] = ()
    blessed: bool | None = None
    evaluation: Artifact | None = None
    blessing: Artifact | None = None
    baseline_id: int | None = None
    history: Artifact | None = None
    pushes: tuple[Push, ...] = ()
    live: bool = False
    withdrawn: str = ""


def read_models(lineage: Lineage, newest: int | None = None) -> list[ModelVersion]:
    """Returns the models of a store, the newest first.

    Args:
        lineage: Of the store.
        newest: How many at most; ``None``: all.
    """
    return describe(lineage, lineage.artifacts(MODEL)[::-1][:newest])


def describe(lineage: Lineage, models: Sequence[Artifact]) -> list[ModelVersion]:
    """Returns what became of models, in their order.

    Args:
        lineage: Of the store.
        models: Artifacts of the type ``Model``.
    """
    ids = [model.id for model in models]
    # Not further than to the model that a training started from.
    origins, uses = lineage.upstream(ids, stop_at=(MODEL,)), lineage.users(ids)
    served = served_ids(lineage)
    return [_version(model, origins, uses, served) for model in models]


def spans_of(artifact_id: int, origins: Graph) -> tuple[int, ...]:
    """Returns the spans of the Examples out of which an artifact was made, in order."""
    spans: set[int] = set()
    seen, new = {artifact_id}, [artifact_id]
    while new:
        maker = origins.maker(new.pop())
        for artifact in _flat(maker.inputs.values()) if maker else ():
            if artifact.type_name == MODEL or artifact.id in seen:
                continue
            seen.add(artifact.id)
            new.append(artifact.id)
            if artifact.type_name == EXAMPLES and "span" in artifact.properties:
                spans.add(int(artifact.properties["span"]))
    return tuple(sorted(spans))


def served_ids(lineage: Lineage) -> set[int]:
    """Returns the ids of the ``PushedModel`` artifacts with the highest version of their place."""
    highest: dict[str, tuple[tuple[int, int], int]] = {}
    for artifact in lineage.artifacts(PUSHED):
        if artifact.properties.get("pushed"):
            destination = str(artifact.properties.get("pushed_destination", ""))
            place, _, version = destination.rpartition("/")
            # A server takes the highest number; what is no number comes in order of pushing.
            rank = (int(version) if version.isdecimal() else 0, artifact.id)
            highest[place] = max(highest.get(place, (rank, artifact.id)), (rank, artifact.id))
    return {artifact_id for _, artifact_id in highest.values()}


def _version(model: Artifact, origins: Graph, uses: Graph, served: set[int]) -> ModelVersion:
    maker = origins.maker(model.id)
    users = [e for e in uses.users(model.id) if e.state == COMPLETE]
    evaluator = max(
        (e for e in users if _made(e, BLESSING) and model in e.inputs.get("model", ())),
        key=lambda e: e.id,
        default=None,
    )
    blessing = _made(evaluator, BLESSING)
    pushes = tuple(push for e in users if (push := _push(e)) is not None)
    return ModelVersion(
        model=model,
        run_id=maker.run_id if maker else "",
        pipeline=maker.pipeline if maker else "",
        created=model.created,
        spans=spans_of(model.id, origins),
        blessed=bool(blessing.properties.get("blessed")) if blessing else None,
        evaluation=_made(evaluator, EVALUATION),
        blessing=blessing,
        baseline_id=blessing.properties.get("baseline_model_id") if blessing else None,
        history=_made(maker, HISTORY),
        pushes=pushes,
        live=any(push.artifact.id in served for push in pushes),
        withdrawn=str(model.properties.get(WITHDRAWN, "")),
    )


def _push(execution: Execution) -> Push | None:
    pushed = _made(execution, PUSHED)
    if pushed is None or not pushed.properties.get("pushed"):
        return None
    destination = str(pushed.properties.get("pushed_destination", ""))
    return Push(
        version=str(pushed.properties.get("pushed_version") or destination.rpartition("/")[2]),
        destination=destination,
        at=execution.changed,
        run_id=execution.run_id,
        artifact=pushed,
    )


def _made(execution: Execution | None, type_name: str) -> Artifact | None:
    if execution is None:
        return None
    return next((a for a in _flat(execution.outputs.values()) if a.type_name == type_name), None)


def _flat(groups: Iterable[Iterable[Artifact]]) -> list[Artifact]:
    return [artifact for group in groups for artifact in group]
