"""Pushes an earlier version again with a small pipeline on the same store."""

# TFX declares no exports in its public modules, and messages get their names at run time.
# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false

import posixpath
import time
from dataclasses import dataclass
from pathlib import Path

import ml_metadata as mlmd
from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx import v1 as tfx

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components import ModelCardGenerator
from tfx_feeder.components.pusher.component import Pusher
from tfx_feeder.components.pusher.versions import highest_version
from tfx_feeder.components.resolvers.strategies import ArtifactsById
from tfx_feeder.pipeline.deployment.rollback import RESOLVER, Rollback
from tfx_feeder.pipeline.deployment.withdrawal import mark_withdrawn
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.types import Artifact
from tfx_feeder.pipeline.ownership import PipelineLock
from tfx_feeder.pipeline.runner.local import new_run_id, run_locally
from tfx_feeder.schemas.artifacts import GateReport, TrainingHistory

_MAX_WAIT_S = 5
_PUSHED_MODEL = "pushed_model"
_TYPES = {
    artifact.TYPE_NAME: artifact
    for artifact in (
        tfx.types.standard_artifacts.Examples,
        tfx.types.standard_artifacts.InfraBlessing,
        tfx.types.standard_artifacts.Model,
        tfx.types.standard_artifacts.ModelBlessing,
        tfx.types.standard_artifacts.ModelEvaluation,
        tfx.types.standard_artifacts.PushedModel,
        tfx.types.standard_artifacts.Schema,
        tfx.types.standard_artifacts.TransformGraph,
        GateReport,
        TrainingHistory,
    )
}


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """Result of a rollback.

    Args:
        version: New version of the model.
        destination: Folder of the new version.
        earlier_version: Version that was pushed again.
        model_id: Id of the model in the store.
        run_id: Id of the run that pushed it.
        withdrawn: Ids of the models that were withdrawn.
        reason: Reason for the rollback.
    """

    version: str
    destination: str
    earlier_version: str
    model_id: int
    run_id: str
    withdrawn: tuple[int, ...]
    reason: str


def repush(
    rollback: Rollback, connection: pb.ConnectionConfig, lock: PipelineLock
) -> RollbackResult:
    """Pushes an earlier version again and withdraws the models that were pushed after it.

    Args:
        rollback: Version to push, as returned by ``plan``.
        connection: Connection to the store, for reading and writing.
        lock: Lock of the pipeline, which the caller holds.

    Raises:
        ConfigError: The new version would not be the highest.
        DataError: The Pusher did not push the model.
    """
    if rollback.pushed is None:
        _wait_until_higher(rollback)
    store, run_id = mlmd.MetadataStore(connection), new_run_id()
    lineage = Lineage(store, rollback.pusher.pipeline)

    def pushed_model() -> Artifact | None:
        if rollback.pushed is not None:
            return rollback.pushed.artifact
        return _pushed(lineage, rollback.pusher.node, run_id)

    with mark_withdrawn(store, rollback, lambda: pushed_model() is not None):
        run_locally(create_pipeline(rollback, connection), store, lock, run_id=run_id)
        pushed = pushed_model()
        if pushed is None:
            raise DataError(
                f"{rollback.pusher.node} did not push the model. See the log for the reason."
            )
    return RollbackResult(
        version=pushed.properties["pushed_version"],
        destination=pushed.properties["pushed_destination"],
        earlier_version=rollback.push.version,
        model_id=rollback.model.model.id,
        run_id=run_id,
        withdrawn=tuple(m.model.id for m in rollback.superseded),
        reason=rollback.reason,
    )


def create_pipeline(rollback: Rollback, connection: pb.ConnectionConfig) -> tfx.dsl.Pipeline:
    """Returns a pipeline that passes the inputs of an earlier push to the same Pusher again.

    Args:
        rollback: Version to push.
        connection: Connection to the store.
    """
    inputs = dict(rollback.inputs)
    if rollback.pushed is not None:
        inputs[_PUSHED_MODEL] = (rollback.pushed.artifact,)
    resolver = tfx.dsl.Resolver(
        strategy_class=ArtifactsById,
        config={"ids": {key: [a.id for a in group] for key, group in inputs.items()}},
        **{key: tfx.dsl.Channel(type=_TYPES[group[0].type_name]) for key, group in inputs.items()},
    ).with_id(RESOLVER)
    pusher = Pusher(
        model=resolver.outputs["model"],
        model_blessing=resolver.outputs["model_blessing"],
        infra_blessing=resolver.outputs.get("infra_blessing"),
        push_destination=json_format.Parse(
            rollback.pusher.properties["push_destination"], tfx.proto.PushDestination()
        ),
    ).with_id(rollback.pusher.node)
    card = ModelCardGenerator(
        pushed_model=(resolver if rollback.pushed else pusher).outputs[_PUSHED_MODEL],
        **{key: resolver.outputs[key] for key in rollback.inputs if key != "infra_blessing"},
        intended_slices=rollback.intended_slices,
        reason=f"rolled back from version {rollback.highest_version}: {rollback.reason}",
    ).with_id("ModelCard")
    return tfx.dsl.Pipeline(
        pipeline_name=rollback.pusher.pipeline,
        pipeline_root=_root(rollback.push.artifact),
        metadata_connection_config=connection,
        components=[resolver, *([] if rollback.pushed else [pusher]), card],
        # The cache would return the earlier push.
        enable_cache=False,
    )


def _root(pushed: Artifact) -> str:
    """Returns the root of the pipeline; outputs are in ``root/node/key/execution``."""
    folder = pushed.uri.rstrip("/")
    for _ in range(3):
        folder = posixpath.dirname(folder)
    return folder


def _pushed(lineage: Lineage, node: str, run_id: str) -> Artifact | None:
    for execution in lineage.executions(run_id):
        pushed = execution.output("pushed_model") if execution.node == node else None
        if pushed and pushed.properties.get("pushed"):
            return pushed
    return None


def _wait_until_higher(rollback: Rollback) -> None:
    """Waits until the clock has passed a version that was removed from the serving folder.

    The Pusher uses the time as version, or the next one after the highest in the folder.
    """
    version = rollback.highest_version
    if highest_version(Path(rollback.push.place)) >= version:
        return
    if version - time.time() > _MAX_WAIT_S:
        raise ConfigError(
            "version",
            received=f"version {version}, and the time {time.time():.0f}",
            expected="pushed versions below the current Unix time, which becomes the new version",
            fix="Set the clock, or restore the higher version in the serving folder.",
        )
    while int(time.time()) <= version:
        time.sleep(0.1)
