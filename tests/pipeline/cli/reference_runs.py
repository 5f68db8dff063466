"""Three runs of a pipeline that the commands are tested on."""

import json
from pathlib import Path
from types import SimpleNamespace

from tests import factories
from tests.mlmd_store import StoreWithFiles, write_evaluation
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.training_history import Event, History

ERROR = "The disk is full: [red]<b>no space</b>"
ODD_NODE = "[red]Odd/../<script>alert(1)</script>"


def write_runs(folder: Path) -> SimpleNamespace:
    """Writes a store whose first run pushes its model; the second is not blessed, the third fails.

    Args:
        folder: Folder of the store.

    Returns:
        The store, its folder, and the artifact ids of the first and the second run.
    """
    store = StoreWithFiles(folder)
    first = _run(store, "2026-01-01", span=1, accuracy=0.9, base=None, version="100")
    second = _run(store, "2026-01-02", span=2, accuracy=0.7, base=first, schema=first.schema)
    _failed_run(store, "2026-01-03", schema=first.schema)
    return SimpleNamespace(store=store, folder=store.folder, first=first, second=second)


def _run(
    store: StoreWithFiles,
    name: str,
    *,
    span: int,
    accuracy: float,
    base: SimpleNamespace | None,
    version: str = "",
    schema: int | None = None,
) -> SimpleNamespace:
    run = store.run(name)
    raw = store.artifact(
        "Examples",
        span=span,
        num_examples_train=100,
        num_examples_eval=50,
        input_fingerprint=f"split:all,num_files:1,total_bytes:{span}",
    )
    splits = [{"name": "all", "pattern": f"span-{span}/*"}]
    store.execution(
        run,
        "ImageExampleGen",
        outputs={"examples": raw},
        properties={"input_base": "/images", "input_config": json.dumps({"splits": splits})},
    )
    state = "CACHED" if schema else "COMPLETE"
    schema = schema or store.artifact("Schema")
    properties = {"schema_file": "/s.pbtxt"}
    store.execution(run, "SchemaGen", state, outputs={"schema": schema}, properties=properties)
    transformed = store.artifact("Examples")
    store.execution(
        run,
        "Transform",
        inputs={"examples": raw, "schema": schema},
        outputs={"transformed_examples": transformed},
    )
    model, history = store.artifact("Model"), store.artifact("tfx_feeder.TrainingHistory", epochs=3)
    training_history.write(_history(), store.path(history))
    store.execution(
        run,
        "FeederTrainer",
        inputs={"examples": transformed} | ({"base_model": base.model} if base else {}),
        outputs={"model": model, "training_history": history},
        properties={"code_fingerprint": f"code of {name}", "model_fn": "own.model.create"},
    )
    baseline = {"baseline_model_id": base.model} if base else {}
    evaluation = store.artifact("ModelEvaluation")
    blessing = store.artifact(
        "ModelBlessing", blessed=int(bool(version)), current_model_id=model, **baseline
    )
    values = {"": {"accuracy": accuracy}}
    values |= {"baseline": {"accuracy": base.accuracy}} if base else {}
    missed = {} if accuracy >= 0.8 else {"": 0.8}
    write_evaluation(store.path(evaluation), {"": values}, missed=missed)
    store.execution(
        run,
        "Evaluator",
        inputs={"examples": raw, "model": model} | ({"baseline_model": base.model} if base else {}),
        outputs={"evaluation": evaluation, "blessing": blessing},
    )
    served = {
        "pushed_version": version,
        "pushed_destination": str(store.folder / "serving" / version),
    }
    pushed = store.artifact("PushedModel", pushed=int(bool(version)), **(served if version else {}))
    store.execution(
        run,
        "Pusher",
        inputs={"model": model, "model_blessing": blessing},
        outputs={"pushed_model": pushed},
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


def _failed_run(store: StoreWithFiles, name: str, *, schema: int) -> None:
    run = store.run(name)
    raw = store.artifact("Examples", span=3)
    store.execution(run, "ImageExampleGen", outputs={"examples": raw})
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
    return factories.two_phase_history(
        lambda epoch: {
            "metrics": {"accuracy": 0.5 + epoch / 10, "loss": 1 / (epoch + 1), "val_loss": 0.5}
        },
        {"reason": "due [now]", "verdict": "input-bound", "advice": "Feed from memory."},
        events=(Event("warm_start", 0, "The weights of the base model were loaded."),),
    )
