"""EvalGate as it is declared, and what its executor writes."""

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow_model_analysis as tfma
from tfx import types
from tfx import v1 as tfx
from tfx.components.util import model_utils

from tests.mlmd_store import write_evaluation
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components import EvalGate
from tfx_feeder.components.eval_gate.executor import Executor
from tfx_feeder.components.eval_gate.gate import Floor, Gate, Margin
from tfx_feeder.schemas import gate_report, slices
from tfx_feeder.schemas.artifacts import GateReport, Slices
from tfx_feeder.schemas.file_record import PROPERTY

_artifacts = tfx.types.standard_artifacts
GATE = Gate(floors=[Floor(0.6), Floor(0.4, origin="proposed", slices="*")])


def _declare(gate: Any = GATE, **changes: Any) -> EvalGate:
    return EvalGate(
        evaluation=tfx.dsl.Channel(type=_artifacts.ModelEvaluation),
        model=tfx.dsl.Channel(type=_artifacts.Model),
        gate=gate,
        **changes,
    )


def test_baseline_and_slices_are_optional() -> None:
    component = _declare()
    assert set(component.inputs) == {"evaluation", "model"}
    assert component.outputs["blessing"].type is _artifacts.ModelBlessing
    assert component.outputs["gate_report"].type is GateReport
    assert GateReport.TYPE_NAME == "tfx_feeder.GateReport"
    assert GateReport.PROPERTIES is None


def test_errors_appear_when_the_pipeline_is_built() -> None:
    with pytest.raises(ConfigError, match="gate: expected a Gate"):
        _declare({"floors": [0.9]})
    config = tfma.EvalConfig(
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["form"])]
    )
    _declare(Gate(margins=[Margin(0.1, "form 3")]), eval_config=config)
    with pytest.raises(ConfigError, match=r"all examples, form \*"):
        _declare(Gate(margins=[Margin(0.1, "from 3")]), eval_config=config)


def _artifact(kind: type, uri: Path, number: int, **properties: str) -> types.Artifact:
    artifact = kind()
    artifact.uri, artifact.id = str(uri), number
    for name, value in properties.items():
        artifact.set_string_custom_property(name, value)
    return artifact


def _run(folder: Path, gate: Gate, **inputs: types.Artifact) -> tuple[Any, Any]:
    model = _artifact(_artifacts.Model, folder / "model", 5)
    evaluation = _artifact(_artifacts.ModelEvaluation, folder / "evaluation", 6)
    given = {"model": model, "evaluation": evaluation, **inputs}
    blessing = _artifact(_artifacts.ModelBlessing, folder / "blessing", 7)
    report = _artifact(GateReport, folder / "report", 8)
    Executor().Do(
        {key: [artifact] for key, artifact in given.items()},
        {"blessing": [blessing], "gate_report": [report]},
        {"gate": json.dumps(gate.to_dict()), "current_component_id": "EvalGate"},
    )
    return blessing, report


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    (tmp_path / "evaluation").mkdir()
    metrics = {
        "": {"candidate": {"accuracy": 0.7, "example_count": 100}, "baseline": {"accuracy": 0.8}},
        "form 3": {"candidate": {"accuracy": 0.5, "example_count": 40}},
    }
    write_evaluation(tmp_path / "evaluation", metrics)
    return tmp_path


def test_a_blessing_is_what_the_evaluator_writes(evaluated: Path) -> None:
    baseline = _artifact(_artifacts.Model, evaluated / "old", 2)
    blessing, report = _run(evaluated, GATE, baseline_model=baseline)
    assert model_utils.is_model_blessed(blessing)
    assert [path.name for path in (evaluated / "blessing").iterdir()] == ["BLESSED"]
    assert blessing.get_string_custom_property("current_model") == str(evaluated / "model")
    assert blessing.get_int_custom_property("current_model_id") == 5
    assert blessing.get_string_custom_property("baseline_model") == str(evaluated / "old")
    assert blessing.get_int_custom_property("baseline_model_id") == 2
    assert blessing.get_string_custom_property("component_id") == "EvalGate"
    assert report.get_int_custom_property("blessed") == 1
    assert report.get_int_custom_property("passed") == 1
    written = gate_report.read(evaluated / "report")
    assert written.blessed
    assert report.get_string_custom_property("reason") == written.reason


def test_a_refusal_names_the_slice(evaluated: Path) -> None:
    blessing, report = _run(evaluated, Gate(floors=[Floor(0.6, "form *")]))
    assert not model_utils.is_model_blessed(blessing)
    assert blessing.has_custom_property("blessed")
    assert [path.name for path in (evaluated / "blessing").iterdir()] == ["NOT_BLESSED"]
    assert not blessing.has_custom_property("baseline_model_id")
    assert "accuracy on form 3" in report.get_string_custom_property("reason")
    assert report.get_string_custom_property("baseline") == "compared"


def test_origins_are_those_of_the_slices(evaluated: Path) -> None:
    found = slices.Slice("form 3", (("form", "3"),), slices.PROPOSED, 40)
    slices.write(slices.Slices((found,), {"eval": 100}), evaluated / "slices")
    document = _artifact(Slices, evaluated / "slices", 9)
    _run(evaluated, GATE, slices=document)
    lines = gate_report.read(evaluated / "report").lines
    assert {line.slice: line.threshold for line in lines} == {
        "all examples": "at least 0.6",
        "form 3": "at least 0.4",
    }


@pytest.mark.parametrize("same", ["id", "uri", "files"])
def test_the_blessed_model_is_not_pushed_again(evaluated: Path, same: str) -> None:
    record = f"1 files, 2 bytes, sha256 {'a' * 64}"
    number, uri = (5 if same == "id" else 2), evaluated / ("model" if same == "uri" else "old")
    properties = {PROPERTY: record} if same == "files" else {}
    baseline = _artifact(_artifacts.Model, uri, number, **properties)
    model = _artifact(_artifacts.Model, evaluated / "model", 5, **properties)
    blessing, report = _run(evaluated, GATE, baseline_model=baseline, model=model)
    assert not model_utils.is_model_blessed(blessing)
    assert "nothing new to push" in report.get_string_custom_property("reason")
