"""Stores as TFX writes them, made by the ML Metadata client."""

from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb


class Store:
    """Writes what TFX writes about a pipeline called ``p``."""

    def __init__(self, path: Path) -> None:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.client = mlmd.MetadataStore(config)
        self._pipeline = self._context("pipeline", "p")

    def run(self, name: str) -> int:
        run = self._context("pipeline_run", name)
        self.client.put_parent_contexts([pb.ParentContext(child_id=run, parent_id=self._pipeline)])
        return run

    def artifact(self, type_name: str, **properties: int | str) -> int:
        type_id = self.client.put_artifact_type(pb.ArtifactType(name=type_name))
        artifact = pb.Artifact(type_id=type_id, uri=f"/somewhere/{type_name}")
        for key, value in properties.items():
            field = "int_value" if isinstance(value, int) else "string_value"
            setattr(artifact.custom_properties[key], field, value)
        return self.client.put_artifacts([artifact])[0]

    def execution(self, run: int, node: str, state, inputs=None, outputs=None) -> int:
        type_id = self.client.put_execution_type(pb.ExecutionType(name=f"some.module.{node}"))
        execution = pb.Execution(type_id=type_id, last_known_state=pb.Execution.State.Value(state))
        execution_id = self.client.put_executions([execution])[0]
        contexts = [run, self._pipeline, self._context("node", f"p.{node}")]
        artifacts = [*(inputs or {}).values(), *(outputs or {}).values()]
        self.client.put_attributions_and_associations(
            [pb.Attribution(artifact_id=a, context_id=c) for a in artifacts for c in contexts],
            [pb.Association(execution_id=execution_id, context_id=c) for c in contexts],
        )
        for kind, ends in ((pb.Event.INPUT, inputs), (pb.Event.OUTPUT, outputs)):
            for keys, artifact in (ends or {}).items():
                event = pb.Event(artifact_id=artifact, execution_id=execution_id, type=kind)
                for key in keys.split("+"):
                    event.path.steps.add(key=key)
                    event.path.steps.add(index=0)
                self.client.put_events([event])
        return execution_id

    def whole_run(self, name: str, span: int, *, trained="COMPLETE", pushed="COMPLETE") -> dict:
        run = self.run(name)
        raw, transformed = self.artifact("Examples", span=span), self.artifact("Examples")
        model, version = self.artifact("Model"), self.artifact("PushedModel", pushed=1)
        self.execution(run, "ImageExampleGen", "COMPLETE", outputs={"examples": raw})
        self.execution(
            run, "Transform", "COMPLETE", {"examples": raw}, {"transformed_examples": transformed}
        )
        self.execution(run, "FeederTrainer", trained, {"examples": transformed}, {"model": model})
        if pushed is not None:
            self.execution(run, "Pusher", pushed, {"model": model}, {"pushed_model": version})
        return {"model": model, "version": version, "transformed": transformed}

    def _context(self, type_name: str, name: str) -> int:
        found = self.client.get_context_by_type_and_name(type_name, name)
        if found is not None:
            return found.id
        type_id = self.client.put_context_type(pb.ContextType(name=type_name))
        return self.client.put_contexts([pb.Context(type_id=type_id, name=name)])[0]


@pytest.fixture(scope="session")
def make_mlmd_store():
    """Returns the class ``Store``."""
    return Store
