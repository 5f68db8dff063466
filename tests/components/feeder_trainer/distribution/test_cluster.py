"""Cluster tasks (parsing of ``TF_CONFIG``, ranks, serialization) and process topologies."""

import json
from typing import Any

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import (
    VARIABLE,
    ClusterTask,
    ProcessTopology,
)

WORKERS = {"worker": ["a:1", "b:2"]}
SERVERS = {"chief": ["c:1"], "worker": ["a:1", "b:2"], "ps": ["p:3"]}


def read(cluster: Any, kind: str, index: Any = 0) -> ClusterTask:
    document = {"cluster": cluster, "task": {"type": kind, "index": index}}
    task = ClusterTask.from_env({VARIABLE: json.dumps(document)})
    assert task is not None
    return task


@pytest.mark.parametrize("environ", [{}, {VARIABLE: ""}], ids=["unset", "empty"])
def test_no_task_without_a_cluster(environ: dict[str, str]) -> None:
    assert ClusterTask.from_env(environ) is None


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "rank", "is_chief"),
    [
        (WORKERS, "worker", 0, 0, True),
        (WORKERS, "worker", 1, 1, False),
        (WORKERS, "worker", "1", 1, False),
        (SERVERS, "chief", 0, 0, True),
        (SERVERS, "worker", 0, 1, False),
    ],
)
def test_the_chief_comes_first(
    cluster: Any, kind: str, index: Any, rank: int, is_chief: bool
) -> None:
    task = read(cluster, kind, index)

    assert (task.rank, task.is_chief) == (rank, is_chief)


def test_parameter_servers_are_not_trainers() -> None:
    task = read(SERVERS, "ps")

    assert task.trainers == ("c:1", "a:1", "b:2")
    assert not task.is_chief


def test_the_default_index_is_0() -> None:
    document = {"cluster": WORKERS, "task": {"type": "worker"}}

    assert ClusterTask.from_env({VARIABLE: json.dumps(document)}) == read(WORKERS, "worker")


def test_a_master_is_a_chief() -> None:
    task = read({"master": ["c:1"], "worker": ["a:1"]}, "master")

    assert task.is_chief
    assert task.trainers == ("c:1", "a:1")


def test_json_round_trip() -> None:
    task = read(SERVERS, "worker", 1)

    assert ClusterTask.from_env({VARIABLE: task.to_json()}) == task


@pytest.mark.parametrize(
    "text",
    [
        "worker 0",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": 1}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": [7]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "first"}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"evaluator": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}',
    ],
)
def test_malformed_values_are_rejected(text: str) -> None:
    with pytest.raises(ConfigError, match=VARIABLE):
        ClusterTask.from_env({VARIABLE: text})


def test_each_process_of_a_topology_has_a_separate_address() -> None:
    tasks = ProcessTopology("parameter_servers", 3).tasks()
    addresses = {task.cluster[task.type][task.index] for task in tasks if task is not None}

    assert [task and task.type for task in tasks] == ["chief", *["worker"] * 3, "ps"]
    assert len(addresses) == 5


def test_a_single_process_has_no_task() -> None:
    assert ProcessTopology("subprocess").tasks() == (None,)
