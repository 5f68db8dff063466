"""Builder of ML Metadata stores as TFX writes them, and of the files behind their artifacts."""
# The client and TFDV define their messages at run time.
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from tfx_feeder.pipeline.metadata.store import writable_config
from tfx_feeder.schemas import tfma

Property = int | float | str
Artifacts = Mapping[str, int]
"""Artifact ids by input or output key; ``key+key`` is an event with two keys."""


class StoreBuilder:
    """Writes contexts, artifacts, executions and events of a pipeline to a store.

    Args:
        target: SQLite file or URL of a database server.
        pipeline: Name of the pipeline.
    """

    def __init__(self, target: Path | str, pipeline: str = "p") -> None:
        self.client = mlmd.MetadataStore(writable_config(target))
        self._pipeline = self._context("pipeline", pipeline)
        self._name = pipeline

    def run(self, name: str) -> int:
        """Returns the context id of a run, which is created if it does not exist."""
        found = self.client.get_context_by_type_and_name("pipeline_run", name)
        return found.id if found else self._new_run(name, self._pipeline)

    def empty_run(self, pipeline: str, name: str) -> None:
        """Writes a run of another pipeline."""
        self._new_run(name, self._context("pipeline", pipeline))

    def artifact(self, type_name: str, **properties: Property) -> int:
        """Writes an artifact with custom properties and returns its id."""
        type_id = self.client.put_artifact_type(pb.ArtifactType(name=type_name))
        artifact = pb.Artifact(type_id=type_id, uri=f"/somewhere/{type_name}")
        _set_properties(artifact, properties)
        return self.client.put_artifacts([artifact])[0]

    def execution(
        self,
        run: int,
        node: str,
        state: str = "COMPLETE",
        inputs: Artifacts | None = None,
        outputs: Artifacts | None = None,
        properties: Mapping[str, Property] | None = None,
        type_name: str = "",
    ) -> int:
        """Writes the execution of a node with its contexts and events.

        Args:
            run: Context id of the run.
            node: Node id.
            state: Name of the execution's last known state.
            inputs: Input artifacts by key.
            outputs: Output artifacts by key.
            properties: Custom properties of the execution.
            type_name: Type of the component; by default, one named after the node.

        Returns:
            The id of the execution.
        """
        inputs, outputs = inputs or {}, outputs or {}
        type_name = type_name or f"some.module.{node}"
        type_id = self.client.put_execution_type(pb.ExecutionType(name=type_name))
        execution = pb.Execution(type_id=type_id, last_known_state=pb.Execution.State.Value(state))
        _set_properties(execution, properties or {})
        [execution_id] = self.client.put_executions([execution])
        contexts = [run, self._pipeline, self._context("node", f"{self._name}.{node}")]
        artifacts = [*inputs.values(), *outputs.values()]
        self.client.put_attributions_and_associations(
            [pb.Attribution(artifact_id=a, context_id=c) for a in artifacts for c in contexts],
            [pb.Association(execution_id=execution_id, context_id=c) for c in contexts],
        )
        for kind, ends in ((pb.Event.INPUT, inputs), (pb.Event.OUTPUT, outputs)):
            for keys, artifact in ends.items():
                event = pb.Event(artifact_id=artifact, execution_id=execution_id, type=kind)
                for key in keys.split("+"):
                    event.path.steps.add(key=key)
                    event.path.steps.add(index=0)
                self.client.put_events([event])
        return execution_id

    def whole_run(
        self, name: str, span: int, *, trained: str = "COMPLETE", pushed: str | None = "COMPLETE"
    ) -> dict[str, int]:
        """Writes a run from ExampleGen to Pusher.

        Args:
            name: Name of the run.
            span: Span of the examples.
            trained: State of the FeederTrainer.
            pushed: State of the Pusher; None omits its execution.

        Returns:
            The ids of the model, the pushed version and the transformed examples.
        """
        run = self.run(name)
        raw, transformed = self.artifact("Examples", span=span), self.artifact("Examples")
        model, version = self.artifact("Model"), self.artifact("PushedModel", pushed=1)
        self.execution(run, "ImageExampleGen", outputs={"examples": raw})
        self.execution(
            run, "Transform", "COMPLETE", {"examples": raw}, {"transformed_examples": transformed}
        )
        self.execution(run, "FeederTrainer", trained, {"examples": transformed}, {"model": model})
        if pushed is not None:
            self.execution(run, "Pusher", pushed, {"model": model}, {"pushed_model": version})
        return {"model": model, "version": version, "transformed": transformed}

    def set_property(self, artifact_id: int, name: str, value: Property) -> None:
        """Changes a custom property of an artifact."""
        [artifact] = self.client.get_artifacts_by_id([artifact_id])
        _set_properties(artifact, {name: value})
        self.client.put_artifacts([artifact])

    def _new_run(self, name: str, pipeline: int) -> int:
        run = self._context("pipeline_run", name)
        self.client.put_parent_contexts([pb.ParentContext(child_id=run, parent_id=pipeline)])
        return run

    def _context(self, type_name: str, name: str) -> int:
        found = self.client.get_context_by_type_and_name(type_name, name)
        if found is not None:
            return found.id
        type_id = self.client.put_context_type(pb.ContextType(name=type_name))
        return self.client.put_contexts([pb.Context(type_id=type_id, name=name)])[0]


class StoreWithFiles(StoreBuilder):
    """A store in a folder, with a folder for each artifact.

    Args:
        folder: Folder of the store, created if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder / "metadata.sqlite")
        self.folder = folder

    def artifact(self, type_name: str, **properties: Property) -> int:
        """Writes a live artifact with an empty folder and returns its id."""
        artifact_id = super().artifact(type_name, **properties)
        [artifact] = self.client.get_artifacts_by_id([artifact_id])
        artifact.uri = str(self.folder / "artifacts" / type_name / str(artifact_id))
        artifact.state = pb.Artifact.LIVE
        self.client.put_artifacts([artifact])
        self.path(artifact_id).mkdir(parents=True)
        return artifact_id

    def path(self, artifact_id: int) -> Path:
        """Returns the folder of an artifact."""
        [artifact] = self.client.get_artifacts_by_id([artifact_id])
        return Path(artifact.uri)


def _set_properties(
    message: pb.Artifact | pb.Execution, properties: Mapping[str, Property]
) -> None:
    fields = {int: "int_value", float: "double_value", str: "string_value"}
    for name, value in properties.items():
        setattr(message.custom_properties[name], fields[type(value)], value)


def write_evaluation(
    folder: Path,
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]],
    *,
    missed: Mapping[str, float] | None = None,
    eval_config: Mapping[str, Any] | None = None,
) -> None:
    """Writes the files of an evaluation as TFMA does.

    Args:
        folder: Existing folder of the evaluation.
        metrics: Values by slice (``"column value"``; empty: all examples), by model (empty: the
            candidate) and by name of the metric.
        missed: Lower bound of the accuracy by slice that does not meet it. None writes no
            validation result.
        eval_config: Evaluation config. None writes no such file.
    """
    records = []
    for slice_name, models in metrics.items():
        message = tfma.parse("MetricsForSlice", b"", folder)
        _name_slice(message.slice_key, slice_name)
        for model, values in models.items():
            for name, value in values.items():
                pair = message.metric_keys_and_values.add()
                pair.key.name, pair.key.model_name = name, model
                pair.value.double_value.value = value
        records.append(message.SerializeToString())
    _write_records(folder / "metrics-00000-of-00001.tfrecord", records)
    if missed is not None:
        result = tfma.parse("ValidationResult", b"", folder)
        result.validation_ok = not missed
        for slice_name, bound in missed.items():
            validation = result.metric_validations_per_slice.add()
            _name_slice(validation.slice_key, slice_name)
            failure = validation.failures.add()
            failure.metric_key.name = "accuracy"
            failure.metric_threshold.value_threshold.lower_bound.value = bound
        _write_records(folder / "validations.tfrecord", [result.SerializeToString()])
    if eval_config is not None:
        (folder / "eval_config.json").write_text(json.dumps(eval_config))


def _name_slice(key: Any, name: str) -> None:
    if name:
        column, _, value = name.partition(" ")
        key.single_slice_keys.add(column=column, bytes_value=value.encode())


def _write_records(path: Path, records: Iterable[bytes]) -> None:
    # The checksums are zero because readers do not verify them.
    framed = (struct.pack("<QI", len(r), 0) + r + struct.pack("<I", 0) for r in records)
    path.write_bytes(b"".join(framed))


def number_feature(
    name: str, buckets: Sequence[tuple[float, float, float]], *, mean: float, non_missing: int
) -> statistics_pb2.FeatureNameStatistics:
    """Returns the statistics of a numeric feature.

    Args:
        name: Name of the feature.
        buckets: Low value, high value and number of examples of each bucket.
        mean: Mean of the values.
        non_missing: Number of examples that have a value.
    """
    feature = statistics_pb2.FeatureNameStatistics(type=statistics_pb2.FeatureNameStatistics.FLOAT)
    feature.path.step.append(name)
    feature.num_stats.common_stats.num_non_missing = non_missing
    feature.num_stats.mean = mean
    histogram = feature.num_stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
    for low, high, count in buckets:
        histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
    return feature


def category_feature(
    path: Sequence[str], counts: Mapping[str, float], *, kind: str = "STRING"
) -> statistics_pb2.FeatureNameStatistics:
    """Returns the statistics of a feature of strings or bytes that all 100 examples have.

    Args:
        path: Steps of the feature's path.
        counts: Number of examples by value.
        kind: ``STRING`` or ``BYTES``.
    """
    kinds = statistics_pb2.FeatureNameStatistics.Type
    feature = statistics_pb2.FeatureNameStatistics(type=kinds.Value(kind))
    feature.path.step.extend(path)
    feature.string_stats.common_stats.num_non_missing = 100
    feature.string_stats.unique = len(counts)
    for label, count in counts.items():
        feature.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)
    return feature


def write_statistics(
    folder: Path, split: str, *features: statistics_pb2.FeatureNameStatistics
) -> None:
    """Writes the statistics of a split of 100 examples as StatisticsGen does.

    Args:
        folder: Folder of the statistics artifact.
        split: Name of the split.
        *features: Statistics of each feature.
    """
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    statistics.datasets.add(num_examples=100, features=features)
    _write_split(folder, split, "FeatureStats.pb", statistics.SerializeToString())


def write_anomalies(folder: Path, split: str, descriptions: Mapping[str, str]) -> None:
    """Writes the anomalies of a split as ExampleValidator does.

    Args:
        folder: Folder of the anomalies artifact.
        split: Name of the split.
        descriptions: Description of the error by feature.
    """
    anomalies = anomalies_pb2.Anomalies()
    for feature, description in descriptions.items():
        anomalies.anomaly_info[feature].severity = anomalies_pb2.AnomalyInfo.ERROR
        anomalies.anomaly_info[feature].description = description
    _write_split(folder, split, "SchemaDiff.pb", anomalies.SerializeToString())


def _write_split(folder: Path, split: str, name: str, content: bytes) -> None:
    path = folder / f"Split-{split}" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
