"""Plans a rollback: finds an earlier version and checks that it can be pushed again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.common.hashing import compare, hash_files
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import (
    EXAMPLES,
    MODEL,
    ModelVersion,
    Push,
    read_models,
    served_ids,
)
from tfx_feeder.pipeline.metadata.types import Artifact, Execution
from tfx_feeder.schemas import model_card

PUSHERS = (
    "tfx.components.pusher.component.Pusher",
    "tfx_feeder.components.pusher.component.Pusher",
    "tfx_feeder.pipeline.pusher.Pusher",  # Executions before the move to components.
)
"""Component types whose executions can be repeated; other Pushers have other destinations."""
SERVING_DIRS = ("Format-Serving", "serving_model_dir")
"""Folders of the served model in a Model artifact, of this release of TFX and of older ones."""
RESOLVER = "rollback"
"""Node of a rollback that resolves its inputs."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Rollback:
    """An earlier version that can be pushed again.

    Args:
        model: Model to serve again.
        push: Push to repeat.
        pusher: Execution of the Pusher that made the push.
        inputs: Inputs of Pusher and ModelCard, by input key.
        intended_slices: Slices that the model is intended for.
        superseded: Later models in the same serving folder, which will be withdrawn.
        highest_version: Highest version in the same serving folder.
        reason: Reason for the rollback, which is recorded.
        pushed: Push of a rollback that ended before it wrote the model card, which completes it;
            ``None`` to push the model.
    """

    model: ModelVersion
    push: Push
    pusher: Execution
    inputs: Mapping[str, tuple[Artifact, ...]]
    intended_slices: tuple[str, ...]
    superseded: tuple[ModelVersion, ...]
    highest_version: int
    reason: str
    pushed: Push | None = None

    @property
    def mark(self) -> str:
        """Text of the mark on the superseded models."""
        return f"rolled back to version {self.push.version}: {self.reason}"


def plan(lineage: Lineage, version: str, reason: str) -> Rollback:
    """Finds a pushed version and checks that it can be pushed again.

    Args:
        lineage: Lineage of the store.
        version: Pushed version to return to.
        reason: Reason for the rollback.

    Raises:
        ConfigError: The version is unknown, was not blessed, or is live already.
        DataError: The files of the model are missing, or differ from the files that were pushed.
    """
    if not reason.strip():
        raise ConfigError("reason", received=reason, expected="a short text, which is recorded")
    pushed = [(model, push) for model in read_models(lineage) for push in model.pushes]
    model, push = _find(pushed, version)
    at_place = [(m, p) for m, p in pushed if p.place == push.place]
    _check_blessed(model, push)
    pusher = _pusher(lineage, push)
    served = served_ids(lineage)
    live = next((p for m, p in at_place if m == model and p.artifact.id in served), None)
    if live is not None and not _is_incomplete(lineage, live):
        raise ConfigError(
            "version", received=push.version, expected="a version whose model is not live already"
        )
    card = card_execution(lineage, push)
    check_unchanged(model, push, card)
    later = {m.model.id: m for m, _ in at_place if m.model.id > model.model.id}
    return Rollback(
        model=model,
        push=push,
        pusher=pusher,
        inputs={**card_inputs(lineage, model, card), **pusher.inputs},
        intended_slices=intended_slices(card),
        superseded=tuple(m for m in later.values() if not m.withdrawn),
        highest_version=_highest([p.version for _, p in at_place if p != live], push.place, live),
        reason=reason.strip(),
        pushed=live,
    )


def _find(pushed: Sequence[tuple[ModelVersion, Push]], version: str) -> tuple[ModelVersion, Push]:
    found = [(model, push) for model, push in pushed if push.version == version]
    if len(found) == 1:
        return found[0]
    versions = [push.version for _, push in pushed]
    more = f" and {len(versions) - _SHOWN} more" if len(versions) > _SHOWN else ""
    raise ConfigError(
        "version",
        received=version,
        expected=f"one of {', '.join(versions[:_SHOWN])}{more}"
        if pushed
        else "none: nothing was pushed",
        fix="Several pipelines pushed this version: choose one with --pipeline." if found else "",
    )


def _check_blessed(model: ModelVersion, push: Push) -> None:
    if model.blessed is not True:
        raise ConfigError(
            "version",
            received=push.version,
            expected="one whose model is blessed",
            fix=f"`tfx-feeder why {model.model.id}` shows why it is not.",
        )


def _pusher(lineage: Lineage, push: Push) -> Execution:
    """Returns the execution that made a push, after checking that it can be repeated."""
    graph = lineage.upstream([push.artifact.id], stop_at=(MODEL,))
    pusher = graph.producer(push.artifact.id)
    if pusher is None or pusher.type_name not in PUSHERS:
        raise ConfigError(
            "version",
            received=push.version,
            expected="one that the TFX Pusher pushed to a folder",
            fix="Push it again with the component that pushed it.",
        )
    for artifact in (artifact for group in pusher.inputs.values() for artifact in group):
        if artifact.files_missing:
            raise DataError(f"The files of {artifact.type_name} {artifact.id} are missing.")
    return pusher


def _is_incomplete(lineage: Lineage, push: Push) -> bool:
    """Returns True if a push is that of a rollback that ended before it wrote the model card."""
    nodes = {execution.node for execution in lineage.executions(push.run_id)}
    return RESOLVER in nodes and card_execution(lineage, push) is None


def _highest(versions: Sequence[str], place: str, live: Push | None) -> int:
    """Returns the highest version in the store or in the serving folder, other than one."""
    folder = Path(place)
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    names = {*versions, *there} - {live.version if live else ""}
    return max((int(name) for name in names if name.isdecimal()), default=0)


def card_execution(lineage: Lineage, push: Push) -> Execution | None:
    """Returns the execution that wrote the model card of a push.

    Args:
        lineage: Lineage of the store.
        push: Push of the model.

    Returns:
        The execution of ModelCard; ``None`` if there is no card.
    """
    users = lineage.consumers([push.artifact.id]).consumers(push.artifact.id)
    written = [e for e in users if (a := e.output("model_card")) and a.properties.get("pushed")]
    return written[-1] if written else None


def check_unchanged(model: ModelVersion, push: Push, card: Execution | None) -> None:
    """Checks that the files of a model are the files that were pushed.

    Args:
        model: Model to push again.
        push: Earlier push of the model.
        card: Execution that wrote the model card of the push; ``None`` if there is no card.

    Raises:
        DataError: The files are missing or differ, or there is no record to compare them with.
    """
    folders = (model.model.path / name for name in SERVING_DIRS)
    serving = next((folder for folder in folders if folder.is_dir()), None)
    if serving is None:
        raise DataError(f"The files of {MODEL} {model.model.id} are missing.")
    before = _hashes_of(push, card)
    if not before:
        raise DataError(
            f"There is no record of the files of version {push.version}: neither a model card "
            f"nor the Pusher's copy at {push.artifact.uri}."
        )
    differences = compare(before, hash_files(serving))
    if differences:
        raise DataError(
            f"The files in {serving} differ from the pushed version {push.version}: {differences}."
        )


def card_inputs(
    lineage: Lineage, model: ModelVersion, card: Execution | None
) -> dict[str, tuple[Artifact, ...]]:
    """Returns the artifacts for a new model card.

    They are the inputs of the earlier card or, without one, the artifacts that the store links to
    the model. Inputs with missing files are omitted.

    Args:
        lineage: Lineage of the store.
        model: Model to push again.
        card: Execution that wrote the earlier card; ``None`` if there is no card.

    Returns:
        Artifacts by input key of ``ModelCard``.
    """
    if card:
        found = {key: group for key, group in card.inputs.items() if key != "pushed_model"}
    else:
        found = {
            "model_blessing": _known(model.blessing),
            "evaluation": _known(model.evaluation),
            "gate_report": _known(model.gate_report),
            "training_history": _known(model.history),
            **_trained_on(lineage, model.model),
        }
    return {
        key: group
        for key, group in found.items()
        if group and not any(a.files_missing for a in group)
    }


def intended_slices(card: Execution | None) -> tuple[str, ...]:
    """Returns the intended slices of a model according to its earlier card."""
    return tuple(json.loads(card.properties["intended_slices"])) if card else ()


def _hashes_of(push: Push, card: Execution | None) -> Mapping[str, str]:
    """Returns the hashes of the files that were pushed; empty if there is no record of them.

    They are those in the model card or, without one, those of the Pusher's own copy.

    Args:
        push: Push of the model.
        card: Execution that wrote the model card of the push; ``None`` if there is no card.
    """
    record = card.output("model_card") if card else None
    if record and not record.files_missing:
        return model_card.read(record.path).files
    return {} if push.artifact.files_missing else hash_files(push.artifact.path)


def _trained_on(lineage: Lineage, model: Artifact) -> dict[str, tuple[Artifact, ...]]:
    graph = lineage.upstream([model.id], stop_at=(MODEL,))
    trainer = graph.producer(model.id)
    inputs = trainer.inputs if trainer else {}
    raw = [
        artifact
        for artifact in graph.artifacts.values()
        if artifact.type_name == EXAMPLES and not _reads_examples(graph.producer(artifact.id))
    ]
    return {
        "examples": tuple(raw),
        **{key: inputs.get(key, ()) for key in ("schema", "transform_graph")},
    }


def _known(artifact: Artifact | None) -> tuple[Artifact, ...]:
    return () if artifact is None else (artifact,)


def _reads_examples(maker: Execution | None) -> bool:
    inputs = maker.inputs.values() if maker else ()
    return any(artifact.type_name == EXAMPLES for group in inputs for artifact in group)
