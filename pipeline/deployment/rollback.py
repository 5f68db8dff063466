"""Which earlier version is to be served again, whether it can be, and what it replaces."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components.model_card.hashing import compare, hash_files
from tfx_feeder.pipeline.metadata.describe import files_gone
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
)
"""Types of the executions that can be repeated; other Pushers push to places of their own."""
_SERVING_DIRS = ("Format-Serving", "serving_model_dir")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Rollback:
    """An earlier version that can be pushed once more.

    Args:
        model: What is to be served again.
        push: Its push that is repeated.
        pusher: The execution that pushed it.
        inputs: What Pusher and ModelCard read, by their input keys.
        intended_slices: Slices for which the model is meant.
        left_behind: Later models of the same place, which are to be withdrawn.
        highest_version: Of all that was pushed to the same place.
        reason: Why; for the records.
    """

    model: ModelVersion
    push: Push
    pusher: Execution
    inputs: Mapping[str, tuple[Artifact, ...]]
    intended_slices: tuple[str, ...]
    left_behind: tuple[ModelVersion, ...]
    highest_version: int
    reason: str

    @property
    def mark(self) -> str:
        """What the models that are left behind are marked with."""
        return f"rolled back to version {self.push.version}: {self.reason}"


def plan(lineage: Lineage, version: str, reason: str) -> Rollback:
    """Finds a pushed version, and sees that it can be pushed once more.

    Args:
        lineage: Of the store.
        version: Under which it was pushed.
        reason: Why it is to be served again.

    Raises:
        ConfigError: There is no such version, it was not blessed, or it is what is served now.
        DataError: Its files are gone, or not those that were pushed.
    """
    if not reason.strip():
        raise ConfigError("reason", received=reason, expected="a few words: they are recorded")
    pushed = [(model, push) for model in read_models(lineage) for push in model.pushes]
    model, push = _find(pushed, version)
    at_place = [(m, p) for m, p in pushed if p.place == push.place]
    _check_state(model, push, served_ids(lineage))
    pusher = _pusher(lineage, push)
    card = card_execution(lineage, push)
    check_unchanged(model, push, card)
    later = {m.model.id: m for m, _ in at_place if m.model.id > model.model.id}
    return Rollback(
        model=model,
        push=push,
        pusher=pusher,
        inputs={**card_inputs(lineage, model, card), **pusher.inputs},
        intended_slices=intended_slices(card),
        left_behind=tuple(m for m in later.values() if not m.withdrawn),
        highest_version=_highest([p.version for _, p in at_place], push.place),
        reason=reason.strip(),
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
        fix="Several were pushed under it: name one's pipeline with --pipeline." if found else "",
    )


def _check_state(model: ModelVersion, push: Push, served: set[int]) -> None:
    if model.blessed is not True:
        raise ConfigError(
            "version",
            received=push.version,
            expected="one whose model is blessed",
            fix=f"`tfx-feeder why {model.model.id}` says why it is not.",
        )
    if any(p.place == push.place and p.artifact.id in served for p in model.pushes):
        raise ConfigError(
            "version", received=push.version, expected="another one: its model is live already"
        )


def _pusher(lineage: Lineage, push: Push) -> Execution:
    """Returns the execution that pushed, if it can be repeated."""
    graph = lineage.upstream([push.artifact.id], stop_at=(MODEL,))
    pusher = graph.maker(push.artifact.id)
    if pusher is None or pusher.type_name not in PUSHERS:
        raise ConfigError(
            "version",
            received=push.version,
            expected="one that the Pusher of TFX brought into a folder",
            fix="Push it with what pushed it before.",
        )
    for artifact in (artifact for group in pusher.inputs.values() for artifact in group):
        if files_gone(artifact):
            raise DataError(f"The files of {artifact.type_name} {artifact.id} are gone.")
    return pusher


def _highest(versions: Sequence[str], place: str) -> int:
    """Returns the highest version that the store knows, or that lies where it is served from."""
    folder = Path(place)
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in [*versions, *there] if name.isdecimal()), default=0)


def card_execution(lineage: Lineage, push: Push) -> Execution | None:
    """Returns the execution that wrote the card of a push; ``None`` where none did."""
    users = lineage.users([push.artifact.id]).users(push.artifact.id)
    written = [e for e in users if (a := e.output("model_card")) and a.properties.get("pushed")]
    return written[-1] if written else None


def check_unchanged(model: ModelVersion, push: Push, card: Execution | None) -> None:
    """Compares the files of a model with what was pushed of it.

    Args:
        model: Whose files are to be pushed once more.
        push: The earlier push.
        card: The execution that wrote the card of the push.

    Raises:
        DataError: They are gone or differ, or nothing is left to compare them with.
    """
    folders = (model.model.path / name for name in _SERVING_DIRS)
    serving = next((folder for folder in folders if folder.is_dir()), None)
    if serving is None:
        raise DataError(f"The files of {MODEL} {model.model.id} are gone.")
    before = _hashes_of(push, card)
    if not before:
        raise DataError(
            f"Nothing is left that says what was pushed as version {push.version}: neither a "
            f"model card nor the Pusher's copy at {push.artifact.uri}."
        )
    differences = compare(before, hash_files(serving))
    if differences:
        raise DataError(
            f"The files in {serving} are not those that were pushed as version {push.version}; "
            f"{differences}."
        )


def card_inputs(
    lineage: Lineage, model: ModelVersion, card: Execution | None
) -> dict[str, tuple[Artifact, ...]]:
    """Returns what there is to make a card of, by input key of ``ModelCard``.

    It is what the earlier card was made of or, without one, what the store says of the model.
    Artifacts whose files are gone are left out.
    """
    if card:
        found = {key: group for key, group in card.inputs.items() if key != "pushed_model"}
    else:
        found = {
            "model_blessing": _known(model.blessing),
            "evaluation": _known(model.evaluation),
            "training_history": _known(model.history),
            **_trained_on(lineage, model.model),
        }
    return {key: group for key, group in found.items() if group and not any(map(files_gone, group))}


def intended_slices(card: Execution | None) -> tuple[str, ...]:
    """Returns the slices for which a model is meant, as its earlier card says."""
    return tuple(json.loads(card.properties["intended_slices"])) if card else ()


def _hashes_of(push: Push, card: Execution | None) -> Mapping[str, str]:
    """Returns the hashes of the card; without one, those of the copy that the Pusher keeps."""
    record = card.output("model_card") if card else None
    if record and not files_gone(record):
        return model_card.read(record.path).files
    return {} if files_gone(push.artifact) else hash_files(push.artifact.path)


def _trained_on(lineage: Lineage, model: Artifact) -> dict[str, tuple[Artifact, ...]]:
    graph = lineage.upstream([model.id], stop_at=(MODEL,))
    trainer = graph.maker(model.id)
    inputs = trainer.inputs if trainer else {}
    raw = [
        artifact
        for artifact in graph.artifacts.values()
        if artifact.type_name == EXAMPLES and not _reads_examples(graph.maker(artifact.id))
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
