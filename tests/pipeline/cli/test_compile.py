"""``tfx-feeder compile``: the compiled file and the options that change it."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.mlmd_store import StoreBuilder
from tfx_feeder.pipeline.cli.compile import compile_command
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.resources import Resources

FACTORIES = """
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline
from tfx_feeder.pipeline.orchestration.resources import Resources

def compiled():
    nodes = [{"pipeline_node": {"node_info": {"id": name}}} for name in ("Gen", "Tell")]
    root = {"field_value": {"string_value": "/r"}}
    pipeline = {
        "pipeline_info": {"id": "shop"}, "runtime_spec": {"pipeline_root": root}, "nodes": nodes
    }
    return CompiledPipeline(pipeline, {"Gen": Resources("1")}, versions={"tfx": "1"})
"""
TINY = Path(__file__).parents[1] / "orchestration" / "tiny"
ADDED = ("--resources", "Gen=cpu:2,memory:1Gi", "--exit-handler", "Tell")


@pytest.fixture
def compiling(tmp_path, monkeypatch):
    """Returns a function that calls the command in a folder with the module ``factories``."""
    (tmp_path / "factories.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    # What is imported from the folder, and the folder itself, are gone after the test.
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "factories", raising=False)

    def compiling(*arguments):
        result = CliRunner().invoke(compile_command, [*arguments, "-o", "p.json"])
        return result, compiled_pipeline.read(Path("p.json")) if Path("p.json").exists() else None

    return compiling


def test_a_factory_may_return_a_compiled_pipeline(compiling):
    result, file = compiling("--factory", "factories:compiled", *ADDED)
    assert result.output == "shop: 2 nodes in p.json\n"
    assert file.resources == {"Gen": Resources("2", "1Gi")}
    assert file.exit_handlers == ("Tell",)
    assert file.versions == {"tfx": "1"}


@pytest.mark.slow
def test_a_factory_may_return_a_tfx_pipeline(compiling, tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_ROOT", str(tmp_path))
    monkeypatch.syspath_prepend(str(TINY))
    result, file = compiling("--factory", "tiny_pipeline:create", *ADDED)
    assert result.exit_code == 0, result.output
    assert (file.resources, file.exit_handlers) == ({"Gen": Resources("2", "1Gi")}, ("Tell",))


@pytest.mark.slow
def test_a_strategy_requests_its_resources(compiling):
    result, file = compiling("--strategy", "multi_worker", "--cluster", "local:2")
    assert result.exit_code == 0, result.output
    assert file.resources == {"FeederTrainer": Resources("2")}
    assert file.strategies["FeederTrainer"].cluster == "local:2"


@pytest.mark.slow
def test_the_next_span_is_that_of_the_store_that_is_named(compiling, tmp_path):
    store = tmp_path / "elsewhere.sqlite"
    StoreBuilder(store, "digits").whole_run("2026-01-01", span=1)
    for options, span in (((), 1), (("--store", str(store)), 2)):
        result, file = compiling(*options)
        assert result.exit_code == 0, result.output
        assert f'\\"start_span_number\\": {span}' in json.dumps(file.pipeline)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (("--resources", "Gen"), "NODE=cpu:4"),
        (("--resources", "Gen=cpus:4"), "nvidia.com/gpu:1"),
        (("--resources", "Nope=cpu:4"), "a node of the pipeline: Gen, Tell"),
        (("--exit-handler", "Nope"), "a node of the pipeline: Gen, Tell"),
        (("--factory", "factories:nothing"), "factories"),
    ],
)
def test_invalid_options_are_rejected_in_one_line(compiling, wrong, expected):
    result, file = compiling("--factory", "factories:compiled", *wrong)
    assert (result.exit_code, file) == (2, None)
    assert expected in result.output
    assert result.output.count("\n") == 1
