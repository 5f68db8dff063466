"""Specifications for Vertex AI."""

import dataclasses
import json
from pathlib import Path

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.configs import PipelineConfig
from tfx_feeder.pipeline.datasets import digits
from tfx_feeder.pipeline.run_plan import RunPlan, SpanWeight

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    data = dataclasses.replace(digits(root / "data" / "digits"), name="hand_written")
    return PipelineConfig(data, root, span=1)


@pytest.fixture(scope="module")
def write_spec():
    from tfx_feeder.pipeline.orchestration import vertex

    return vertex.write_spec


def test_everything_lies_on_cloud_storage(config, write_spec, tmp_path):
    copied = write_spec(config, "gs://bucket/runs/", "registry/shop:1", tmp_path / "vertex.json")
    assert copied == [config.root / "data" / "digits", config.root / "schemas" / "hand_written"]
    assert (copied[1] / "schema.pbtxt").exists()
    job = json.loads((tmp_path / "vertex.json").read_text())
    spec = job["pipelineSpec"]
    assert job["runtimeConfig"] == {"gcsOutputDirectory": "gs://bucket/runs/artifacts/hand_written"}
    assert spec["schemaVersion"] == "2.1.0"
    assert spec["pipelineInfo"] == {"name": "hand-written"}
    tasks = spec["root"]["dag"]["tasks"]
    images = tasks["ImageExampleGen"]["inputs"]["parameters"]["input_base"]
    assert images["runtimeValue"]["constant"] == "gs://bucket/runs/data/digits"
    destination = tasks["Pusher"]["inputs"]["parameters"]["push_destination"]
    assert "gs://bucket/runs/serving/hand_written" in destination["runtimeValue"]["constant"]
    assert "baseline-model-resolver" in tasks["Evaluator"]["dependentTasks"]
    executors = spec["deploymentSpec"]["executors"].values()
    images = {e["container"]["image"] for e in executors if "container" in e}
    assert images == {"registry/shop:1"}
    # The schema is copied; nothing else refers to this machine.
    assert str(config.root) not in json.dumps(job)
    assert str(Path(__file__).parents[3]) not in json.dumps(job)


def test_what_vertex_cannot_do_is_told(config, write_spec, tmp_path):
    with pytest.raises(ConfigError, match="vertex_root: expected gs://BUCKET/FOLDER"):
        write_spec(config, "/data/runs", "i", tmp_path / "v.json")
    plan = RunPlan(span=3, earlier=(SpanWeight(1), SpanWeight(2)))
    several = dataclasses.replace(config, span=3, plan=plan)
    with pytest.raises(ConfigError, match=r"a single span.*Received: 'spans 1, 2 as well'"):
        write_spec(several, "gs://bucket", "i", tmp_path / "v.json")
