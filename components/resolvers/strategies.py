"""Resolver strategies: base and baseline models, their statistics, and artifacts given by id."""

# Node processes import this module, and importing tfx.v1 loads cloud clients, which takes seconds.
# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import ml_metadata as mlmd
from absl import logging
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx import types
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
    LatestBlessedModelStrategy,
)

from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas.file_record import PROPERTY, damage
from tfx_feeder.schemas.properties import WITHDRAWN

Events: TypeAlias = tuple[int, ...]

_INPUTS: Events = (pb.Event.INPUT, pb.Event.DECLARED_INPUT, pb.Event.INTERNAL_INPUT)
_OUTPUTS: Events = (pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT, pb.Event.INTERNAL_OUTPUT)
_MODEL, _STATISTICS_GEN = "Model", "StatisticsGen"


class LatestBlessedModelBefore(LatestBlessedModelStrategy):
    """Resolves the latest blessed model among those older than the artifact on ``before``.

    The stock strategy resolves the latest blessed model of all. A repeated run would then compare
    its own model with itself and push the model again. Restricted to models older than its
    subject, the result does not change, so a repeated run is served from the cache to the last
    node.

    Models that were withdrawn by a rollback are skipped, and so are models whose files are missing
    or not those that were written.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Returns ``input_dict`` with at most one ``model`` and one ``blessing``."""
        subject = input_dict["before"]
        limit = min((artifact.id for artifact in subject), default=0)
        models = [
            model
            for model in input_dict["model"]
            if model.id < limit and not model.get_string_custom_property(WITHDRAWN)
        ]
        while True:
            found = super().resolve_artifacts(
                store, {"model": models, "blessing": input_dict["blessing"]}
            ) or {"model": [], "blessing": []}
            damaged = [(model, reason) for model in found["model"] if (reason := _damage(model))]
            if not damaged:
                return {"before": subject, **found}
            for model, reason in damaged:
                logging.warning("The model at %s is skipped: %s", model.uri, reason)
                models.remove(model)


def _damage(model: types.Artifact) -> str:
    """Returns what is wrong with the files of a model; empty if they are not on this machine."""
    if not model.uri or "://" in model.uri:
        return ""
    return damage(Path(model.uri), model.get_string_custom_property(PROPERTY), contents=True)


class StatisticsOfTrainingData(ResolverStrategy):
    """Resolves the statistics of the examples that the model on ``model`` was trained on.

    The lineage of the model is followed back to raw examples, but not into its base model. Without
    a model, or if nobody computed statistics of its examples, there are none.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns ``input_dict`` with the ``statistics`` of the model's data, oldest first."""
        models = {artifact.id for artifact in input_dict["model"]}
        origins = _origins(store, models) if models else set()
        found = []
        for artifact in input_dict["statistics"]:
            producers = _executions(store, [artifact.id], _OUTPUTS)
            types_of = {e.type for e in store.get_executions_by_id(list(producers))}
            # Transform computes statistics as well, of other features.
            if not any(name.endswith(_STATISTICS_GEN) for name in types_of):
                continue
            if origins.intersection(_artifacts(store, producers, _INPUTS)):
                found.append(artifact)
        found.sort(key=lambda artifact: artifact.id)
        return {**input_dict, "statistics": found}


def _origins(store: mlmd.MetadataStore, models: set[int]) -> set[int]:
    """Returns the ids of all artifacts that models were made of, up to other models."""
    origins: set[int] = set()
    new = models
    while new:
        made_of = _artifacts(store, _executions(store, new, _OUTPUTS), _INPUTS) - origins
        known = store.get_artifacts_by_id(list(made_of)) if made_of else []
        new = {artifact.id for artifact in known if artifact.type != _MODEL}
        origins |= new
    return origins


def _executions(store: mlmd.MetadataStore, ids: Collection[int], kinds: Events) -> set[int]:
    events = store.get_events_by_artifact_ids(list(ids)) if ids else []
    return {event.execution_id for event in events if event.type in kinds}


def _artifacts(store: mlmd.MetadataStore, ids: Collection[int], kinds: Events) -> set[int]:
    events = store.get_events_by_execution_ids(list(ids)) if ids else []
    return {event.artifact_id for event in events if event.type in kinds}


class ArtifactsById(ResolverStrategy):
    """Resolves artifacts given by their ids.

    Args:
        ids: Artifact ids in the store, by input key.
    """

    def __init__(self, ids: Mapping[str, Sequence[int]]) -> None:
        self._ids = ids

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns the artifacts in the order of their ids in ``ids``.

        Raises:
            DataError: The pipeline has no artifact with one of the ids.
        """
        found = {}
        for key, artifacts in input_dict.items():
            by_id = {artifact.id: artifact for artifact in artifacts}
            missing = [number for number in self._ids[key] if number not in by_id]
            if missing:
                raise DataError(f"The pipeline has no artifact {missing[0]} to use as {key}.")
            found[key] = [by_id[number] for number in self._ids[key]]
        return found
