"""Stores as TFX writes them, made by the ML Metadata client."""

from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.pipeline.metadata.store import writable_config


class Store:
    """Writes what TFX writes about a pipeline."""

    def __init__(self, target: Path | str, pipeline: str = "p") -> None:
        self.client = mlmd.MetadataStore(writable_config(target))
        self._pipeline = self._context("pipeline", pipeline)
        self._name = pipeline

    def run(self, name: str) -> int:
        run = self._context("pipeline_run", name)
        self.client.put_parent_contexts([pb.ParentContext(child_id=run, parent_id=self._pipeline)])
        return run

    def artifact(self, type_name: str, **properties: int | str) -> int:
        type_id = self.client.put_artifact_type(pb.ArtifactType(name=type_name))
        artifact = pb.Artifact(type_id=type_id, uri=f"/somewhere/{type_name}")
        for key, value in properties.items():
            _set(artifact.custom_properties[key], value)
        return self.client.put_artifacts([artifact])[0]

    def execution(
        self, run: int, node: str, state, inputs=None, outputs=None, properties=None
    ) -> int:
        type_id = self.client.put_execution_type(pb.ExecutionType(name=f"some.module.{node}"))
        execution = pb.Execution(type_id=type_id, last_known_state=pb.Execution.State.Value(state))
        for key, value in (properties or {}).items():
            _set(execution.custom_properties[key], value)
        execution_id = self.client.put_executions([execution])[0]
        contexts = [run, self._pipeline, self._context("node", f"{self._name}.{node}")]
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


class StoreWithFiles(Store):
    """A store in a folder; each artifact gets a folder there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder / "metadata.sqlite")
        self.folder = folder

    def artifact(self, type_name: str, **properties: int | str) -> int:
        artifact_id = super().artifact(type_name, **properties)
        [artifact] = self.client.get_artifacts_by_id([artifact_id])
        artifact.uri = str(self.folder / "artifacts" / type_name / str(artifact_id))
        artifact.state = pb.Artifact.LIVE
        self.client.put_artifacts([artifact])
        self.path(artifact_id).mkdir(parents=True)
        return artifact_id

    def path(self, artifact_id: int) -> Path:
        [artifact] = self.client.get_artifacts_by_id([artifact_id])
        return Path(artifact.uri)

    def set_property(self, artifact_id: int, name: str, value: str) -> None:
        [artifact] = self.client.get_artifacts_by_id([artifact_id])
        _set(artifact.custom_properties[name], value)
        self.client.put_artifacts([artifact])

    def empty_run(self, pipeline: str, name: str) -> None:
        run, parent = self._context("pipeline_run", name), self._context("pipeline", pipeline)
        self.client.put_parent_contexts([pb.ParentContext(child_id=run, parent_id=parent)])


def _set(target: pb.Value, value: int | str) -> None:
    setattr(target, "int_value" if isinstance(value, int) else "string_value", value)


@pytest.fixture(scope="session")
def make_mlmd_store():
    """Returns the class ``Store``."""
    return Store


@pytest.fixture(scope="session")
def make_store_with_files():
    """Returns the class ``StoreWithFiles``."""
    return StoreWithFiles


@pytest.fixture
def trained_by():
    """Returns a function from a strategy to a pipeline of Gen and Trainer, a FeederTrainer."""

    def trained_by(strategy, root="/data/shop"):
        said = {"field_value": {"string_value": strategy.to_json()}}
        name = "tfx_feeder.components.feeder_trainer.component.FeederTrainer"
        trainer = {
            "node_info": {"id": "Trainer", "type": {"name": name}},
            "upstream_nodes": ["Gen"],
            "parameters": {"parameters": {"strategy": said}},
        }
        nodes = ({"node_info": {"id": "Gen"}}, trainer)
        from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline

        return CompiledPipeline(
            {
                "pipeline_info": {"id": "My shop"},
                "runtime_spec": {"pipeline_root": {"field_value": {"string_value": root}}},
                "nodes": [{"pipeline_node": node} for node in nodes],
            }
        )

    return trained_by
