"""A store with runs of every kind, and the files behind them as the components write them."""

import json
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from tests import factories
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.report.collect import collect
from tfx_feeder.schemas import tfma, training_history
from tfx_feeder.schemas.training_history import (
    CandidateRecord,
    Event,
    History,
    StrategyRecord,
)

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)>[red]{{ 7 * 7 }}"
FIRST, SECOND, STOCK, FAILED = "2026-01-01", "2026-01-02", "2026-01-03", f"2026-01-04/../{HOSTILE}"
SLICES = {"": 0.95, "label 1": 0.9, "label 2": 0.5, f"name {HOSTILE}": 1.0}
BASELINES = {"": 0.9, "label 1": 0.85, "label 2": 0.7, f"name {HOSTILE}": 0.75}
EVAL_CONFIG = {
    "evalConfig": {
        "metricsSpecs": [
            {
                "metrics": [
                    {"className": "ExampleCount"},
                    {
                        "className": "SparseCategoricalAccuracy",
                        "config": '{"name": "accuracy"}',
                        "perSliceThresholds": [
                            {
                                "slicingSpecs": [{}],
                                "threshold": {
                                    "valueThreshold": {"lowerBound": 0.9},
                                    "changeThreshold": {
                                        "absolute": -0.02,
                                        "direction": "HIGHER_IS_BETTER",
                                    },
                                },
                            },
                            {
                                "slicingSpecs": [{"featureKeys": ["label"]}],
                                "threshold": {"valueThreshold": {"lowerBound": 0.6}},
                            },
                        ],
                    },
                ]
            }
        ]
    }
}


@pytest.fixture(scope="session")
def history() -> History:
    return make_history()


@pytest.fixture(scope="session")
def store(make_store_with_files, tmp_path_factory) -> SimpleNamespace:
    """The folder of the store, and ids of what its runs made."""
    folder = tmp_path_factory.mktemp("runs")
    metadata = make_store_with_files(folder)
    first = _trained_run(metadata, FIRST, span=1, base=None, version="100")
    second = _trained_run(metadata, SECOND, span=2, base=first.model, version="")
    _stock_run(metadata)
    _failed_run(metadata)
    return SimpleNamespace(folder=folder, first=first, second=second)


@pytest.fixture(scope="session")
def lineage(store) -> Lineage:
    return Lineage.open(store.folder)


@pytest.fixture(scope="session")
def facts_of(lineage, store):
    """Returns a function that gathers what the report of a run says."""

    def gathered(run_id: str):
        run = lineage.run(run_id)
        assert run is not None
        return collect(lineage, run, str(store.folder))

    return gathered


def make_history() -> History:
    """A training of three epochs in two phases, with every part that a history can have."""
    settings = ((0, 0.01, 32), (0, 0.01, 32), (1, 0.005, 64))
    epochs = tuple(
        factories.epoch_record(
            epoch,
            phase=phase,
            learning_rate=rate,
            global_batch_size=batch,
            replicas=2,
            examples_per_s=50.0 + epoch,
            metrics={
                "accuracy": 0.5 + epoch / 10,
                "loss": float("nan") if epoch == 1 else 1 / (epoch + 1),
                "val_accuracy": 0.45 + epoch / 10,
                "val_loss": 1.5 / (epoch + 1),
            },
            noise_scale=100.0,
        )
        for epoch, (phase, rate, batch) in enumerate(settings)
    )
    phases = tuple(
        factories.phase_record(
            phase,
            learning_rate=rate,
            global_batch_size=batch,
            epochs=count,
            steps=10 * count,
            examples=100 * count,
            seconds=2.0 * count,
            reason=f"because {HOSTILE}",
            metrics={"accuracy": 0.7, "loss": 0.3},
            verdict="input-bound",
            advice="Feed from memory.",
            device_ceiling=100.0,
            input_ceiling=60.0,
        )
        for phase, rate, batch, count in ((0, 0.01, 32, 2), (1, 0.005, 64, 1))
    )
    probe = {"steps": [{"batch_size": 32, "median_s": 0.01}]}
    candidates = (
        CandidateRecord(
            "sequential", 1, ("CPU:0",), probe, 80.0, 70.0, 95.0, 1.5, "too slow", "ends too late"
        ),
        CandidateRecord(
            "mirrored", 2, ("CPU:0",), probe, 50.0, 45.0, 60.0, 1.0, "chosen", "in time", 55.0
        ),
        CandidateRecord(
            "multi_worker", 1, (), None, None, None, None, None, "cannot run", "no cluster"
        ),
    )
    return factories.history(
        strategy="mirrored",
        feed={"seed": 7},
        code_fingerprint="abc",
        environment={"python": "3.10.13", "tensorflow": "2.16.2", "tfx_feeder": "0.1.0"},
        seconds=66.0,
        epochs=epochs,
        phases=phases,
        events=(Event("warm_start", 0, f"Loaded {HOSTILE}."),),
        candidates=candidates,
        placement=StrategyRecord({"name": "mirrored"}, 2, "linear", 2),
    )


def _trained_run(store, name: str, *, span: int, base: int | None, version: str):
    run = store.run(name)
    blessed = bool(version)
    raw = store.artifact(
        "Examples",
        span=span,
        split_names='["train", "eval"]',
        num_examples_train=100,
        num_examples_eval=50,
        rejected_corrupt_image=3,
    )
    rejection = {"path": HOSTILE, "reason": "corrupt_image", "cause": HOSTILE}
    (store.path(raw) / "rejected.jsonl").write_text(json.dumps(rejection) + "\n")
    statistics, anomalies = store.artifact("ExampleStatistics"), store.artifact("ExampleAnomalies")
    for split, offset in (("train", 0.0), ("eval", 1.0)):
        write_statistics(store.path(statistics), split, low=offset + 5 * (span - 1))
        _write_anomalies(store.path(anomalies), split)
    schema, transformed = store.artifact("Schema"), store.artifact("Examples")
    model, history = store.artifact("Model"), store.artifact("tfx_feeder.TrainingHistory")
    training_history.write(make_history(), store.path(history))
    evaluation = store.artifact("ModelEvaluation")
    baseline = {"baseline_model_id": base} if base else {}
    blessing = store.artifact(
        "ModelBlessing", blessed=int(blessed), current_model_id=model, **baseline
    )
    write_evaluation(store.path(evaluation), blessed=blessed, compared=base is not None)
    destination = str(store.folder / "serving" / version)
    pushed = store.artifact(
        "PushedModel", pushed=int(blessed), pushed_version=version, pushed_destination=destination
    )
    based = {"base_model": base} if base else {}
    store.execution(
        run,
        "ImageExampleGen",
        "COMPLETE",
        outputs={"examples": raw},
        properties={"input_base": "/images"},
    )
    store.execution(run, "StatisticsGen", "COMPLETE", {"examples": raw}, {"statistics": statistics})
    store.execution(run, "SchemaGen", "CACHED", {"statistics": statistics}, {"schema": schema})
    inputs = {"statistics": statistics, "schema": schema}
    store.execution(run, "ExampleValidator", "COMPLETE", inputs, {"anomalies": anomalies})
    store.execution(
        run,
        "Transform",
        "COMPLETE",
        {"examples": raw, "schema": schema},
        {"transformed_examples": transformed},
    )
    store.execution(
        run,
        "FeederTrainer",
        "COMPLETE",
        {"examples": transformed} | based,
        {"model": model, "training_history": history},
        properties={
            "code_fingerprint": "abc",
            "feed": '{"seed": 7}',
            "custom_config": json.dumps({"text": HOSTILE}),
        },
    )
    compared = {"baseline_model": base} if base else {}
    store.execution(
        run,
        "Evaluator",
        "COMPLETE",
        {"examples": raw, "model": model} | compared,
        {"evaluation": evaluation, "blessing": blessing},
    )
    store.execution(run, "Pusher", "COMPLETE", {"model": model}, {"pushed_model": pushed})
    return SimpleNamespace(model=model, evaluation=store.path(evaluation))


def _stock_run(store) -> None:
    """What a stock Trainer leaves behind; its evaluation's files are gone."""
    run = store.run(STOCK)
    examples, model = store.artifact("Examples"), store.artifact("Model")
    evaluation, blessing = store.artifact("ModelEvaluation"), store.artifact("ModelBlessing")
    store.path(evaluation).rmdir()
    store.execution(run, "CsvExampleGen", "COMPLETE", outputs={"examples": examples})
    store.execution(run, "Trainer", "COMPLETE", {"examples": examples}, {"model": model})
    outputs = {"evaluation": evaluation, "blessing": blessing}
    store.execution(run, "Evaluator", "COMPLETE", {"model": model}, outputs)


def _failed_run(store) -> None:
    run = store.run(FAILED)
    result = json.dumps({"code": 13, "resultMessage": f"The disk is full: {HOSTILE}"})
    store.execution(run, "Trainer", "FAILED", properties={"__execution_result__": result})


def write_statistics(folder: Path, split: str, *, low: float) -> None:
    """Writes what StatisticsGen does: a number between ``low`` and ``low + 10``, and a category."""
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add(num_examples=100)
    number = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.FLOAT)
    number.path.step.append("height")
    number.num_stats.common_stats.num_non_missing = 90
    number.num_stats.mean = low + 5
    histogram = number.num_stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
    for index in range(10):
        histogram.buckets.add(low_value=low + index, high_value=low + index + 1, sample_count=9)
    category = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
    category.path.step.extend(["colour", HOSTILE])
    category.string_stats.common_stats.num_non_missing = 100
    category.string_stats.unique = 2
    for label, count in (("red", 75 - low), (HOSTILE, 25 + low)):
        category.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)
    image = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.BYTES)
    image.path.step.append("image")
    image.string_stats.common_stats.num_non_missing = 100
    image.string_stats.rank_histogram.buckets.add(label="__BYTES_VALUE__", sample_count=1)
    path = folder / f"Split-{split}" / "FeatureStats.pb"
    path.parent.mkdir(parents=True)
    path.write_bytes(statistics.SerializeToString())


def write_evaluation(folder: Path, *, blessed: bool, compared: bool) -> None:
    """Writes what the Evaluator does."""
    records = [_metrics(name, compared).SerializeToString() for name in SLICES]
    _write_records(folder / "metrics-00000-of-00001.tfrecord", records)
    result = tfma.parse("ValidationResult", b"", folder)
    result.validation_ok = blessed
    if not blessed:
        missed = result.metric_validations_per_slice.add()
        _name_slice(missed.slice_key, "label 2")
        failure = missed.failures.add()
        failure.metric_key.name = "accuracy"
        failure.metric_threshold.value_threshold.lower_bound.value = 0.6
    _write_records(folder / "validations.tfrecord", [result.SerializeToString()])
    (folder / "eval_config.json").write_text(json.dumps(EVAL_CONFIG))


def _metrics(name: str, compared: bool):
    metrics = tfma.parse("MetricsForSlice", b"", Path())
    _name_slice(metrics.slice_key, name)
    values = {"": SLICES[name]} | ({"baseline": BASELINES[name]} if compared else {})
    for model, value in values.items():
        for metric, number in (("accuracy", value), ("loss", 1 - value), ("example_count", 20.0)):
            pair = metrics.metric_keys_and_values.add()
            pair.key.name, pair.key.model_name = metric, model
            pair.value.double_value.value = number
    return metrics


def _name_slice(key, name: str) -> None:
    if name:
        column, _, value = name.partition(" ")
        key.single_slice_keys.add(column=column, bytes_value=value.encode())


def _write_anomalies(folder: Path, split: str) -> None:
    anomalies = anomalies_pb2.Anomalies()
    if split == "eval":
        found = anomalies.anomaly_info[HOSTILE]
        found.severity = anomalies_pb2.AnomalyInfo.ERROR
        found.description = f"Unexpected values {HOSTILE}"
    path = folder / f"Split-{split}" / "SchemaDiff.pb"
    path.parent.mkdir(parents=True)
    path.write_bytes(anomalies.SerializeToString())


def _write_records(path: Path, records: list[bytes]) -> None:
    # The checksums are not read.
    framed = (struct.pack("<QI", len(r), 0) + r + struct.pack("<I", 0) for r in records)
    path.write_bytes(b"".join(framed))
