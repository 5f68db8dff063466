"""Members of a cluster on Kubernetes, and their Services."""

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher.rendezvous import (
    RENDEZVOUS_VARIABLE,
)
from tfx_feeder.components.feeder_trainer.distribution.options import (
    Auto,
    MultiWorker,
    ParameterServer,
    SingleDevice,
)
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster

JOB = "/data/digits.job"
TEAM = Cluster("digits", workers=3, rendezvous_path=JOB)
SERVERS = Cluster("digits", workers=2, servers=1, rendezvous_path=JOB, port=7000)


def test_without_servers_the_chief_is_one_of_the_workers():
    assert TEAM.members == (("chief", 0), ("worker", 0), ("worker", 1))
    assert SERVERS.members == (("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0))


@pytest.mark.parametrize("cluster", [TEAM, SERVERS])
def test_every_member_reads_its_place_and_only_the_chief_leads(cluster):
    tasks = [ClusterTask.from_env(cluster.environment(*member)) for member in cluster.members]
    assert [(task.type, task.index) for task in tasks] == list(cluster.members)
    assert [task.is_chief for task in tasks] == [True] + [False] * (len(tasks) - 1)
    assert len({tuple(sorted(task.cluster.items())) for task in tasks}) == 1
    assert {cluster.environment(*each)[RENDEZVOUS_VARIABLE] for each in cluster.members} == {JOB}


def test_the_address_of_a_member_is_the_service_that_selects_its_pod():
    services = {s["metadata"]["name"]: s["spec"] for s in SERVERS.services()}
    task = ClusterTask.from_env(SERVERS.environment("chief", 0))
    for type_, index in SERVERS.members:
        host, _, port = task.cluster[type_][index].rpartition(":")
        assert services[host]["ports"][0]["port"] == int(port)
        found = [
            member
            for member in SERVERS.members
            if services[host]["selector"].items() <= SERVERS.labels(*member).items()
        ]
        assert found == [(type_, index)]


def test_the_strategy_says_whether_there_are_servers():
    def of(strategy, **options):
        return Cluster.for_strategy(strategy, "digits", rendezvous_path=JOB, **options).counts

    assert of(MultiWorker("env"), workers=3) == {"chief": 1, "worker": 2}
    assert of(ParameterServer("env")) == {"chief": 1, "worker": 2, "ps": 1}
    assert of(Auto(cluster="env"), servers=2) == {"chief": 1, "worker": 2, "ps": 2}
    for strategy, servers in (
        (MultiWorker("env"), 1),
        (ParameterServer("env"), 0),
    ):
        with pytest.raises(ConfigError, match="cluster servers"):
            of(strategy, servers=servers)
    for strategy in (SingleDevice(), MultiWorker("local:2")):
        with pytest.raises(ConfigError, match="cluster='env'"):
            of(strategy)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": "My_Digits"}, "name"),
        ({"name": "d" * 51}, "name"),
        ({"workers": 1}, "workers"),
        ({"workers": 0, "servers": 1}, "workers"),
        ({"servers": -1}, "servers"),
        ({"rendezvous_path": "digits.job"}, "rendezvous_path"),
    ],
)
def test_what_makes_no_cluster_is_refused(wrong, named):
    with pytest.raises(ConfigError, match=f"cluster {named}"):
        Cluster(**{"name": "digits", "workers": 2, "rendezvous_path": JOB} | wrong)
