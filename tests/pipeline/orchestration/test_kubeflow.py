"""What is compiled for Kubeflow runs: its commands, one by one, in the order of its edges."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from tfx_feeder.pipeline.lineage import Lineage
from tfx_feeder.pipeline.orchestration import ir
from tfx_feeder.pipeline.orchestration.resources import Resources

pytestmark = pytest.mark.slow

RUNNER = Path(__file__).parents[3] / "kubeflow_runner.py"


@pytest.fixture(scope="module")
def write_kubeflow():
    spec = importlib.util.spec_from_file_location("kubeflow_runner", RUNNER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_kubeflow


@pytest.fixture
def spec(root, compiled, write_kubeflow):
    """Returns the two documents of the specification: the pipeline, and what is Kubernetes's."""
    resources = {"Judge": Resources("500m", "2Gi", "nvidia.com/gpu", 1)}
    file = ir.PipelineFile(compiled.pipeline, resources, compiled.exit_handlers)
    ir.write(file, root / "p.json")
    options = {
        "image": "registry/tiny:1",
        "ir": str(root / "p.json"),
        "claim": "shared",
        "mount": str(root),
        "secret": "mlmd",
    }
    write_kubeflow(root / "p.json", options, root / "spec.yaml")
    return list(yaml.safe_load_all((root / "spec.yaml").read_text()))


def tasks_in_order(spec):
    """Yields (task, its component's executor) of the root and of the handled part, by edges."""
    pipeline = spec[0]
    parts = [pipeline["root"]["dag"]["tasks"]]
    parts += [c["dag"]["tasks"] for c in pipeline["components"].values() if "dag" in c]
    tasks = {name: task for part in parts for name, task in part.items()}
    done: set[str] = set()
    waiting = {n: t for n, t in tasks.items() if "dag" not in component(pipeline, t)}
    while waiting:
        ready = [n for n, t in waiting.items() if set(t.get("dependentTasks", ())) <= done]
        # The exit handler depends on the whole of the handled part.
        ready = ready or list(waiting)
        for name in ready:
            yield name, executor(pipeline, waiting.pop(name))
            done.add(name)


def component(pipeline, task):
    return pipeline["components"][task["componentRef"]["name"]]


def executor(pipeline, task):
    label = component(pipeline, task)["executorLabel"]
    return pipeline["deploymentSpec"]["executors"][label]["container"]


def test_commands_run_in_the_order_of_the_edges(root, spec):
    for _, container in tasks_in_order(spec):
        assert container["command"] == ["tfx-feeder", "run-node"]
        arguments = [a.replace("{{$.pipeline_job_uuid}}", "run-1") for a in container["args"]]
        module = "from tfx_feeder.pipeline.cli import main; main()"
        ran = subprocess.run(
            [sys.executable, "-c", module, "run-node", *arguments], capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
    made = {e.node: e.state for e in Lineage.open(root).executions("run-1")}
    nodes = ("Gen", "Judge", "Sibling", "latest", "Push", "Tell")
    assert made == dict.fromkeys(nodes, "COMPLETE")


def test_resources_claim_secret_and_retries_are_in_the_specification(spec):
    pipeline, platform = spec
    executors = pipeline["deploymentSpec"]["executors"]
    limits = executors["exec-judge"]["container"]["resources"]
    assert limits["resourceCpuLimit"] == "500m" or limits["cpuLimit"] == 0.5
    assert limits["accelerator"]["resourceCount"] == "1"
    mounted = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert all(e["pvcMount"] and e["secretAsEnv"] for e in mounted.values())
    assert set(mounted) == set(executors)
    everything = yaml.safe_dump(pipeline)
    assert "maxRetryCount: 2" in everything
    assert "exit-handler" in everything


def test_root_outside_the_claim_is_refused(root, path, write_kubeflow):
    with pytest.raises(click.ClickException, match="root: expected an object store"):
        write_kubeflow(path, {"image": "i", "claim": "c"}, root / "spec.yaml")
