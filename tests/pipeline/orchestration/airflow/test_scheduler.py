"""Pipelines run by a real Airflow: scheduler, executor, PostgreSQL, on both lines.

The reference pipeline takes minutes, and a thread looks after it while the tiny pipeline is tested.
"""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.schemas import training_history

pytestmark = [pytest.mark.slow, pytest.mark.long]

NODES = ["Gen", "Judge", "Never", "Push", "Sibling", "Tell", "latest"]
SCHEDULE = "0.01:16x6, 0.0025:64x4 @40"
EXAMPLES = 40 * (6 * 16 + 4 * 64)


@pytest.fixture(scope="module", autouse=True)
def reference(deployment):
    """A run of the reference pipeline whose trainer is killed; the result is the first log."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(kill_trainer, deployment)
        deployment.stop()  # Ends the thread as well, where no test has waited for it.


def kill_trainer(deployment):
    conf = json.dumps({"span": 1, "schedule": SCHEDULE})
    deployment.airflow("dags", "trigger", "tfx_feeder", "--run-id", "first", "--conf", conf)

    def log():
        return deployment.log("tfx_feeder", "first", "FeederTrainer")

    deployment.until(lambda: "epoch 1/10 " in log(), 900, "the first epoch is over")
    root = deployment.home / "reference"
    find = ["pgrep", "-f", f"run-node --ir {root}/airflow/runs/first.json --node FeederTrainer"]
    process = int(subprocess.run(find, stdout=subprocess.PIPE, check=True).stdout)
    # A checkpoint is due after a minute by the clock, which goes on while the process does not.
    os.kill(process, signal.SIGSTOP)
    time.sleep(60)
    os.kill(process, signal.SIGCONT)
    deployment.until(
        lambda: any(root.glob("artifacts/digits/FeederTrainer/**/checkpoints/*/at-*")),
        120,
        "there is a checkpoint",
    )
    os.kill(process, signal.SIGKILL)
    return log()


def test_run_waits_for_its_span_and_pushes_nothing_unblessed(deployment):
    root = deployment.home
    deployment.airflow("dags", "trigger", "tiny", "--run-id", "first")
    deployment.until(
        lambda: deployment.tasks("tiny", "first").get("new_span") == "up_for_reschedule",
        300,
        "the sensor waits",
    )
    (root / "span").touch()
    assert deployment.until_done("tiny", "first") == "success"
    tasks = dict.fromkeys(["new_span", "compile", *NODES], "success")
    assert deployment.tasks("tiny", "first") == tasks | {"Push": "skipped"}, "it was not blessed"
    states = sorted((e.node, e.state) for e in Lineage.open(root).executions("first"))
    ran = [node for node in NODES if node != "Never"]
    assert states == [(node, "COMPLETE") for node in ran], "each once, and Never by no means"


def test_backfill_is_by_span_and_an_exit_handler_hides_no_failure(deployment):
    (deployment.home / "fail-Gen").touch()
    day = "2026-01-04"
    if deployment.line == "2":
        deployment.airflow("dags", "backfill", "daily", "-s", day, "-e", day, may_fail=True)
    else:
        dates = ["--from-date", day, "--to-date", day]
        deployment.airflow("backfill", "create", "--dag-id", "daily", *dates)
    deployment.until(lambda: bool(deployment.runs("daily")), 60, "the backfill has a run")
    [run_id] = deployment.runs("daily")
    assert deployment.until_done("daily", run_id) == "failed"
    others = dict.fromkeys(NODES, "upstream_failed")
    ended = {"compile": "success", "Gen": "failed", "Tell": "success"}
    assert deployment.tasks("daily", run_id) == others | ended
    [span] = deployment.query(
        "select rendered_fields->'env'->>'RUN_SPAN' from rendered_task_instance_fields "
        "where dag_id = 'daily' and task_id = 'compile'"
    )
    assert span == "3", "days since the DAG's start"


def test_reference_pipeline_goes_on_where_its_trainer_was_killed(deployment, reference):
    killed = reference.result()
    assert "epoch 10/10 " not in killed, "killed in the middle"
    assert deployment.until_done("tfx_feeder", "first") == "success"
    tasks = deployment.tasks("tfx_feeder", "first")
    assert {task: state for task, state in tasks.items() if state != "success"} == {}
    tries = "select task_id, try_number from task_instance where dag_id = 'tfx_feeder'"
    assert deployment.query(f"{tries} and try_number <> 1") == ["FeederTrainer|2"]
    root = deployment.home / "reference"
    executions = Lineage.open(root, "digits").executions("first")
    states = sorted((e.node, e.state) for e in executions)
    assert states == [(node, "COMPLETE") for node in sorted(set(tasks) - {"compile"})]
    [trained] = [e for e in executions if e.node == "FeederTrainer"]
    history = training_history.read(trained.output("training_history").path)
    assert [row.epoch for row in history.epochs] == list(range(10))
    assert history.epochs[-1].examples_seen == EXAMPLES, "none twice"
    assert "resume" in [event.kind for event in history.events]
    assert len(list(root.glob("serving/digits/*/saved_model.pb"))) == 1
