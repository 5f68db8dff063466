"""Specifications for Kubeflow: their commands run one by one, in the order of the edges."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.kubeflow import steps
from tfx_feeder.pipeline.orchestration.kubeflow.options import Kubeflow
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster

pytestmark = pytest.mark.slow

RUNNER = Path(__file__).parents[4] / "kubeflow_runner.py"
TINY = Path(__file__).parents[1] / "tiny"
FACTORY = ("--factory", "tiny_pipeline:create", "--exit-handler", "Tell")
REQUEST = ("--resources", "Judge=cpu:500m,memory:2Gi,nvidia.com/gpu:1")
LOAD = """
import json, sys
from google.protobuf import json_format
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

kubeflow, vertex = sys.argv[1:]
job = json_format.Parse(open(vertex).read(), pb.PipelineJob())
texts = open(kubeflow).read(), json.dumps(json_format.MessageToDict(job.pipeline_spec))
found = [components.load_component_from_text(text) for text in texts]
print(json.dumps([[each.name, sorted(each.pipeline_spec.root.dag.tasks)] for each in found]))
"""


@pytest.fixture(scope="module")
def runner():
    spec = importlib.util.spec_from_file_location("kubeflow_runner", RUNNER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Returns the folder that all containers see."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def environment(shared):
    """Returns the environment of the containers."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    code = f"{TINY}{os.pathsep}{RUNNER.parent}"
    return {**os.environ, "PATH": programs, "PYTHONPATH": code, "TINY_ROOT": str(shared)}


@pytest.fixture(scope="module")
def spec(shared, environment, runner):
    """Returns the two documents of a specification: the pipeline, and what is Kubernetes's."""
    compiling = ["tfx-feeder", "compile", *FACTORY, *REQUEST, "--output", str(shared / "p.json")]
    subprocess.run(compiling, env=environment, check=True, stdout=subprocess.DEVNULL)
    options = Kubeflow(
        "registry/tiny:1",
        pvc="shared",
        mount=str(shared),
        secret="mlmd",
        compile_options=(*FACTORY, *REQUEST),
        run_options={"schedule": "0.01:16x1, 0.005:32x1", "strategy": ""},
        retrain_options=(
            "--reason",
            "it is a test",
            "--data",
            "digits",
            "--root",
            str(shared / "digits"),
        ),
        clusters={"Judge": Cluster("tiny", workers=2, rendezvous_path=f"{shared}/tiny.job")},
    )
    runner.write_kubeflow(shared / "p.json", options, shared / "spec.yaml")
    return list(yaml.safe_load_all((shared / "spec.yaml").read_text()))


class Backend:
    """Runs a specification as Kubeflow's backend does, without its containers."""

    def __init__(self, pipeline, environment, outputs):
        self.components = pipeline["components"]
        self.executors = pipeline["deploymentSpec"]["executors"]
        self.defaults = {
            name: each.get("defaultValue", "")
            for name, each in pipeline["root"]["inputDefinitions"]["parameters"].items()
        }
        self.environment, self.outputs = environment, outputs
        self.order, self.members = [], []
        try:
            self.run_group(pipeline["root"]["dag"]["tasks"])
        finally:
            for member in self.members:
                member.terminate()
        self.said = [member.communicate()[0] for member in self.members]

    def run_group(self, tasks):
        waiting = dict(tasks)
        while waiting:
            for name, task in list(waiting.items()):
                if waiting.keys().isdisjoint(task.get("dependentTasks", ())):
                    self.run_task(name, waiting.pop(name))
                    break
            else:
                raise AssertionError(f"The edges of {sorted(waiting)} go in a circle.")

    def run_task(self, name, task):
        component = self.components[task["componentRef"]["name"]]
        if "dag" in component:
            self.run_group(component["dag"]["tasks"])
            return
        self.order.append(name)
        container = self.executors[component["executorLabel"]]["container"]
        words = [
            self.resolved(word) for word in (*container["command"], *container.get("args", ()))
        ]
        variables = {each["name"]: each["value"] for each in container.get("env", ())}
        environment = {**self.environment, **variables}
        if "worker" in name:
            member = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
            self.members.append(member)
            return
        ran = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-2000:]

    def resolved(self, word):
        known = {"{{$.pipeline_job_uuid}}": "run-1"}
        for name, value in self.defaults.items():
            known[f"{{{{$.inputs.parameters['{name}']}}}}"] = value
        known["{{$.outputs.parameters['answer'].output_file}}"] = str(self.outputs / "answer")
        for placeholder, value in known.items():
            word = word.replace(placeholder, value)
        assert "{{$" not in word
        return word


def test_commands_run_in_the_order_of_the_edges(shared, spec, environment):
    ran = Backend(spec[0], environment, shared / "outputs")
    assert ran.order[:3] == ["decide", "compile", "gen"]
    assert ran.order[-1] == "tell"
    assert (shared / "outputs" / "answer").read_text() == "yes"
    # Judge is no training and leaves no work; what the worker waits for is seen.
    assert ran.order.index("judge-worker-0") == ran.order.index("judge") + 1
    [said] = ran.said
    assert said.startswith(f"worker 0 waits for work in {shared}/tiny.job")
    assert compiled_pipeline.read(shared / "kubeflow" / "run-1.json").exit_handlers == ("Tell",)
    made = {e.node: e.state for e in Lineage.open(shared).executions("run-1")}
    nodes = ("Gen", "Judge", "Sibling", "latest", "Push", "Tell")
    assert made == dict.fromkeys(nodes, "COMPLETE")


def test_the_rest_of_a_run_depends_on_the_decision(spec):
    groups = [c["dag"]["tasks"] for c in spec[0]["components"].values() if "dag" in c]
    [handled] = [tasks for tasks in groups if "decide" in tasks]
    [group] = [task for name, task in handled.items() if name != "decide"]
    assert group["dependentTasks"] == ["decide"]
    condition = group["triggerPolicy"]["condition"]
    assert condition.endswith("['pipelinechannel--decide-answer'] == 'yes'")


def test_resources_claim_secret_and_retries_are_in_the_specification(spec):
    pipeline, platform = spec
    executors = pipeline["deploymentSpec"]["executors"]
    for label in ("exec-judge", "exec-judge-worker-0"):
        limits = executors[label]["container"]["resources"]
        assert limits["resourceCpuLimit"] == "500m"
        assert limits["accelerator"]["resourceCount"] == "1"
    mounted = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert all(e["pvcMount"] and e["secretAsEnv"] for e in mounted.values())
    assert set(mounted) == set(executors)
    everything = yaml.safe_dump(pipeline)
    assert "maxRetryCount: 2" in everything
    assert "exit-handler" in everything


def test_members_of_a_cluster_are_found_and_find_each_other(shared, spec):
    pipeline, platform = spec
    executors = pipeline["deploymentSpec"]["executors"]
    mounted = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    cluster = Cluster("tiny", workers=2, rendezvous_path=f"{shared}/tiny.job")
    members = zip(cluster.members, ("exec-judge", "exec-judge-worker-0"), strict=True)
    for member, label in members:
        env = {each["name"]: each["value"] for each in executors[label]["container"]["env"]}
        assert env == cluster.environment(*member)
        assert mounted[label]["podMetadata"]["labels"] == cluster.labels(*member)
    groups = [c["dag"]["tasks"] for c in pipeline["components"].values() if "dag" in c]
    [tasks] = [tasks for tasks in groups if "judge" in tasks]
    assert tasks["judge"]["dependentTasks"] == tasks["judge-worker-0"]["dependentTasks"]


@pytest.mark.parametrize(
    ("reason", "status", "answer"), [("--new-spans 99", 0, "no"), ("--nonsense", 1, None)]
)
def test_a_decision_says_no_or_fails(reason, status, answer, tmp_path, environment):
    asked = (*reason.split(), "--data", "digits", "--root", str(tmp_path))
    options = Kubeflow("i", pvc="c", mount=str(tmp_path), compile_options=(), retrain_options=asked)
    step = steps.decide(options)
    output = tmp_path / "outputs" / "answer"
    ran = subprocess.run(
        ["sh", "-c", step.script, *step.arguments, output], env=environment, capture_output=True
    )
    assert ran.returncode == status, ran.stderr
    assert (output.read_text() if output.exists() else None) == answer


@pytest.fixture
def kubeflow():
    """Returns the URL of what answers as Kubeflow's API does, and a list of what it was asked."""
    asked = []
    runs = [{"recurring_run_id": "5", "display_name": "digits"}]
    runs.append({"recurring_run_id": "6", "display_name": "another"})
    answers = {
        ("GET", "healthz"): {"multi_user": False},
        ("GET", "experiments"): {},
        ("POST", "experiments"): {"experiment_id": "3", "display_name": "digits"},
        ("GET", "recurringruns"): {"recurringRuns": runs},
        ("POST", "recurringruns"): {"recurring_run_id": "7"},
        ("DELETE", "recurringruns/5"): {},
    }

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            path = self.path.removeprefix("/apis/v2beta1/").partition("?")[0]
            size = int(self.headers.get("Content-Length", 0))
            asked.append((self.command, path, json.loads(self.rfile.read(size) or "null")))
            answer = answers.get((self.command, path))
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer or {}).encode())

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_one_command_writes_both_specifications_and_the_schedule(tmp_path, runner, kubeflow):
    url, asked = kubeflow
    words = ["--root", tmp_path / "runs", "--schedule", "0.01:16x1", "--cluster", "env"]
    words += ["--strategy", "parameter_server", "--image", "registry/digits:1", "--pvc", "c"]
    words += ["--mount", tmp_path, "--vertex-root", "gs://bucket/runs", "--retrain", "--age 7d"]
    words += ["--cron", "0 3 * * *", "--host", url, "--output", tmp_path / "compiled"]
    result = CliRunner().invoke(runner.main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "gcloud storage rsync" in result.output

    folder = tmp_path / "compiled"
    (tmp_path / "load.py").write_text(LOAD)
    files = (tmp_path / "load.py", folder / "kubeflow.yaml", folder / "vertex.json")
    kubeflow_part, vertex_part = json.loads(runner.in_kfp(*map(str, files)))
    assert kubeflow_part == ["digits", ["condition-1", "decide"]]
    assert vertex_part[0] == "digits"
    assert {"FeederTrainer", "baseline-model-resolver", "ModelCard"} <= set(vertex_part[1])

    services = list(yaml.safe_load_all((folder / "services.yaml").read_text()))
    assert [each["kind"] for each in services].count("NetworkPolicy") == 1
    names = {each["metadata"]["name"] for each in services if each["kind"] == "Service"}
    assert names == {f"digits-feedertrainer-{m}-0" for m in ("chief", "ps")} | {
        f"digits-feedertrainer-worker-{index}" for index in (0, 1)
    }
    [body] = [body for method, path, body in asked if (method, path) == ("POST", "recurringruns")]
    assert body["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (body["max_concurrency"], body["no_catchup"]) == (1, True)
    assert (body["experiment_id"], body["display_name"]) == ("3", "digits")
    spec, platform = yaml.safe_load_all((folder / "kubeflow.yaml").read_text())
    assert body["pipeline_spec"]["pipeline_spec"]["root"] == spec["root"]
    assert (
        body["pipeline_spec"]["platform_spec"]["platforms"].keys() == platform["platforms"].keys()
    )
    # The schedule that there was is replaced, once the new one is there.
    assert asked[-1] == ("DELETE", "recurringruns/5", None)

    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert {name: each["defaultValue"] for name, each in parameters.items()} == {
        "schedule": "0.01:16x1"
    }
    executors = spec["deploymentSpec"]["executors"]
    decide, compiles = (
        executors[f"exec-{n}"]["container"]["command"][2] for n in ("decide", "compile")
    )
    for words in (f"--root={tmp_path / 'runs'}", "--cluster=env", "--strategy=parameter_server"):
        assert words in decide
        assert words in compiles
    assert "--age 7d" in decide


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--retrain --soon", "No such option"),
        ("--retrain --new-spans=2 --span 1", "--span cannot be used with --retrain"),
        ("--retrain --new-spans=2 --ir-in-image /p", "--retrain requires runs that compile"),
        ("--vertex-root gs://b --factory m:f", "--vertex-root applies to the reference"),
        ("--cron x", "--cron requires --host"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, message, tmp_path, runner):
    words = ["--image", "i", "--pvc", "c", "--mount", str(tmp_path), *words.split()]
    words += ["--root", str(tmp_path / "runs"), "--output", str(tmp_path)]
    result = CliRunner().invoke(runner.main, words)
    assert result.exit_code != 0
    assert message in result.output
