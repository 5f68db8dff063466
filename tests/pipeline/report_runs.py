"""A store with runs of every kind, and their files as the components write them."""

import json
from pathlib import Path
from types import SimpleNamespace

from tests import factories
from tests.mlmd_store import (
    StoreWithFiles,
    category_feature,
    number_feature,
    write_anomalies,
    write_evaluation,
    write_statistics,
)
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.training_history import CandidateRecord, Event, History, StrategyRecord

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


def write_runs(folder: Path) -> SimpleNamespace:
    """Writes the runs and returns the folder of the store with artifacts of the trained runs."""
    store = StoreWithFiles(folder)
    first = _trained_run(store, FIRST, span=1, base=None, version="100")
    second = _trained_run(store, SECOND, span=2, base=first.model, version="")
    _stock_run(store)
    _failed_run(store)
    return SimpleNamespace(folder=folder, first=first, second=second)


def make_history() -> History:
    """Returns the history of a training with every part that a history can have."""
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
    return factories.two_phase_history(
        lambda epoch: {
            "replicas": 2,
            "examples_per_s": 50.0 + epoch,
            "metrics": {
                "accuracy": 0.5 + epoch / 10,
                "loss": float("nan") if epoch == 1 else 1 / (epoch + 1),
                "val_accuracy": 0.45 + epoch / 10,
                "val_loss": 1.5 / (epoch + 1),
            },
            "noise_scale": 100.0,
        },
        {
            "reason": f"because {HOSTILE}",
            "metrics": {"accuracy": 0.7, "loss": 0.3},
            "verdict": "input-bound",
            "advice": "Feed from memory.",
            "device_ceiling": 100.0,
            "input_ceiling": 60.0,
        },
        strategy="mirrored",
        feed={"seed": 7},
        code_fingerprint="abc",
        environment={"python": "3.10.13", "tensorflow": "2.16.2", "tfx_feeder": "0.1.0"},
        seconds=66.0,
        events=(Event("warm_start", 0, f"Loaded {HOSTILE}."),),
        candidates=candidates,
        placement=StrategyRecord({"name": "mirrored"}, 2, "linear", 2),
    )


def _trained_run(
    store: StoreWithFiles, name: str, *, span: int, base: int | None, version: str
) -> SimpleNamespace:
    run = store.run(name)
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
        _write_statistics(store.path(statistics), split, low=offset + 5 * (span - 1))
        found = {HOSTILE: f"Unexpected values {HOSTILE}"} if split == "eval" else {}
        write_anomalies(store.path(anomalies), split, found)
    schema, transformed = store.artifact("Schema"), store.artifact("Examples")
    model, history = store.artifact("Model"), store.artifact("tfx_feeder.TrainingHistory")
    training_history.write(make_history(), store.path(history))
    evaluation = store.artifact("ModelEvaluation")
    blessed = int(bool(version))
    baseline = {"baseline_model_id": base} if base else {}
    blessing = store.artifact("ModelBlessing", blessed=blessed, current_model_id=model, **baseline)
    write_evaluation(
        store.path(evaluation),
        {name: _metrics(name, compared=base is not None) for name in SLICES},
        missed={} if blessed else {"label 2": 0.6},
        eval_config=EVAL_CONFIG,
    )
    destination = str(store.folder / "serving" / version)
    pushed = store.artifact(
        "PushedModel", pushed=blessed, pushed_version=version, pushed_destination=destination
    )
    properties = {
        "ImageExampleGen": {"input_base": "/images"},
        "FeederTrainer": {
            "code_fingerprint": "abc",
            "feed": '{"seed": 7}',
            "custom_config": json.dumps({"text": HOSTILE}),
        },
    }
    trained_on = {"examples": transformed} | ({"base_model": base} if base else {})
    evaluated = {"examples": raw, "model": model} | ({"baseline_model": base} if base else {})
    for node, inputs, outputs in (
        ("ImageExampleGen", {}, {"examples": raw}),
        ("StatisticsGen", {"examples": raw}, {"statistics": statistics}),
        ("SchemaGen", {"statistics": statistics}, {"schema": schema}),
        (
            "ExampleValidator",
            {"statistics": statistics, "schema": schema},
            {"anomalies": anomalies},
        ),
        ("Transform", {"examples": raw, "schema": schema}, {"transformed_examples": transformed}),
        ("FeederTrainer", trained_on, {"model": model, "training_history": history}),
        ("Evaluator", evaluated, {"evaluation": evaluation, "blessing": blessing}),
        ("Pusher", {"model": model}, {"pushed_model": pushed}),
    ):
        state = "CACHED" if node == "SchemaGen" else "COMPLETE"
        store.execution(run, node, state, inputs, outputs, properties.get(node))
    return SimpleNamespace(model=model, evaluation=store.path(evaluation))


def _stock_run(store: StoreWithFiles) -> None:
    """Writes the run of a stock Trainer whose evaluation has lost its files."""
    run = store.run(STOCK)
    examples, model = store.artifact("Examples"), store.artifact("Model")
    evaluation, blessing = store.artifact("ModelEvaluation"), store.artifact("ModelBlessing")
    store.path(evaluation).rmdir()
    store.execution(run, "CsvExampleGen", outputs={"examples": examples})
    store.execution(run, "Trainer", inputs={"examples": examples}, outputs={"model": model})
    outputs = {"evaluation": evaluation, "blessing": blessing}
    store.execution(run, "Evaluator", inputs={"model": model}, outputs=outputs)


def _failed_run(store: StoreWithFiles) -> None:
    result = json.dumps({"code": 13, "resultMessage": f"The disk is full: {HOSTILE}"})
    properties = {"__execution_result__": result}
    store.execution(store.run(FAILED), "Trainer", "FAILED", properties=properties)


def _write_statistics(folder: Path, split: str, *, low: float) -> None:
    """Writes a number between ``low`` and ``low + 10``, a category and an image."""
    buckets = [(low + index, low + index + 1, 9) for index in range(10)]
    write_statistics(
        folder,
        split,
        number_feature("height", buckets, mean=low + 5, non_missing=90),
        category_feature(["colour", HOSTILE], {"red": 75 - low, HOSTILE: 25 + low}),
        category_feature(["image"], {"__BYTES_VALUE__": 1}, kind="BYTES"),
    )


def _metrics(name: str, *, compared: bool) -> dict[str, dict[str, float]]:
    """Returns the metrics of a slice by model."""
    accuracy = {"": SLICES[name]} | ({"baseline": BASELINES[name]} if compared else {})
    return {
        model: {"accuracy": value, "loss": 1 - value, "example_count": 20.0}
        for model, value in accuracy.items()
    }
