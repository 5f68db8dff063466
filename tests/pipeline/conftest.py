"""Fixtures of several packages: a store that reports are written about, a compiled pipeline."""

from types import SimpleNamespace

import pytest

from tests.pipeline.report_runs import write_runs


@pytest.fixture(scope="session")
def report_store(tmp_path_factory) -> SimpleNamespace:
    """The folder of a store with runs of every kind, and artifacts of its trained runs."""
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def trained_by():
    """Returns a function from a strategy to a pipeline of Gen and a FeederTrainer."""

    def trained_by(strategy, root="/data/shop"):
        said = {"field_value": {"string_value": strategy.to_json()}}
        name = "tfx_feeder.components.feeder_trainer.component.FeederTrainer"
        trainer = {
            "node_info": {"id": "Trainer", "type": {"name": name}},
            "upstream_nodes": ["Gen"],
            "parameters": {"parameters": {"strategy": said}},
        }
        nodes = ({"node_info": {"id": "Gen"}}, trainer)
        from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline

        return CompiledPipeline(
            {
                "pipeline_info": {"id": "My shop"},
                "runtime_spec": {"pipeline_root": {"field_value": {"string_value": root}}},
                "nodes": [{"pipeline_node": node} for node in nodes],
            }
        )

    return trained_by
