"""Lineage reads a real store."""

import pytest

from tests.mlmd_store import StoreBuilder
from tfx_feeder.pipeline.metadata.lineage import Lineage


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metadata.sqlite"


def read(path, pipeline="p"):
    return Lineage.open(path, pipeline)


@pytest.fixture
def store(path):
    return StoreBuilder(path)


@pytest.mark.usefixtures("store")
def test_store_without_runs_has_none(path):
    lineage = read(path)
    assert lineage.run_ids() == []
    assert lineage.spans_done() == set()
    assert lineage.latest_pushed() is None
    assert lineage.executions("never") == []


def test_span_is_done_when_its_run_got_to_the_end(store, path):
    store.whole_run("1", span=1)
    store.whole_run("2", span=2, pushed=None)
    store.whole_run("3", span=3, pushed="FAILED")
    assert read(path).spans_done() == {1}


def test_base_model_does_not_make_its_own_span_done(store, path):
    first = store.whole_run("1", span=1, pushed=None)
    run = store.run("2")
    raw, transformed = store.artifact("Examples", span=2), store.artifact("Examples")
    model = store.artifact("Model")
    store.execution(
        run, "Transform", "COMPLETE", {"examples": raw}, {"transformed_examples": transformed}
    )
    store.execution(
        run,
        "FeederTrainer",
        "COMPLETE",
        {"examples": transformed, "base_model": first["model"]},
        {"model": model},
    )
    store.execution(run, "Pusher", "COMPLETE", {"model": model})
    assert read(path).spans_done() == {2}


def test_cached_outputs_are_not_mistaken_for_another_origin(store, path):
    first = store.whole_run("1", span=1)
    run = store.run("2")
    store.execution(run, "FeederTrainer", "CACHED", outputs={"model": first["model"]})
    store.execution(run, "Pusher", "CACHED", {"model": first["model"]})
    assert read(path).spans_done() == {1}


def test_executions_have_node_state_and_outputs_in_order(store, path):
    made = store.whole_run("1", span=1)
    executions = read(path).executions("1")
    assert [(e.node, e.state) for e in executions] == [
        ("ImageExampleGen", "COMPLETE"),
        ("Transform", "COMPLETE"),
        ("FeederTrainer", "COMPLETE"),
        ("Pusher", "COMPLETE"),
    ]
    assert executions[2].output("model").id == made["model"]
    assert executions[2].output("nothing") is None
    assert executions[0].output("examples").properties == {"span": 1}


def test_latest_execution_is_the_newest_that_has_its_outputs(store, path):
    assert read(path).latest("Transform") is None
    store.whole_run("1", span=1)
    second = store.whole_run("2", span=2)
    store.execution(store.run("3"), "Transform", "FAILED")
    lineage = read(path)
    assert lineage.latest("Transform").output("transformed_examples").id == second["transformed"]
    cached = {"transformed_examples": second["transformed"]}
    last = store.execution(store.run("4"), "Transform", "CACHED", outputs=cached)
    assert lineage.latest("Transform").id == last


def test_artifact_under_two_keys_is_found_under_both(store, path):
    run = store.run("1")
    model = store.artifact("Model")
    store.execution(run, "Evaluator", "COMPLETE", outputs={"model+baseline_model": model})
    (execution,) = read(path).executions("1")
    assert execution.output("model").id == execution.output("baseline_model").id == model


def test_runs_are_those_of_the_pipeline_oldest_first(store, path):
    store.whole_run("b", span=1)
    store.whole_run("a", span=2)
    assert read(path).run_ids() == ["b", "a"]
    assert read(path, "another").run_ids() == []


def test_latest_pushed_omits_models_that_were_not_pushed(store, path):
    made = store.whole_run("1", span=1)
    run = store.run("2")
    unpushed = store.artifact("PushedModel", pushed=0)
    store.execution(run, "Pusher", "COMPLETE", outputs={"pushed_model": unpushed})
    assert read(path).latest_pushed().id == made["version"]


def test_structures_are_read_as_dictionaries(store, path):
    [artifact] = store.client.get_artifacts_by_id([store.artifact("Examples", span=1)])
    artifact.custom_properties["stats"].struct_value.update({"a": [1.0, "b"]})
    store.client.put_artifacts([artifact])
    assert read(path).artifact(artifact.id).properties == {"span": 1, "stats": {"a": [1.0, "b"]}}


@pytest.mark.parametrize("unknown", [0, -1, 99, 2**63, 10**30])
def test_unknown_artifact_is_none(store, path, unknown):
    assert read(path).artifact(unknown) is None
