"""Machines of one distributed training on Kubernetes: names, environments, labels and Services.

FeederTrainer with ``cluster="env"`` is the chief; every other member runs ``tfx-feeder worker``.
Any orchestrator can start the pods (a Kubeflow Pipelines task, a Job, Airflow). A member is reached
under the name of its Service, which selects the pod by its labels.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import TYPES, VARIABLE, ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher.rendezvous import (
    RENDEZVOUS_VARIABLE,
)
from tfx_feeder.components.feeder_trainer.distribution.options import (
    Auto,
    ParameterServer,
    Strategy,
    SynchronousParameterServer,
    cluster_of,
)

CHIEF = "chief"
"""Type of the only member that runs FeederTrainer."""

CLUSTER_LABEL, TYPE_LABEL = "tfx-feeder/cluster", "tfx-feeder/member"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
"""Label that Kubernetes adds to the pods of an Indexed Job, which share all their other labels."""

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Members of one distributed training.

    Args:
        name: Prefix of the members' names, as in ``NAME-worker-0``; only one training at a time
            can use it.
        workers: Number of members that train, as the 2 in ``"local:2"``; without parameter
            servers, the chief is one of them.
        rendezvous_path: Path of the rendezvous file, which the chief writes for the other members,
            on a volume that all members mount.
        servers: Number of parameter servers; 0 for strategies without servers.
        port: Port at which every member listens.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> Cluster("digits", workers=2, rendezvous_path="/data/digits.job").members
        (('chief', 0), ('worker', 0))
    """

    name: str
    workers: int
    rendezvous_path: str
    servers: int = 0
    port: int = 2222

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                "cluster name",
                received=self.name,
                expected="at most 50 lowercase letters, digits and hyphens, starting with a letter",
            )
        if self.servers < 0:
            raise ConfigError("cluster servers", received=self.servers, expected="0 or more")
        if self.workers < (1 if self.servers else 2):
            raise ConfigError(
                "cluster workers",
                received=self.workers,
                expected="2 or more, or 1 or more with parameter servers",
            )
        if not self.rendezvous_path.startswith("/"):
            raise ConfigError(
                "cluster rendezvous_path",
                received=self.rendezvous_path,
                expected="an absolute path on a shared volume",
            )

    @classmethod
    def for_strategy(
        cls,
        strategy: Strategy,
        name: str,
        *,
        rendezvous_path: str,
        workers: int = 2,
        servers: int | None = None,
        port: int = 2222,
    ) -> "Cluster":
        """Returns the cluster for a FeederTrainer.

        Args:
            strategy: Strategy of the FeederTrainer; see ``CompiledPipeline.strategies``.
            name: Prefix of the members' names.
            rendezvous_path: Path of the rendezvous file.
            workers: Number of members that train.
            servers: Number of parameter servers; ``None`` for one if the strategy has servers.
            port: Port at which every member listens.

        Raises:
            ConfigError: The strategy does not run on a cluster, or not with these servers.
        """
        cluster = cluster_of(strategy)
        if cluster != "env":
            raise ConfigError(
                "strategy",
                received=f"{strategy.name}, cluster {cluster!r}",
                expected="a strategy with cluster='env'",
            )
        with_servers = isinstance(strategy, (ParameterServer, SynchronousParameterServer))
        servers = int(with_servers) if servers is None else servers
        if not isinstance(strategy, Auto) and with_servers != (servers > 0):
            raise ConfigError(
                "cluster servers",
                received=servers,
                expected=f"{'1 or more' if with_servers else '0'} for {strategy.name}",
            )
        return cls(name, workers, rendezvous_path, servers, port)

    @property
    def counts(self) -> dict[str, int]:
        """Number of members by type, starting with the chief; types without members are omitted."""
        workers = self.workers if self.servers else self.workers - 1
        counts = dict(zip(TYPES, (1, workers, self.servers), strict=True))
        return {type_: count for type_, count in counts.items() if count > 0}

    @property
    def members(self) -> tuple[tuple[str, int], ...]:
        """Type and index of each member, starting with the chief."""
        return tuple((type_, i) for type_, count in self.counts.items() for i in range(count))

    def host(self, type_: str, index: int) -> str:
        """Returns the host name of a member, which is the name of its Service.

        Args:
            type_: Type of the member.
            index: Index within the type.
        """
        return f"{self.name}-{type_}-{index}"

    def tf_config(self, type_: str, index: int) -> str:
        """Returns the ``TF_CONFIG`` of a member.

        Args:
            type_: Type of the member.
            index: Index within the type.

        Raises:
            ConfigError: The member does not exist.
        """
        addresses = {
            type_: tuple(f"{self.host(type_, each)}:{self.port}" for each in range(count))
            for type_, count in self.counts.items()
        }
        return ClusterTask(addresses, type_, index).to_json()

    def environment(self, type_: str, index: int) -> dict[str, str]:
        """Returns the environment variables of a member.

        Args:
            type_: Type of the member.
            index: Index within the type.

        Raises:
            ConfigError: The member does not exist.
        """
        return {VARIABLE: self.tf_config(type_, index), RENDEZVOUS_VARIABLE: self.rendezvous_path}

    def labels(self, type_: str, index: int) -> dict[str, str]:
        """Returns the labels of the pod of a member.

        Args:
            type_: Type of the member.
            index: Index within the type.
        """
        return {CLUSTER_LABEL: self.name, TYPE_LABEL: type_, INDEX_LABEL: str(index)}

    def services(self) -> list[dict[str, Any]]:
        """Returns the manifests of the Services, one for each member.

        The Services are headless, so that a name resolves to the pod itself, and they publish pods
        that are not ready, because members connect to each other while they start.
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

    def network_policy(self) -> dict[str, Any]:
        """Returns the manifest of a NetworkPolicy that admits the members to one another only.

        All ports are admitted, because the servers of a feed select theirs when they start.
        """
        members = {"matchLabels": {CLUSTER_LABEL: self.name}}
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": self.name, "labels": {CLUSTER_LABEL: self.name}},
            "spec": {
                "podSelector": members,
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": members}]}],
            },
        }


def check_shared_path(argument: str, path: str, pvc: str, mount: str) -> None:
    """Checks that all pods can reach a path.

    Args:
        argument: Name of the setting that holds the path, for the error message.
        path: Absolute path, or URI on an object store.
        pvc: Name of the PersistentVolumeClaim that the pods mount; empty if there is none.
        mount: Path at which the claim is mounted.

    Raises:
        ConfigError: The path is neither on an object store nor below the mount.
    """
    if "://" not in path and not (pvc and Path(path).is_relative_to(mount)):
        raise ConfigError(
            argument,
            received=path,
            expected=f"an object store, or a path below {mount} with a PVC mounted there",
            fix=f"Name the PVC, and use a path such as {mount}/shop; the root is set with "
            "`tfx-feeder compile --root`.",
        )
