"""The machines of one training on Kubernetes: names, environments, labels and Services.

FeederTrainer with ``cluster="env"`` is the chief; every other member runs ``tfx-feeder worker``.
Whoever starts the pods (a task of Kubeflow Pipelines, a Job, Airflow), a member is reached under
the name of its Service, which finds the pod by its labels.
"""

import re
from dataclasses import dataclass
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import TYPES, VARIABLE, ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher.rendezvous import (
    RENDEZVOUS_VARIABLE,
)
from tfx_feeder.components.feeder_trainer.distribution.options import AUTO, STRATEGIES, Strategy

CHIEF = "chief"
"""Type of the member that runs FeederTrainer; there is one."""

CLUSTER_LABEL, TYPE_LABEL = "tfx-feeder/cluster", "tfx-feeder/member"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
"""Kubernetes itself puts it on the pods of an Indexed Job, which share all their other labels."""

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The members of one training.

    Args:
        name: Begins the names of the members, as in ``NAME-worker-0``; one training at a time.
        workers: Members that train, as the 2 of ``"local:2"``: without parameter servers, the chief
            is one of them.
        servers: Parameter servers; 0 for strategies that have none.
        job: Path of the file in which the chief leaves the work, on a volume that all share.
        port: Where every member listens.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> Cluster("digits", workers=2, job="/data/digits.job").members
        (('chief', 0), ('worker', 0))
    """

    name: str
    workers: int
    job: str
    servers: int = 0
    port: int = 2222

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                "cluster name",
                received=self.name,
                expected="50 small letters, digits and hyphens at most, a letter first",
            )
        if self.servers < 0:
            raise ConfigError("cluster servers", received=self.servers, expected="0 or more")
        if self.workers < (1 if self.servers else 2):
            raise ConfigError(
                "cluster workers",
                received=self.workers,
                expected="2 or more, or 1 or more beside parameter servers",
            )
        if not self.job.startswith("/"):
            raise ConfigError(
                "cluster job", received=self.job, expected="an absolute path on a shared volume"
            )

    @classmethod
    def for_strategy(
        cls,
        strategy: Strategy,
        name: str,
        *,
        job: str,
        workers: int = 2,
        servers: int | None = None,
        port: int = 2222,
    ) -> "Cluster":
        """Makes a cluster for a FeederTrainer.

        Args:
            strategy: That of the FeederTrainer; see ``CompiledPipeline.strategies``.
            name: See ``Cluster``, as the others.
            job: See ``Cluster``.
            workers: See ``Cluster``.
            servers: ``None``: one, where the strategy has servers.
            port: See ``Cluster``.

        Raises:
            ConfigError: The strategy takes part in no cluster, or in one of another kind.
        """
        if strategy.cluster != "env":
            raise ConfigError(
                "strategy",
                received=f"{strategy.name}, cluster {strategy.cluster!r}",
                expected="a strategy with cluster='env'",
            )
        with_servers = strategy.name != AUTO and STRATEGIES[strategy.name].starts == "servers"
        servers = int(with_servers) if servers is None else servers
        if strategy.name != AUTO and with_servers != (servers > 0):
            raise ConfigError(
                "cluster servers",
                received=servers,
                expected=f"{'1 or more' if with_servers else '0'} for {strategy.name}",
            )
        return cls(name, workers, job, servers, port)

    @property
    def counts(self) -> dict[str, int]:
        """Number of members by type, the chief first; types without members are left out."""
        workers = self.workers if self.servers else self.workers - 1
        counts = dict(zip(TYPES, (1, workers, self.servers), strict=True))
        return {type_: count for type_, count in counts.items() if count > 0}

    @property
    def members(self) -> tuple[tuple[str, int], ...]:
        """Type and index of each member; the chief comes first."""
        return tuple((type_, i) for type_, count in self.counts.items() for i in range(count))

    def host(self, type_: str, index: int) -> str:
        """Returns the name of a member, which is that of its Service."""
        return f"{self.name}-{type_}-{index}"

    def tf_config(self, type_: str, index: int) -> str:
        """Returns a member's ``TF_CONFIG``.

        Raises:
            ConfigError: There is no such member.
        """
        addresses = {
            type_: tuple(f"{self.host(type_, each)}:{self.port}" for each in range(count))
            for type_, count in self.counts.items()
        }
        return ClusterTask(addresses, type_, index).to_json()

    def environment(self, type_: str, index: int) -> dict[str, str]:
        """Returns the environment variables of a member.

        Raises:
            ConfigError: There is no such member.
        """
        return {VARIABLE: self.tf_config(type_, index), RENDEZVOUS_VARIABLE: self.job}

    def labels(self, type_: str, index: int) -> dict[str, str]:
        """Returns the labels of a member's pod."""
        return {CLUSTER_LABEL: self.name, TYPE_LABEL: type_, INDEX_LABEL: str(index)}

    def services(self) -> list[dict[str, Any]]:
        """Returns the manifests of the Services, one for each member.

        They have no address of their own, so that a name leads to the pod itself, and lead there
        before it is ready, because members find each other while they start.
        """
        return [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": self.host(*member), "labels": {CLUSTER_LABEL: self.name}},
                "spec": {
                    "clusterIP": "None",
                    "publishNotReadyAddresses": True,
                    "selector": self.labels(*member),
                    "ports": [{"name": "training", "port": self.port}],
                },
            }
            for member in self.members
        ]
