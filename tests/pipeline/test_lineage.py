"""Lineage reads a real store."""

import sqlite3
from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.pipeline.lineage import Lineage

COMPLETE, CACHED, FAILED, RUNNING = (
    pb.Execution.COMPLETE,
    pb.Execution.CACHED,
    pb.Execution.FAILED,
    pb.Execution.RUNNING,
)


class Store:
    """Writes what TFX writes about a pipeline called ``p``."""

    def __init__(self, path: Path) -> None:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self._store = mlmd.MetadataStore(config)
        self._pipeline = self._context("pipeline", "p")

    def run(self, name: str) -> int:
        run = self._context("pipeline_run", name)
        self._store.put_parent_contexts([pb.ParentContext(child_id=run, parent_id=self._pipeline)])
        return run

    def artifact(self, type_name: str, **properties: int | str) -> int:
        type_id = self._store.put_artifact_type(pb.ArtifactType(name=type_name))
        artifact = pb.Artifact(type_id=type_id, uri=f"/somewhere/{type_name}")
        for key, value in properties.items():
            field = "int_value" if isinstance(value, int) else "string_value"
            setattr(artifact.custom_properties[key], field, value)
        return self._store.put_artifacts([artifact])[0]

    def execution(self, run: int, node: str, state, inputs=None, outputs=None) -> int:
        type_id = self._store.put_execution_type(pb.ExecutionType(name=f"some.module.{node}"))
        execution = pb.Execution(type_id=type_id, last_known_state=state)
        execution_id = self._store.put_executions([execution])[0]
        contexts = [run, self._pipeline, self._context("node", f"p.{node}")]
        artifacts = [*(inputs or {}).values(), *(outputs or {}).values()]
        self._store.put_attributions_and_associations(
            [pb.Attribution(artifact_id=a, context_id=c) for a in artifacts for c in contexts],
            [pb.Association(execution_id=execution_id, context_id=c) for c in contexts],
        )
        for kind, ends in ((pb.Event.INPUT, inputs), (pb.Event.OUTPUT, outputs)):
            for keys, artifact in (ends or {}).items():
                event = pb.Event(artifact_id=artifact, execution_id=execution_id, type=kind)
                for key in keys.split("+"):
                    event.path.steps.add(key=key)
                    event.path.steps.add(index=0)
                self._store.put_events([event])
        return execution_id

    def whole_run(self, name: str, span: int, *, trained=COMPLETE, pushed=COMPLETE) -> dict:
        run = self.run(name)
        raw, transformed = self.artifact("Examples", span=span), self.artifact("Examples")
        model, version = self.artifact("Model"), self.artifact("PushedModel", pushed=1)
        self.execution(run, "ImageExampleGen", COMPLETE, outputs={"examples": raw})
        self.execution(
            run, "Transform", COMPLETE, {"examples": raw}, {"transformed_examples": transformed}
        )
        self.execution(run, "FeederTrainer", trained, {"examples": transformed}, {"model": model})
        if pushed is not None:
            self.execution(run, "Pusher", pushed, {"model": model}, {"pushed_model": version})
        return {"model": model, "version": version, "transformed": transformed}

    def _context(self, type_name: str, name: str) -> int:
        found = self._store.get_context_by_type_and_name(type_name, name)
        if found is not None:
            return found.id
        type_id = self._store.put_context_type(pb.ContextType(name=type_name))
        return self._store.put_contexts([pb.Context(type_id=type_id, name=name)])[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metadata.sqlite"


@pytest.fixture
def store(path):
    return Store(path)


def test_store_that_was_never_written_is_empty(path):
    lineage = Lineage(path, "p")
    assert lineage.run_ids() == []
    assert lineage.spans_done() == set()
    assert lineage.latest_pushed() is None
    assert lineage.executions("never") == []


def test_span_is_done_when_its_run_got_to_the_end(store, path):
    store.whole_run("1", span=1)
    store.whole_run("2", span=2, pushed=None)
    store.whole_run("3", span=3, pushed=FAILED)
    assert Lineage(path, "p").spans_done() == {1}


def test_base_model_does_not_make_its_own_span_done(store, path):
    first = store.whole_run("1", span=1, pushed=None)
    run = store.run("2")
    raw, transformed = store.artifact("Examples", span=2), store.artifact("Examples")
    model = store.artifact("Model")
    store.execution(
        run, "Transform", COMPLETE, {"examples": raw}, {"transformed_examples": transformed}
    )
    store.execution(
        run,
        "FeederTrainer",
        COMPLETE,
        {"examples": transformed, "base_model": first["model"]},
        {"model": model},
    )
    store.execution(run, "Pusher", COMPLETE, {"model": model})
    assert Lineage(path, "p").spans_done() == {2}


def test_cached_outputs_are_not_mistaken_for_another_origin(store, path):
    first = store.whole_run("1", span=1)
    run = store.run("2")
    store.execution(run, "FeederTrainer", CACHED, outputs={"model": first["model"]})
    store.execution(run, "Pusher", CACHED, {"model": first["model"]})
    assert Lineage(path, "p").spans_done() == {1}


def test_executions_tell_node_state_and_outputs_in_order(store, path):
    made = store.whole_run("1", span=1)
    executions = Lineage(path, "p").executions("1")
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
    assert Lineage(path, "p").latest("Transform") is None
    store.whole_run("1", span=1)
    second = store.whole_run("2", span=2)
    store.execution(store.run("3"), "Transform", FAILED)
    lineage = Lineage(path, "p")
    assert lineage.latest("Transform").output("transformed_examples").id == second["transformed"]
    cached = {"transformed_examples": second["transformed"]}
    last = store.execution(store.run("4"), "Transform", CACHED, outputs=cached)
    assert lineage.latest("Transform").id == last


def test_artifact_under_two_keys_is_found_under_both(store, path):
    run = store.run("1")
    model = store.artifact("Model")
    store.execution(run, "Evaluator", COMPLETE, outputs={"model+baseline_model": model})
    (execution,) = Lineage(path, "p").executions("1")
    assert execution.output("model").id == execution.output("baseline_model").id == model


def test_runs_are_those_of_the_pipeline_oldest_first(store, path):
    store.whole_run("b", span=1)
    store.whole_run("a", span=2)
    assert Lineage(path, "p").run_ids() == ["b", "a"]
    assert Lineage(path, "another").run_ids() == []


def test_latest_pushed_leaves_out_what_was_not_pushed(store, path):
    made = store.whole_run("1", span=1)
    run = store.run("2")
    unpushed = store.artifact("PushedModel", pushed=0)
    store.execution(run, "Pusher", COMPLETE, outputs={"pushed_model": unpushed})
    assert Lineage(path, "p").latest_pushed().id == made["version"]


def test_interrupted_executions_are_closed_and_finished_ones_left(store, path):
    store.whole_run("1", span=1, trained=RUNNING, pushed=None)
    lineage = Lineage(path, "p")
    lineage.cancel_unfinished("1")
    assert [e.state for e in lineage.executions("1")] == ["COMPLETE", "COMPLETE", "CANCELED"]


@pytest.mark.usefixtures("store")
def test_store_of_a_newer_release_is_refused_with_a_way_out(path):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE MLMDEnv SET schema_version = 999")
    with pytest.raises(ConfigError, match=r"version 999 .*--root"):
        Lineage(path, "p")


def test_file_that_is_no_store_is_refused(path):
    path.write_text("something else")
    with pytest.raises(ConfigError, match="not a database"):
        Lineage(path, "p")
