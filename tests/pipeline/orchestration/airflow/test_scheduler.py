"""Pipelines run by a real Airflow: scheduler, executor, PostgreSQL, on both lines."""

import os
import signal

import pytest

from tfx_feeder.pipeline.lineage import Lineage

pytestmark = pytest.mark.slow

NODES = ["Gen", "Judge", "Never", "Push", "Sibling", "Tell", "latest"]


def process_ids(root, node):
    path = root / f"ran-{node}"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_run_waits_for_its_span_and_survives_a_killed_node(deployment):
    root = deployment.root
    (root / "wait-Judge").touch()
    deployment.airflow("dags", "trigger", "tiny", "--run-id", "first")
    deployment.until(
        lambda: deployment.tasks("tiny", "first").get("new_span") == "up_for_reschedule",
        120,
        "the sensor waits",
    )
    (root / "span").touch()
    deployment.until(lambda: bool(process_ids(root, "Judge")), 300, "Judge runs")
    os.kill(process_ids(root, "Judge")[0], signal.SIGKILL)
    (root / "wait-Judge").unlink()
    assert deployment.until_done("tiny", "first") == "success"
    tasks = dict.fromkeys(["new_span", "compile", *NODES], "success")
    assert deployment.tasks("tiny", "first") == tasks | {"Push": "skipped"}, "it was not blessed"
    tries = "select task_id from task_instance where dag_id = 'tiny' and try_number > 1"
    assert deployment.query(f"{tries} and task_id <> 'new_span'") == ["Judge"]
    states = sorted((e.node, e.state) for e in Lineage.open(root).executions("first"))
    ran = [node for node in NODES if node != "Never"]
    assert states == [(node, "COMPLETE") for node in ran], "each once, and Never by no means"


def test_backfill_is_by_span_and_an_exit_handler_hides_no_failure(deployment):
    (deployment.root / "fail-Gen").touch()
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
