"""Cluster description: tasks as ``TF_CONFIG`` defines them, their addresses, process topologies.

The vocabulary is that of ``tf.distribute.cluster_resolver.TFConfigClusterResolver``.
"""

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.loopback import is_loopback, loopback_port
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import LaunchMode

VARIABLE = "TF_CONFIG"
"""Environment variable in which orchestrators describe a cluster."""

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that lists the GPUs of a process."""

NO_GPUS = "-1"
"""Value of ``GPU_VARIABLE`` for a process without GPUs."""

TYPES = ("chief", "worker", "ps")
"""Task types: the first two train, ``"ps"`` holds variables."""

_ADDRESS = re.compile(r".+:[0-9]+")
_CONNECT_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class ClusterTask:
    """Task of one process in a cluster.

    Args:
        cluster: Addresses (``host:port``) of all tasks by task type.
        type: Type of this task.
        index: Index of this task among those of its type.
        token: Secret that the processes of one training share; not part of ``TF_CONFIG``.

    Raises:
        ConfigError: The cluster has no such task, or an address is malformed.

    Example:
        >>> ClusterTask({"worker": ("a:1", "b:1")}, "worker", 1).is_chief
        False
    """

    cluster: Mapping[str, tuple[str, ...]]
    type: str
    index: int
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        cluster = {type_: tuple(addresses) for type_, addresses in self.cluster.items()}
        object.__setattr__(self, "cluster", cluster)
        for address in (each for addresses in cluster.values() for each in addresses):
            if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
                raise ConfigError(VARIABLE, received=address, expected="host:port")
        of_type = cluster.get(self.type, ()) if self.type in TYPES else ()
        if not 0 <= self.index < len(of_type):
            raise ConfigError(
                VARIABLE,
                received=f"task {self.type} {self.index} of {cluster}",
                expected=f"a task of the cluster, of type {', '.join(TYPES)}",
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "ClusterTask | None":
        """Returns the task that ``TF_CONFIG`` describes, or ``None`` if it is not set.

        Raises:
            ConfigError: The value does not have the format that TensorFlow documents.
        """
        text = environ.get(VARIABLE)
        if not text:
            return None
        try:
            document: Any = json.loads(text)
            task = document["task"]
            cluster = {
                _normalize_task_type(type_): addresses
                for type_, addresses in document["cluster"].items()
            }
            return cls(cluster, _normalize_task_type(task["type"]), int(task.get("index", 0)))
        except (
            *(ValueError, KeyError, TypeError, AttributeError),
            *(OverflowError, RecursionError),
        ) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                VARIABLE,
                received=text,
                expected='{"cluster": {"worker": ["host:port", ...]}, '
                '"task": {"type": "worker", "index": 0}}',
            ) from error

    @classmethod
    def required_from_env(cls, environ: Mapping[str, str]) -> "ClusterTask":
        """Returns the task that ``TF_CONFIG`` describes.

        Raises:
            ConfigError: The variable is not set, or not in the format that TensorFlow documents.
        """
        task = cls.from_env(environ)
        if task is None:
            raise ConfigError(
                VARIABLE,
                received=None,
                expected="the addresses of a cluster and the task of this process",
                fix="Run under an orchestrator that sets it, or set cluster='local:2' in the "
                "strategy to start workers on this machine.",
            )
        return task

    def to_json(self) -> str:
        """Returns the value of ``TF_CONFIG`` for this task."""
        task = {"type": self.type, "index": self.index}
        return json.dumps({"cluster": self.cluster, "task": task})

    @property
    def address(self) -> str:
        """Address of this task, as ``host:port``."""
        return self.cluster[self.type][self.index]

    @property
    def trainers(self) -> tuple[str, ...]:
        """Addresses of the tasks that train: the chief, then the workers."""
        return (*self.cluster.get("chief", ()), *self.cluster.get("worker", ()))

    @property
    def rank(self) -> int:
        """Rank among the trainers, from 0."""
        first = 0 if self.type == "chief" else len(self.cluster.get("chief", ()))
        return first + self.index

    @property
    def is_chief(self) -> bool:
        """True if this task decides and writes files for all."""
        return self.type != "ps" and self.rank == 0


@dataclass(frozen=True, slots=True)
class ProcessTopology:
    """Processes of one training run on this machine.

    Args:
        launch_mode: ``"in_process"``, ``"subprocess"``: one process. ``"workers"``: one process
            per worker, the first of which is the chief. ``"parameter_servers"``: a chief, the
            workers and one parameter server.
        workers: Number of workers.
        gpus: Identifiers of the machine's GPUs, as in ``CUDA_VISIBLE_DEVICES``; at least one per
            worker, or none.

    Example:
        >>> [task.type for task in ProcessTopology("parameter_servers", 2).tasks()]
        ['chief', 'worker', 'worker', 'ps']
    """

    launch_mode: LaunchMode
    workers: int = 1
    gpus: tuple[str, ...] = ()

    def tasks(self) -> tuple[ClusterTask | None, ...]:
        """Returns the task of each process at a free address, the chief first.

        A process without a cluster has ``None`` for a task.
        """
        if self.launch_mode in ("in_process", "subprocess"):
            return (None,)
        types = ["worker"] * self.workers
        if self.launch_mode == "parameter_servers":
            types = ["chief", *types, "ps"]
        cluster: dict[str, tuple[str, ...]] = {}
        for type_, address in zip(types, free_addresses(len(types)), strict=True):
            cluster[type_] = (*cluster.get(type_, ()), address)
        return tuple(
            ClusterTask(cluster, type_, index)
            for type_, addresses in cluster.items()
            for index in range(len(addresses))
        )

    def gpu_of(self, task: ClusterTask | None) -> str | None:
        """Returns the GPU of a process: one per worker, then one for a chief that evaluates.

        Args:
            task: Task of the process.

        Returns:
            An identifier; empty if the process gets no GPU; ``None`` if the process sees all GPUs.
        """
        if task is None or not self.gpus:
            return None
        if task.type == "worker":
            return self.gpus[task.index]
        spare = self.gpus[self.workers :]
        return spare[0] if spare and task.type == "chief" else ""


def free_addresses(count: int) -> list[str]:
    """Returns ``count`` distinct addresses of this machine whose ports are free now."""
    with contextlib.ExitStack() as stack:
        # All sockets stay open until the last is bound, so that no port is returned twice.
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [f"localhost:{each.getsockname()[1]}" for each in sockets]


@contextlib.contextmanager
def restricted_server(task: ClusterTask) -> Iterator[None]:
    """Restricts the server that TensorFlow starts for a task in the context, if its address is.

    TensorFlow's servers execute what any client sends, and listen on all interfaces. The server of
    an address of the loopback interface, such as ``localhost:1``, accepts clients on this machine
    only; every other address is one that an orchestrator gave, for other machines to reach.

    Args:
        task: Task of this process.

    Raises:
        ConfigError: The operating system cannot restrict a port.
        OSError: The port is in use.
    """
    host, _, port = task.address.rpartition(":")
    if not is_loopback(host):
        yield
        return
    os.environ["TF_GRPC_REUSE_PORT"] = "true"  # Required by ``loopback_port``.
    listen_on_loopback()
    with loopback_port(int(port)):
        yield


def listen_on_loopback() -> None:
    """Restricts the sockets of NCCL, which exchanges gradients of GPUs, to this machine.

    By default, NCCL listens on any other interface. A setting of the user is left alone.
    """
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")


def is_reachable(address: str) -> bool:
    """Returns True if a server accepts connections at the address."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def _normalize_task_type(type_: str) -> str:
    return "chief" if type_ == "master" else type_
