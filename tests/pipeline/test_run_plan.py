"""A plan travels through files, and a share means what it says."""

import dataclasses
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.eval_gate.gate import Floor, Gate, Margin
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.pipeline.configs import PipelineConfig
from tfx_feeder.pipeline.datasets import Dataset
from tfx_feeder.pipeline.metadata.types import Execution
from tfx_feeder.pipeline.run_plan import (
    REASON,
    RunPlan,
    SpanWeight,
    from_document,
    read_decision,
    reason_of,
    to_document,
)

DATA = Dataset("digits", Path("data"), ("0", "1"), spans=(1, 2, 3))
PLAN = RunPlan(("new span 3", "drift"), 3, (SpanWeight(1, 0.25), SpanWeight(2)), False, 3)


def test_a_plan_comes_back_from_json():
    assert from_document(json.loads(json.dumps(to_document(PLAN)))) == PLAN
    assert PLAN.reason == "new span 3; drift"


def test_a_decision_is_read_by_other_commands(tmp_path):
    path = tmp_path / "decision.json"
    path.write_text(json.dumps({"retrain": True, "plan": to_document(PLAN)}))
    assert read_decision(path) == PLAN


def test_a_decision_of_an_earlier_release_is_read():
    document = to_document(PLAN)
    document["earlier"] = [{"span": 1, "share": 0.25}, {"span": 2, "share": 1.0}]
    document["give_up_after"] = document.pop("early_stop_after")
    assert from_document(document) == PLAN
    del document["give_up_after"]
    assert from_document(document) == dataclasses.replace(PLAN, early_stop_after=None)


def test_a_training_is_stopped_early_if_its_model_loses_more_than_the_margin():
    loop, gate = TrainingOptions(checkpoint_every_s=5.0), Gate(margins=(Margin(0.03),))
    assert RunPlan().training(loop, gate) is loop
    assert PLAN.training(loop, gate) == dataclasses.replace(
        loop,
        early_stopping=BaselineEarlyStopping("val_accuracy", "max", after_epochs=3, tolerance=0.03),
    )
    with pytest.raises(ConfigError, match=r"early_stop_after: .*Add one, such as Margin\(0.02\)"):
        PLAN.training(loop, Gate(floors=(Floor(0.9),)))
    with pytest.raises(ConfigError, match="after_epochs"):
        RunPlan(early_stop_after=1)


@pytest.mark.parametrize(
    ("warm_start", "early_stop_after", "needed"),
    [(True, None, True), (True, 3, True), (False, None, False), (False, 3, True)],
)
def test_the_blessed_model_is_there_to_start_from_or_to_match(warm_start, early_stop_after, needed):
    plan = RunPlan(warm_start=warm_start, early_stop_after=early_stop_after)
    assert plan.needs_blessed is needed


@pytest.mark.parametrize("text", ['{"retrain": false, "plan": null}', "[]", "no", "{}"])
def test_a_decision_against_it_starts_nothing(tmp_path, text):
    path = tmp_path / "decision.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="decision"):
        read_decision(path)


def test_no_span_is_read_twice():
    with pytest.raises(ConfigError, match="each once"):
        RunPlan(span=2, earlier=(SpanWeight(2),))


@pytest.mark.parametrize("fraction", [0, -1, 1.5])
def test_a_fraction_is_above_0_and_up_to_1(fraction):
    with pytest.raises(ConfigError, match="fraction"):
        SpanWeight(1, fraction)


def test_the_reason_reaches_the_record_of_the_trainer(tmp_path):
    config = PipelineConfig(DATA, tmp_path, span=3, plan=PLAN)
    written = json.dumps(dict(config.custom_config))
    assert reason_of(trainer_with(custom_config=written)) == "new span 3; drift"


@pytest.mark.parametrize("properties", [{}, {"custom_config": "{}"}, {"custom_config": "null"}])
def test_runs_that_somebody_started_have_no_reason(tmp_path, properties):
    assert reason_of(trainer_with(**properties)) == ""
    assert REASON not in PipelineConfig(DATA, tmp_path, span=3).custom_config


def test_earlier_spans_have_to_be_there(tmp_path):
    plan = RunPlan(span=3, earlier=(SpanWeight(7),))
    with pytest.raises(ConfigError, match="Received: 7"):
        PipelineConfig(DATA, tmp_path, span=3, plan=plan)


def trainer_with(**properties: str) -> Execution:
    now = datetime.now(timezone.utc)
    return Execution(
        1, "FeederTrainer", "FeederTrainer", "p", "r", "COMPLETE", now, now, properties
    )
