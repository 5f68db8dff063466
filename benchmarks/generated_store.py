"""A store of ML Metadata as months of runs leave it, written in bulk."""
# The client names its messages at run time only.
# pyright: reportAttributeAccessIssue=false

import json
from collections.abc import Mapping
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.pipeline.metadata.store import create_store
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.training_history import EpochRecord, History

PIPELINE = "generated"

# Nodes in order: what each reads, by input key and as node and output key, and the types of what it
# makes. The model that a training starts from is of an earlier run.
NODES: Mapping[str, tuple[Mapping[str, tuple[str, str]], Mapping[str, str]]] = {
    "ExampleGen": ({}, {"examples": "Examples"}),
    "StatisticsGen": (
        {"examples": ("ExampleGen", "examples")},
        {"statistics": "ExampleStatistics"},
    ),
    "SchemaGen": ({"statistics": ("StatisticsGen", "statistics")}, {"schema": "Schema"}),
    "ExampleValidator": (
        {"statistics": ("StatisticsGen", "statistics"), "schema": ("SchemaGen", "schema")},
        {"anomalies": "ExampleAnomalies"},
    ),
    "Transform": (
        {"examples": ("ExampleGen", "examples"), "schema": ("SchemaGen", "schema")},
        {"transformed_examples": "Examples", "transform_graph": "TransformGraph"},
    ),
    "base_model": ({}, {}),
    "FeederTrainer": (
        {
            "examples": ("Transform", "transformed_examples"),
            "transform_graph": ("Transform", "transform_graph"),
            "base_model": ("FeederTrainer", "model"),
        },
        {"model": "Model", "training_history": "tfx_feeder.TrainingHistory"},
    ),
    "baseline": ({}, {}),
    "Evaluator": (
        {
            "examples": ("ExampleGen", "examples"),
            "model": ("FeederTrainer", "model"),
            "baseline_model": ("FeederTrainer", "model"),
        },
        {"evaluation": "ModelEvaluation", "blessing": "ModelBlessing"},
    ),
    "Pusher": (
        {"model": ("FeederTrainer", "model"), "model_blessing": ("Evaluator", "blessing")},
        {"pushed_model": "PushedModel"},
    ),
}
_FROM_EARLIER = ("base_model", "baseline_model")
_REFUSED_EVERY = 10
"""Of so many models one is not blessed."""
_SETTINGS = json.dumps({f"option_{number}": "value " * 10 for number in range(20)})
"""About as much text as the settings of a component."""
_EPOCHS = 30


def write_store(folder: Path, executions: int) -> Path:
    """Writes a store of runs with ten executions each; every artifact has a folder with a file.

    Each model was trained from the one that was blessed before it, and compared with it.

    Args:
        folder: Where the store and the files come.
        executions: How many there are.

    Returns:
        The file of the store.
    """
    writer = _Writer(folder, executions // len(NODES))
    writer.write()
    return writer.path


class _Writer:
    def __init__(self, folder: Path, runs: int) -> None:
        self.path = folder / "metadata.sqlite"
        self._folder = folder
        self._runs = range(runs)
        self._store = create_store(self.path)
        # The ids of all runs, by node, and by node and output key.
        self._executions: dict[str, list[int]] = {}
        self._artifacts: dict[tuple[str, str], list[int]] = {}

    def write(self) -> None:
        [pipeline], nodes, runs = self._write_contexts()
        self._write_executions()
        for node, context in zip(NODES, nodes, strict=True):
            for key, type_name in NODES[node][1].items():
                self._write_artifacts(node, key, type_name)
            self._write_events(node)
            made = [self._artifacts[node, key] for key in NODES[node][1]]
            pairs = [(run, each) for run in self._runs for each in (pipeline, context, runs[run])]
            self._store.put_attributions_and_associations(
                [
                    pb.Attribution(artifact_id=ids[r], context_id=c)
                    for ids in made
                    for r, c in pairs
                ],
                [
                    pb.Association(execution_id=self._executions[node][run], context_id=each)
                    for run, each in pairs
                ],
            )

    def _write_contexts(self) -> list[list[int]]:
        """Writes the contexts of the pipeline, of its nodes and of its runs."""
        made = []
        for type_name, names in (
            ("pipeline", [PIPELINE]),
            ("node", [f"{PIPELINE}.{node}" for node in NODES]),
            ("pipeline_run", [f"run-{run:05}" for run in self._runs]),
        ):
            kind = self._store.put_context_type(pb.ContextType(name=type_name))
            contexts = [pb.Context(type_id=kind, name=name) for name in names]
            made.append(self._store.put_contexts(contexts))
        [pipeline], _, runs = made
        self._store.put_parent_contexts(
            [pb.ParentContext(child_id=run, parent_id=pipeline) for run in runs]
        )
        return made

    def _write_executions(self) -> None:
        """Writes the executions in the order in which runs make them."""
        types = {
            node: self._store.put_execution_type(pb.ExecutionType(name=f"components.{node}"))
            for node in NODES
        }
        settings = {"settings": pb.Value(string_value=_SETTINGS)}
        ids = self._store.put_executions(
            [
                pb.Execution(
                    type_id=types[node],
                    last_known_state=pb.Execution.COMPLETE,
                    custom_properties=settings,
                )
                for _ in self._runs
                for node in NODES
            ]
        )
        self._executions = {node: ids[index :: len(NODES)] for index, node in enumerate(NODES)}

    def _write_artifacts(self, node: str, key: str, type_name: str) -> None:
        kind = self._store.put_artifact_type(pb.ArtifactType(name=type_name))
        artifacts = []
        for run in self._runs:
            folder = self._folder / PIPELINE / node / key / str(self._executions[node][run])
            folder.mkdir(parents=True)
            (folder / "content").write_bytes(b"content")
            artifact = pb.Artifact(type_id=kind, uri=str(folder), state=pb.Artifact.LIVE)
            for name, value in self._properties(run, key).items():
                field = "string_value" if isinstance(value, str) else "int_value"
                setattr(artifact.custom_properties[name], field, value)
            artifacts.append(artifact)
        self._artifacts[node, key] = self._store.put_artifacts(artifacts)
        if type_name == "tfx_feeder.TrainingHistory":
            training_history.write(_history(), artifacts[-1].uri)

    def _properties(self, run: int, key: str) -> dict[str, int | str]:
        models = self._artifacts.get(("FeederTrainer", "model"), [])
        match key:
            case "examples":
                return {"span": run + 1, "num_examples_train": 1000, "num_examples_eval": 500}
            case "blessing":
                return {"blessed": int(_is_blessed(run)), "current_model_id": models[run]}
            case "pushed_model" if _is_blessed(run):
                place = self._folder / "serving" / str(run + 1)
                version = {"pushed_version": str(run + 1), "pushed_destination": str(place)}
                return {"pushed": 1, **version}
        return {}

    def _write_events(self, node: str) -> None:
        reads, makes = NODES[node]
        events = []
        for run in self._runs:
            execution = self._executions[node][run]
            for key, source in reads.items():
                origin = _blessed_before(run) if key in _FROM_EARLIER else run
                if origin is not None:
                    artifact = self._artifacts[source][origin]
                    events.append(_event(execution, artifact, key, pb.Event.INPUT))
            for key in makes:
                artifact = self._artifacts[node, key][run]
                events.append(_event(execution, artifact, key, pb.Event.OUTPUT))
        if events:
            self._store.put_events(events)


def _event(execution: int, artifact: int, key: str, kind: int) -> pb.Event:
    event = pb.Event(execution_id=execution, artifact_id=artifact, type=kind)
    event.path.steps.add(key=key)
    event.path.steps.add(index=0)
    return event


def _is_blessed(run: int) -> bool:
    return run % _REFUSED_EVERY != _REFUSED_EVERY - 1


def _blessed_before(run: int) -> int | None:
    return next((earlier for earlier in range(run - 1, -1, -1) if _is_blessed(earlier)), None)


def _history() -> History:
    epochs = tuple(
        EpochRecord(
            epoch=epoch,
            phase=0,
            learning_rate=0.01,
            global_batch_size=32,
            replicas=1,
            steps=40,
            examples=1280,
            examples_seen=1280 * (epoch + 1),
            seconds=1.0,
            examples_per_s=1280.0,
            step_ms_p50=20.0,
            step_ms_p95=30.0,
            input_wait_pct=5.0,
            first_step_s=None,
            metrics={"loss": 1 / (epoch + 1), "accuracy": epoch / _EPOCHS},
        )
        for epoch in range(_EPOCHS)
    )
    return History(
        schedule={},
        strategy="sequential",
        feed={},
        num_examples=1000,
        code_fingerprint="",
        environment={},
        started_at="2026-01-01T00:00:00+00:00",
        seconds=60.0,
        epochs=epochs,
    )
