"""A store with files behind its artifacts, and the command line that reads it."""

import contextlib
import json
import shutil
import sqlite3
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from tests import factories
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.schemas import tfma, training_history
from tfx_feeder.schemas.training_history import Event, History

ERROR = "The disk is full: [red]<b>no space</b>"
ODD_NODE = "[red]Odd/../<script>alert(1)</script>"


@pytest.fixture(scope="session")
def reference(make_store_with_files, tmp_path_factory):
    """Three runs of a pipeline; for tests that change nothing.

    The first pushes its model, the second does not bless its own, the third fails.
    """
    store = make_store_with_files(tmp_path_factory.mktemp("reference"))
    first = _run(store, "2026-01-01", span=1, accuracy=0.9, base=None, version="100")
    second = _run(store, "2026-01-02", span=2, accuracy=0.7, base=first, schema=first.schema)
    _failed_run(store, "2026-01-03", schema=first.schema)
    return SimpleNamespace(store=store, folder=store.folder, first=first, second=second)


@pytest.fixture
def own_reference(reference, make_store_with_files, tmp_path):
    """The same three runs; for tests that change something."""
    # A copy, because writing a store takes seconds.
    folder = shutil.copytree(reference.folder, tmp_path / "runs")
    with contextlib.closing(sqlite3.connect(folder / "metadata.sqlite")) as database, database:
        for column in ("Artifact.uri", "ArtifactProperty.string_value"):
            table, name = column.split(".")
            moved = (str(reference.folder), str(folder))
            database.execute(f"UPDATE {table} SET {name} = replace({name}, ?, ?)", moved)
    store = make_store_with_files(folder)
    return SimpleNamespace(
        store=store, folder=folder, first=reference.first, second=reference.second
    )


@pytest.fixture
def ask(reference):
    """Returns a function that calls ``tfx-feeder`` on a store, the reference by default."""

    def call(*arguments: object, store: Path | None = None, status: int = 0) -> Result:
        where = ("--store", store or reference.folder)
        done = CliRunner().invoke(main, [str(word) for word in (*arguments, *where)])
        assert done.exit_code == status, done.output
        return done

    return call


@pytest.fixture
def ask_json(ask):
    """Returns a function that calls ``tfx-feeder … --json`` and parses the answer."""

    def call(*arguments: object, store: Path | None = None):
        return json.loads(ask(*arguments, "--json", store=store).stdout)

    return call


def _run(store, name, *, span, accuracy, base, version="", schema=None) -> SimpleNamespace:
    run = store.run(name)
    raw = store.artifact(
        "Examples",
        span=span,
        num_examples_train=100,
        num_examples_eval=50,
        input_fingerprint=f"split:all,num_files:1,total_bytes:{span}",
    )
    store.execution(
        run,
        "ImageExampleGen",
        "COMPLETE",
        outputs={"examples": raw},
        properties={
            "input_base": "/images",
            "input_config": json.dumps({"splits": [{"name": "all", "pattern": f"span-{span}/*"}]}),
        },
    )
    state = "CACHED" if schema else "COMPLETE"
    schema = schema or store.artifact("Schema")
    store.execution(
        run,
        "SchemaGen",
        state,
        outputs={"schema": schema},
        properties={"schema_file": "/s.pbtxt"},
    )
    transformed = store.artifact("Examples")
    store.execution(
        run,
        "Transform",
        "COMPLETE",
        {"examples": raw, "schema": schema},
        {"transformed_examples": transformed},
    )
    model, history = store.artifact("Model"), store.artifact("tfx_feeder.TrainingHistory", epochs=3)
    training_history.write(_history(), store.path(history))
    store.execution(
        run,
        "FeederTrainer",
        "COMPLETE",
        {"examples": transformed} | ({"base_model": base.model} if base else {}),
        {"model": model, "training_history": history},
        properties={"code_fingerprint": f"code of {name}", "model_fn": "own.model.create"},
    )
    baseline = {"baseline_model_id": base.model} if base else {}
    evaluation = store.artifact("ModelEvaluation")
    blessing = store.artifact(
        "ModelBlessing", blessed=int(bool(version)), current_model_id=model, **baseline
    )
    compared = {"": accuracy} | ({"baseline": base.accuracy} if base else {})
    _write_evaluation(store.path(evaluation), compared, at_least=0.8)
    store.execution(
        run,
        "Evaluator",
        "COMPLETE",
        {"examples": raw, "model": model} | ({"baseline_model": base.model} if base else {}),
        {"evaluation": evaluation, "blessing": blessing},
    )
    served = store.folder / "serving" / str(version)
    pushed = store.artifact(
        "PushedModel",
        **(
            {"pushed": 1, "pushed_version": version, "pushed_destination": str(served)}
            if version
            else {"pushed": 0}
        ),
    )
    store.execution(
        run,
        "Pusher",
        "COMPLETE",
        {"model": model, "model_blessing": blessing},
        {"pushed_model": pushed},
    )
    return SimpleNamespace(
        name=name,
        raw=raw,
        schema=schema,
        transformed=transformed,
        model=model,
        history=history,
        evaluation=evaluation,
        blessing=blessing,
        pushed=pushed,
        accuracy=accuracy,
    )


def _failed_run(store, name, *, schema) -> None:
    run = store.run(name)
    raw = store.artifact("Examples", span=3)
    store.execution(run, "ImageExampleGen", "COMPLETE", outputs={"examples": raw})
    store.execution(run, "SchemaGen", "CACHED", outputs={"schema": schema})
    store.execution(run, ODD_NODE, "CANCELED", {"examples": raw})
    store.execution(
        run,
        "Transform",
        "FAILED",
        {"examples": raw, "schema": schema},
        properties={"__execution_result__": json.dumps({"code": 13, "resultMessage": ERROR})},
    )


def _history() -> History:
    settings = ((0, 0.01, 32), (0, 0.01, 32), (1, 0.005, 64))
    return factories.history(
        epochs=tuple(
            factories.epoch_record(
                epoch,
                phase=phase,
                learning_rate=rate,
                global_batch_size=batch,
                metrics={"accuracy": 0.5 + epoch / 10, "loss": 1 / (epoch + 1), "val_loss": 0.5},
            )
            for epoch, (phase, rate, batch) in enumerate(settings)
        ),
        phases=tuple(
            factories.phase_record(
                phase,
                epochs=2 - phase,
                reason="due [now]",
                verdict="input-bound",
                advice="Feed from memory.",
            )
            for phase in (0, 1)
        ),
        events=(Event("warm_start", 0, "The weights of the base model were loaded."),),
    )


def _write_evaluation(folder: Path, accuracy: dict[str, float], *, at_least: float) -> None:
    """Writes files as TFMA does: the accuracy on all examples, by model, and a threshold."""
    metrics = tfma.parse("MetricsForSlice", b"", folder)
    for model, value in accuracy.items():
        pair = metrics.metric_keys_and_values.add()
        pair.key.name, pair.key.model_name = "accuracy", model
        pair.value.double_value.value = value
    result = tfma.parse("ValidationResult", b"", folder)
    result.validation_ok = accuracy[""] >= at_least
    if not result.validation_ok:
        failure = result.metric_validations_per_slice.add().failures.add()
        failure.metric_key.name = "accuracy"
        failure.metric_threshold.value_threshold.lower_bound.value = at_least
    _write_record(folder / "metrics-00000-of-00001.tfrecord", metrics.SerializeToString())
    _write_record(folder / "validations.tfrecord", result.SerializeToString())


def _write_record(path: Path, record: bytes) -> None:
    # The checksums are not read.
    path.write_bytes(struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0))
