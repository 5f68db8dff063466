"""The file of a compiled pipeline."""

import json

import pytest

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.pipeline.orchestration import ir
from tfx_feeder.pipeline.orchestration.ir import NotRunnableError, PipelineFile
from tfx_feeder.pipeline.orchestration.resources import Resources


def node(name, *upstream):
    made = {"node_info": {"id": name}}
    return {"pipeline_node": made | ({"upstream_nodes": list(upstream)} if upstream else {})}


FILE = PipelineFile(
    pipeline={
        "pipeline_info": {"id": "shop"},
        "runtime_spec": {
            "pipeline_root": {"runtime_parameter": {"default_value": {"string_value": "/r"}}}
        },
        "nodes": [node("Tell"), node("Gen"), node("Trainer", "Gen")],
    },
    resources={"Trainer": Resources("2", "4Gi", "nvidia.com/gpu", 1)},
    exit_handlers=("Tell",),
    versions={"tfx": "1"},
)


def test_file_is_read_as_it_was_written(tmp_path):
    ir.write(FILE, tmp_path / "deep" / "p.json")
    assert ir.read(tmp_path / "deep" / "p.json") == FILE


def test_edges_are_told_and_exit_handlers_come_last():
    assert (FILE.name, FILE.root) == ("shop", "/r")
    assert list(FILE.upstream.items()) == [
        ("Gen", ()),
        ("Trainer", ("Gen",)),
        ("Tell", ("Gen", "Trainer")),
    ]


def test_unknown_node_is_refused_with_those_that_there_are():
    with pytest.raises(NotRunnableError, match="one of Gen, Trainer, Tell"):
        FILE.require("Pusher")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"format": "another"}, "compile"),
        ({"pipeline": {}}, "damaged"),
        ({"surprise": 1}, "damaged"),
    ],
)
def test_other_formats_are_refused(tmp_path, change, message):
    path = tmp_path / "p.json"
    ir.write(FILE, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=message):
        ir.read(path)


@pytest.mark.parametrize("content", [None, "", "[]", "no JSON"])
def test_what_is_no_compiled_pipeline_is_refused(tmp_path, content):
    path = tmp_path / "p.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="tfx-feeder compile"):
        ir.read(path)


@pytest.mark.parametrize(
    "wrong",
    [{"cpu": "two"}, {"memory": "4 GB"}, {"accelerator": "nvidia.com/gpu"}, {"count": 1}],
)
def test_resources_that_no_orchestrator_knows_are_refused(wrong):
    with pytest.raises(ConfigError, match="resources"):
        Resources(**wrong)
