"""DAGs as parsed by Airflow 2 and 3."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster
from tfx_feeder.pipeline.orchestration.resources import Resources

ROOT = Path(__file__).parents[4]
pytestmark = pytest.mark.slow


def node(name, *upstream):
    made = {"node_info": {"id": name}}
    return {"pipeline_node": made | ({"upstream_nodes": list(upstream)} if upstream else {})}


FILE = CompiledPipeline(
    pipeline={
        "pipeline_info": {"id": "shop"},
        "runtime_spec": {"pipeline_root": {"field_value": {"string_value": "/r"}}},
        "nodes": [node("Gen"), node("Tell"), node("Trainer", "Gen"), node("Push", "Trainer")],
    },
    resources={"Trainer": Resources("2", "4Gi", "nvidia.com/gpu", 2)},
    exit_handlers=("Tell",),
)

PREFIX = """
from datetime import datetime, timezone
from pathlib import Path

def made(**changes):
    arguments = dict(
        compiled=Path({compiled!r}),
        runs=Path("/runs"),
        runtime=Bash(Path("/opt/a b/bin"), env={{"STORE": "{{{{ run_id }}}}"}}),
        compile_options=["--root", "/r", "--data", "my data"],
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    )
    return make_dag("shop", **(arguments | changes))

"""
PODS = 'Kubernetes("shop:1", pod={"namespace": "ml", "labels": {"team": "a"}}, nodes=nodes)'
WAIT = 'Sensor("new_span", ["/opt/look.sh"], timeout_s=5)'
CALLS = {
    "plain": "dag = made()",
    "rich": f"""dag = made(
        run_options=[RunOption("span", "integer", DAY_OF_RUN), RunOption("time_to_train")],
        sensors=[{WAIT}],
        retrain_options=["--drift", "0.1"],
        compile_options=["--resources", "Trainer=cpu:2", "--root", "/r", "--data", "my data"],
        accelerator_pool="gpu",
        timeouts=Timeouts(retries=5, retry_delay_s=3, nodes_s={{"Trainer": 60}}, run_s=600),
        tags=["shop"],
    )""",
    "pods": f"""
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster
cluster = Cluster("shop", workers=2, rendezvous_path="/data/shop.job")
chief = {{"labels": cluster.labels("chief", 0), "env_vars": cluster.environment("chief", 0)}}
nodes = {{"Trainer": chief}}
dag = made(runtime={PODS}, sensors=[{WAIT}])""",
    "late": """
from airflow import __version__
if __version__[0] == "2":
    on_late = print
else:
    from airflow.sdk import AsyncCallback
    on_late = AsyncCallback("airflow.providers.smtp.notifications.smtp.SmtpNotifier")
dag = made(timeouts=Timeouts(late_s=60, on_late=on_late))""",
    "no file": 'dag = made(compiled=Path("/nowhere.json"))',
    "relative runs": 'dag = made(runs=Path("runs"))',
    "no root": 'dag = made(compile_options=["--data", "digits"])',
    "password": 'dag = made(retrain_options=["--store", "mysql://u:pw@h/db"])',
    "unknown node": 'dag = made(timeouts=Timeouts(nodes_s={"Pusher": 60}))',
    "no such node": 'dag = made(runtime=Kubernetes("shop:1", nodes={"Pusher": {}}))',
    "no time": 'dag = made(timeouts=Timeouts(nodes_s={"Trainer": 0}))',
    "fewer tries": "dag = made(timeouts=Timeouts(retries=-1))",
    "late for nobody": "dag = made(timeouts=Timeouts(late_s=60))",
    "decision of another": """
dag = made(retrain_options=[], compile_options=["--factory", "shop:create"])""",
    "odd option": 'dag = made(run_options=[RunOption("$(reboot)")])',
}


@pytest.fixture(scope="module")
def dags(airflow, tmp_path_factory):
    """What Airflow makes of the calls."""
    home = tmp_path_factory.mktemp("airflow")
    compiled_pipeline.write(FILE, home / "shop.json")
    prefix = PREFIX.format(compiled=str(home / "shop.json"))
    done = subprocess.run(
        [airflow.programs / "python", Path(__file__).with_name("describe.py")],
        input=json.dumps({name: prefix + code for name, code in CALLS.items()}),
        env=airflow.environment(home),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def test_each_node_is_a_task_with_its_edges(dags):
    tasks = dags["plain"]["tasks"]
    assert {name: task["upstream"] for name, task in tasks.items()} == {
        "compile": [],
        "Gen": ["compile"],
        "Trainer": ["Gen", "compile"],
        "Push": ["Trainer", "compile"],
        "Tell": ["Gen", "Push", "Trainer", "compile"],
    }
    assert [name for name, task in tasks.items() if task["teardown"]] == ["Tell"]
    assert {task["operator"] for task in tasks.values()} == {"BashOperator"}
    assert tasks["Push"]["skip"] == [3]


def test_one_run_at_a_time_and_none_is_made_up_for(dags):
    assert (dags["plain"]["max_active_runs"], dags["plain"]["catchup"]) == (1, False)


def test_commands_are_those_that_bash_runs(dags, tmp_path):
    """A program that prints its arguments stands in for the command, which others test."""
    (tmp_path / "a b").mkdir()
    program = tmp_path / "a b" / "tfx-feeder"
    program.write_text(f"#!{sys.executable}\nimport json, sys; print(json.dumps(sys.argv[1:]))")
    program.chmod(0o755)

    def arguments(task, **env):
        script = task["script"].replace("/opt/a b/bin", str(program.parent))
        command = ["bash", "-c", script]
        env = os.environ | task["env"] | env
        return json.loads(subprocess.run(command, env=env, stdout=-1, check=True).stdout)

    plain, rich = dags["plain"]["tasks"], dags["rich"]["tasks"]
    common = ["compile", "--root", "/r", "--data", "my data"]
    output = ["--output", "/runs/r1.json"]
    assert arguments(plain["compile"]) == [*common, *output]
    assert plain["Gen"]["env"] == {"STORE": "r1", "IR": "/runs/r1.json", "ID": "r1"}
    run = ["run-node", "--ir", "/runs/r1.json", "--node", "Gen", "--run-id", "r1"]
    assert arguments(plain["Gen"]) == run
    decided = ["--decision", "/runs/r1.decision.json"]
    request = ["--resources", "Trainer=cpu:2"]
    expected = ["compile", *request, *common[1:], *decided, "--span=3", *output]
    assert arguments(rich["compile"]) == expected
    words = arguments(rich["compile"], RUN_TIME_TO_TRAIN="$(reboot) '")
    assert "--time-to-train=$(reboot) '" in words, "what a run is given is no code"


def test_run_waits_and_decides_before_it_compiles(dags):
    tasks = dags["rich"]["tasks"]
    assert [tasks[name]["upstream"] for name in ("new_span", "retrain_decision", "compile")] == [
        [],
        ["new_span"],
        ["retrain_decision"],
    ]
    assert (tasks["new_span"]["operator"], tasks["new_span"]["not_yet"]) == ("BashSensor", 99)
    assert "retrain --decide --json --drift 0.1 --root /r" in tasks["retrain_decision"]["script"]


def test_timeouts_and_pools_are_airflows(dags):
    dag = dags["rich"]
    trainer, gen = dag["tasks"]["Trainer"], dag["tasks"]["Gen"]
    assert (trainer["retries"], trainer["retry_delay_s"], dag["run_s"]) == (5, 3, 600)
    assert (trainer["timeout_s"], gen["timeout_s"]) == (60, None)
    assert (trainer["pool"], gen["pool"]) == (["gpu", 2], ["default_pool", 1])
    assert (dag["params"], dag["tags"]) == (["span", "time_to_train"], ["shop"])
    assert dags["late"]["late"]
    assert not dag["late"]


def test_pods_have_the_resources_of_their_nodes(dags):
    tasks = dags["pods"]["tasks"]
    assert {task["operator"] for task in tasks.values()} == {"KubernetesPodOperator"}
    assert tasks["Trainer"]["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"memory": "4Gi", "nvidia.com/gpu": "2"},
    }
    assert (tasks["Trainer"]["image"], tasks["Trainer"]["namespace"]) == ("shop:1", "ml")
    assert tasks["Gen"]["env"] == {"IR": "/runs/r1.json", "ID": "r1"}
    assert tasks["new_span"]["skip"] == [99], "a pod cannot be asked again and again"


def test_pod_of_the_trainer_can_be_the_chief_of_a_cluster(dags):
    trainer, gen = (dags["pods"]["tasks"][name] for name in ("Trainer", "Gen"))
    cluster = Cluster("shop", workers=2, rendezvous_path="/data/shop.job")
    assert trainer["labels"] == cluster.labels("chief", 0)
    assert trainer["env"] == gen["env"] | cluster.environment("chief", 0)
    assert gen["labels"] == {"team": "a"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("no file", "tfx-feeder compile"),
        ("relative runs", "runs: expected an absolute path"),
        ("no root", "--root with an absolute path"),
        ("password", "TFX_FEEDER_STORE_PASSWORD"),
        ("unknown node", "one of Gen, Trainer, Push, Tell"),
        ("no such node", "one of Gen, Trainer, Push, Tell"),
        ("no time", "timeouts nodes_s Trainer: expected seconds above 0"),
        ("fewer tries", "timeouts retries: expected 0 or more"),
        ("late for nobody", "timeouts on_late"),
        ("decision of another", "retrain_options: expected no --factory"),
        ("odd option", "run_options: expected names such as"),
    ],
)
def test_mistakes_are_reported_when_the_dag_is_parsed(dags, call, message):
    assert message in dags[call]["error"]


def test_dag_of_the_reference_pipeline_is_parsed(airflow, tmp_path):
    compiled_pipeline.write(FILE, tmp_path / "airflow" / "pipeline.json")
    settings = {"TFX_FEEDER_ROOT": str(tmp_path), "TFX_FEEDER_BIN": "/opt/bin"}
    code = "import airflow_runner; print(airflow_runner.dag.task_ids)"
    env = airflow.environment(tmp_path) | settings | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([airflow.programs / "python", "-c", code], env=env, stdout=-1, text=True)
    assert "'Trainer'" in done.stdout
