"""A baseline that cannot be evaluated does not end the run, and EvalGate says so."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.components.evaluator.test_runnable import _example, _save
from tfx_feeder.components.eval_gate.gate import Floor, Gate, Margin
from tfx_feeder.schemas import gate_report
from tfx_feeder.schemas.properties import BASELINE_FAILURE

pytestmark = pytest.mark.slow  # Beam, and TFMA with both models.

GATE = Gate(floors=(Floor(0.5),), margins=(Margin(0.1),))


def _artifact(kind: type, folder: Path, number: int) -> Any:
    artifact = kind()
    artifact.uri, artifact.id = str(folder), number
    return artifact


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, list[Any]]:
    """Examples without the feature that the baseline needs."""
    import tensorflow as tf
    from tfx import v1 as tfx

    kinds = tfx.types.standard_artifacts
    split = tmp_path / "examples" / "Split-eval"
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(split / "examples.gz"), "GZIP") as writer:
        for number in range(40):
            writer.write(_example(age=number % 2, label=number % 2))
    _save(tmp_path / "1" / "Format-Serving", ["width"])
    _save(tmp_path / "2" / "Format-Serving", ["age"])
    examples = _artifact(kinds.Examples, tmp_path / "examples", 3)
    examples.split_names = '["eval"]'
    return {
        "examples": [examples],
        "model": [_artifact(kinds.Model, tmp_path / "2", 2)],
        "baseline_model": [_artifact(kinds.Model, tmp_path / "1", 1)],
    }


@pytest.fixture
def evaluate(tmp_path: Path, inputs: dict[str, list[Any]]) -> Any:
    """Returns a function that runs an executor of the Evaluator and returns the evaluation."""
    import tensorflow_model_analysis as tfma
    from google.protobuf import json_format
    from tfx import v1 as tfx

    from tfx_feeder.components.eval_gate.tfma_metrics import paired_answers

    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key="label")],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(
                        class_name="BinaryAccuracy", config=json.dumps({"name": "accuracy"})
                    ),
                    paired_answers(),
                ]
            )
        ],
    )
    kinds = tfx.types.standard_artifacts

    def run(executor: Any) -> Any:
        evaluation = _artifact(kinds.ModelEvaluation, tmp_path / "evaluation", 4)
        blessing = _artifact(kinds.ModelBlessing, tmp_path / "blessing", 5)
        executor.Do(
            inputs,
            {"evaluation": [evaluation], "blessing": [blessing]},
            {
                "eval_config": json_format.MessageToJson(config),
                "example_splits": '["eval"]',
                "fairness_indicator_thresholds": "null",
            },
        )
        return evaluation

    return run


def test_a_baseline_of_other_features_is_left_out_and_the_floors_decide(
    tmp_path: Path, inputs: dict[str, list[Any]], evaluate: Any
) -> None:
    from tfx import v1 as tfx
    from tfx.components.evaluator import executor as stock

    from tfx_feeder.components.eval_gate.executor import Executor as GateExecutor
    from tfx_feeder.components.evaluator.component import Executor
    from tfx_feeder.schemas.artifacts import GateReport

    with pytest.raises(
        Exception, match="signature func"
    ):  # The stock Evaluator fails in every run.
        evaluate(stock.Executor())
    evaluation = evaluate(Executor())
    reason = evaluation.get_string_custom_property(BASELINE_FAILURE)
    assert reason.startswith("it fails on the examples: ")
    assert "width" in reason

    blessing = _artifact(tfx.types.standard_artifacts.ModelBlessing, tmp_path / "blessed", 6)
    report = _artifact(GateReport, tmp_path / "report", 7)
    GateExecutor().Do(
        {key: inputs[key] for key in ("model", "baseline_model")} | {"evaluation": [evaluation]},
        {"blessing": [blessing], "gate_report": [report]},
        {"gate": json.dumps(GATE.to_dict())},
    )
    decision = gate_report.read(report.uri)
    assert decision.blessed
    assert decision.baseline == "not evaluated"
    assert f"no results of the blessed model because {reason}: judged by" in decision.reason
    assert [line.rule for line in decision.lines] == ["floor"]
