"""The tiny pipeline, compiled; and a file that nothing had to be compiled for."""

import dataclasses
import json
from pathlib import Path

import pytest

from tfx_feeder.pipeline.orchestration.compiled_pipeline import PipelineFile

TINY = Path(__file__).parent / "tiny"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Returns the folder of the tiny pipeline, which can be imported here and in processes."""
    monkeypatch.setenv("TINY_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(TINY))
    monkeypatch.syspath_prepend(str(TINY))
    return tmp_path


@pytest.fixture
def compiled(root):
    """Returns the compiled pipeline."""
    import tiny_pipeline

    from tfx_feeder.pipeline.orchestration.compiler import compile_pipeline

    return compile_pipeline(tiny_pipeline.create(), exit_handlers=["Tell"])


@pytest.fixture
def path(root, compiled):
    """Returns the file of the compiled pipeline."""
    from tfx_feeder.pipeline.orchestration import compiled_pipeline

    compiled_pipeline.write(compiled, root / "p.json")
    return root / "p.json"


@pytest.fixture
def trained_by():
    """Returns a function from a strategy to a pipeline of Gen and Trainer, a FeederTrainer."""

    def trained_by(strategy, root="/data/shop"):
        said = {"field_value": {"string_value": json.dumps(dataclasses.asdict(strategy))}}
        name = "tfx_feeder.components.feeder_trainer.component.FeederTrainer"
        trainer = {
            "node_info": {"id": "Trainer", "type": {"name": name}},
            "upstream_nodes": ["Gen"],
            "parameters": {"parameters": {"strategy": said}},
        }
        nodes = ({"node_info": {"id": "Gen"}}, trainer)
        return PipelineFile(
            {
                "pipeline_info": {"id": "My shop"},
                "runtime_spec": {"pipeline_root": {"field_value": {"string_value": root}}},
                "nodes": [{"pipeline_node": node} for node in nodes],
            }
        )

    return trained_by
