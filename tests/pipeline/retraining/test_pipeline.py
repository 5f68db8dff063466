"""Reference pipelines for run plans."""

import json

import pytest

from tfx_feeder.pipeline.configs import PipelineConfig
from tfx_feeder.pipeline.datasets import digits
from tfx_feeder.pipeline.eval_config import make_gate, overall_margin
from tfx_feeder.pipeline.run_plan import RunPlan, SpanWeight

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Returns a function that compiles the pipeline: node by id, as TFX's runners read it."""
    from tfx.dsl.compiler import compiler

    from tfx_feeder.pipeline.pipeline import create_pipeline

    data = digits(tmp_path_factory.mktemp("digits"))

    def compiled(plan: RunPlan) -> dict:
        config = PipelineConfig(data, tmp_path_factory.mktemp("root"), span=3, plan=plan)
        made = compiler.Compiler().compile(create_pipeline(config))
        return {n.pipeline_node.node_info.id: n.pipeline_node for n in made.nodes}

    return compiled


def value(node, name: str) -> str:
    return node.parameters.parameters[name].field_value.string_value


def test_earlier_spans_are_read_by_nodes_of_their_own(nodes):
    made = nodes(RunPlan(span=3, earlier=(SpanWeight(1, 0.25), SpanWeight(2))))
    assert {"ImageExampleGen", "ImageExampleGen_1", "ImageExampleGen_2"} <= set(made)
    for node, span in (("ImageExampleGen_1", 1), ("ImageExampleGen_2", 2), ("ImageExampleGen", 3)):
        span_range = json.loads(value(made[node], "range_config"))["static_range"]
        assert int(span_range["start_span_number"]) == span
    upstream = set(made["Transform"].upstream_nodes)
    assert {"ImageExampleGen", "ImageExampleGen_1", "ImageExampleGen_2"} <= upstream


def test_models_are_evaluated_on_the_newest_span_alone(nodes):
    made = nodes(RunPlan(span=3, earlier=(SpanWeight(2),)))
    for node in ("StatisticsGen", "SliceGen"):
        assert "ImageExampleGen" in made[node].upstream_nodes
        assert "ImageExampleGen_2" not in made[node].upstream_nodes
    examples = made["Evaluator"].inputs.inputs["examples"].channels
    assert [channel.producer_node_query.id for channel in examples] == ["SliceGen"]


def test_of_a_share_the_rest_is_left_out(nodes):
    made = nodes(RunPlan(span=3, earlier=(SpanWeight(1, 0.25), SpanWeight(2))))
    splits = json.loads(value(made["ImageExampleGen_1"], "output_config"))["split_config"]["splits"]
    buckets = {split["name"]: split["hash_buckets"] for split in splits}
    assert (buckets["train"] + buckets["eval"]) / sum(buckets.values()) == 0.25
    assert buckets["train"] == 2 * buckets["eval"]
    transformed = json.loads(value(made["Transform"], "splits_config"))["transform"]
    assert transformed == ["train", "eval"]


def test_from_scratch_no_model_is_resolved_to_start_from(nodes):
    made = nodes(RunPlan(("age",), 3, warm_start=False))
    assert "base_model" not in made
    assert "base_model" not in made["FeederTrainer"].inputs.inputs
    assert "baseline" in made


def test_from_scratch_a_model_to_beat_is_not_one_to_start_from(nodes):
    trainer = nodes(RunPlan(("age",), 3, warm_start=False, early_stop_after=4))["FeederTrainer"]
    assert "base_model" in trainer.inputs.inputs
    assert value(trainer, "warm_start") == "off"
    assert json.loads(value(trainer, "loop"))["give_up"] == {
        "monitor": "val_accuracy",
        "mode": "max",
        "after_epochs": 4,
        "tolerance": overall_margin(make_gate()),
    }


def test_a_run_without_a_plan_is_what_it_was(nodes):
    made = nodes(RunPlan(span=3))
    assert [node for node in made if node.startswith("ImageExampleGen")] == ["ImageExampleGen"]
    assert "base_model" in made
    assert value(made["FeederTrainer"], "warm_start") == "compatible"
    assert json.loads(value(made["FeederTrainer"], "loop"))["give_up"] is None
    assert json.loads(value(made["FeederTrainer"], "custom_config")) == {
        "num_classes": 10,
        "seed": 0,
    }
