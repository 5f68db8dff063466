"""File format of compiled pipelines."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import (
    Auto,
    CentralStorage,
    Mirrored,
    MultiWorker,
    ParameterServer,
    PeerAveraging,
    SingleDevice,
)
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline, InvalidNodeError
from tfx_feeder.pipeline.orchestration.resources import Resources, default_resources

DATA = Path(__file__).parents[2] / "data"


def node(name, *upstream):
    made = {"node_info": {"id": name}}
    return {"pipeline_node": made | ({"upstream_nodes": list(upstream)} if upstream else {})}


FILE = CompiledPipeline(
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
    compiled_pipeline.write(FILE, tmp_path / "deep" / "p.json")
    assert compiled_pipeline.read(tmp_path / "deep" / "p.json") == FILE


def test_edges_are_listed_and_exit_handlers_come_last():
    assert (FILE.name, FILE.root) == ("shop", "/r")
    assert list(FILE.upstream.items()) == [
        ("Gen", ()),
        ("Trainer", ("Gen",)),
        ("Tell", ("Gen", "Trainer")),
    ]


def test_unknown_node_is_refused_with_those_that_there_are():
    with pytest.raises(InvalidNodeError, match="one of Gen, Trainer, Tell"):
        FILE.check_node("Pusher")


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
    compiled_pipeline.write(FILE, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=message):
        compiled_pipeline.read(path)


@pytest.mark.parametrize("content", [None, "", "[]", "no JSON"])
def test_what_is_no_compiled_pipeline_is_refused(tmp_path, content):
    path = tmp_path / "p.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="tfx-feeder compile"):
        compiled_pipeline.read(path)


@pytest.mark.parametrize(
    "wrong",
    [{"cpu": "two"}, {"memory": "4 GB"}, {"accelerator": "nvidia.com/gpu"}, {"count": 1}],
)
def test_resources_that_no_orchestrator_knows_are_refused(wrong):
    with pytest.raises(ConfigError, match="resources"):
        Resources(**wrong)


@pytest.mark.parametrize(
    ("text", "resources"),
    [
        ("cpu:4,memory:8Gi,nvidia.com/gpu:1", Resources("4", "8Gi", "nvidia.com/gpu", 1)),
        ("memory:512Mi", Resources(memory="512Mi")),
        ("NVIDIA_TESLA_T4:2", Resources(accelerator="NVIDIA_TESLA_T4", count=2)),
        ("", Resources()),
    ],
)
def test_command_line_has_a_notation_for_resources(text, resources):
    assert Resources.parse(text) == resources


@pytest.mark.parametrize("text", ["4", "cpus:4", "cpu=4", "a/gpu:1,b/gpu:1", "a/gpu:x", "a/gpu:0"])
def test_other_notations_are_refused(text):
    with pytest.raises(ConfigError, match="resources"):
        Resources.parse(text)


@pytest.mark.parametrize(
    ("strategy", "resources"),
    [
        (SingleDevice(), Resources()),
        (Mirrored(), Resources()),
        (
            Mirrored(("GPU:0", "/device:gpu:1")),
            Resources(accelerator="nvidia.com/gpu", count=2),
        ),
        (CentralStorage(("CPU:0", "CPU:3")), Resources(cpu="4")),
        (MultiWorker("local:2"), Resources(cpu="2")),
        (ParameterServer("local:2"), Resources(cpu="4")),
        (Auto(cluster="local:3"), Resources(cpu="3")),
        (PeerAveraging("env"), Resources()),
    ],
)
def test_a_strategy_says_what_its_trainer_needs(strategy, resources):
    assert default_resources(strategy) == resources


def test_requests_override_earlier_ones_which_override_the_strategy(trained_by):
    file = trained_by(MultiWorker("local:2"))
    assert file.with_resources({}, ()).resources == {"Trainer": Resources("2")}
    file = dataclasses.replace(file, resources={"Trainer": Resources("3"), "Gen": Resources("1")})
    assert file.with_resources({}, ["Gen"]).resources == file.resources
    changed = file.with_resources({"Trainer": Resources()}, ["Gen"])
    assert changed.resources == {"Gen": Resources("1")}
    assert changed.exit_handlers == ("Gen",)
    for wrong in (({"Nope": Resources("1")}, ()), ({}, ["Nope"])):
        with pytest.raises(ConfigError, match=r"Gen, Trainer.*Nope"):
            file.with_resources(*wrong)


def test_file_of_version_1_is_read_with_current_names():
    compiled = compiled_pipeline.read(DATA / "compiled_pipeline_v1.json")
    assert (compiled.name, compiled.strategies) == ("shop", {"FeederTrainer": SingleDevice()})
    text = json.dumps(compiled.pipeline)
    names = set(re.findall(r'"(tfx_feeder\.(?:pipeline|components)\.[\w.]+)"', text))
    assert names == {
        "tfx_feeder.components.feeder_trainer.component.FeederTrainer",
        "tfx_feeder.components.pusher.component.Executor",
        "tfx_feeder.components.pusher.component.Pusher",
        "tfx_feeder.components.resolvers.strategies.LatestBlessedModelBefore",
        "tfx_feeder.pipeline.model.create_model",
        "tfx_feeder.pipeline.preprocessing.preprocessing_fn",
    }
    for name in names:
        module, _, attribute = name.rpartition(".")
        source = importlib.util.find_spec(module).origin
        assert re.search(rf"^(class|def) {attribute}\b", Path(source).read_text(), re.MULTILINE)


def test_a_name_that_only_begins_like_an_old_one_stays(tmp_path):
    document = json.loads((DATA / "compiled_pipeline_v1.json").read_text())
    document["pipeline"]["nodes"] = [node("tfx_feeder.pipeline.resolvers.ByIdAndName")]
    (tmp_path / "p.json").write_text(json.dumps(document))
    [kept] = compiled_pipeline.read(tmp_path / "p.json").upstream
    assert kept == "tfx_feeder.pipeline.resolvers.ByIdAndName"
