"""What the store says of a pushed model: its files as they were, and what its card is made of."""

import json
from collections.abc import Mapping

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.model_card.hashing import compare, hash_files
from tfx_feeder.pipeline.metadata.describe import files_gone
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import EXAMPLES, MODEL, ModelVersion, Push
from tfx_feeder.pipeline.metadata.types import Artifact, Execution
from tfx_feeder.schemas import model_card

_SERVING_DIRS = ("Format-Serving", "serving_model_dir")


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
