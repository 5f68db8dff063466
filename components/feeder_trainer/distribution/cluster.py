"""The place of a process in a cluster, as ``TF_CONFIG`` says it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfx_feeder.common.errors import ConfigError

VARIABLE = "TF_CONFIG"
"""Environment variable in which orchestrators describe a cluster."""

TYPES = ("chief", "worker", "ps")
"""Kinds of tasks: the first two train, ``"ps"`` holds variables."""

_ADDRESS = re.compile(r".+:[0-9]+")


@dataclass(frozen=True, slots=True)
class ClusterTask:
    """A process of a cluster.

    Args:
        cluster: Kind of task to the addresses (``host:port``) of all tasks of that kind.
        type: Kind of this one.
        index: Which one of its kind.

    Raises:
        ConfigError: The cluster does not have this task.

    Example:
        >>> ClusterTask({"worker": ("a:1", "b:1")}, "worker", 1).is_chief
        False
    """

    cluster: Mapping[str, tuple[str, ...]]
    type: str
    index: int

    def __post_init__(self) -> None:
        cluster = {kind: tuple(addresses) for kind, addresses in self.cluster.items()}
        object.__setattr__(self, "cluster", cluster)
        for address in (each for addresses in cluster.values() for each in addresses):
            if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
                raise ConfigError(VARIABLE, received=address, expected="host:port")
        place = cluster.get(self.type, ()) if self.type in TYPES else ()
        if not 0 <= self.index < len(place):
            raise ConfigError(
                VARIABLE,
                received=f"task {self.type} {self.index} of {cluster}",
                expected=f"one of the tasks of the cluster, of type {', '.join(TYPES)}",
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "ClusterTask | None":
        """Reads ``TF_CONFIG``; ``None`` where it is not set.

        Raises:
            ConfigError: It is not what TensorFlow documents.
        """
        text = environ.get(VARIABLE)
        if not text:
            return None
        try:
            document: Any = json.loads(text)
            task = document["task"]
            cluster = {_modern(kind): all_ for kind, all_ in document["cluster"].items()}
            return cls(cluster, _modern(task["type"]), int(task.get("index", 0)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                VARIABLE,
                received=text,
                expected='{"cluster": {"worker": ["host:port", ...]}, '
                '"task": {"type": "worker", "index": 0}}',
            ) from error

    def to_json(self) -> str:
        """Writes the value of ``TF_CONFIG``."""
        task = {"type": self.type, "index": self.index}
        return json.dumps({"cluster": self.cluster, "task": task})

    @property
    def members(self) -> tuple[str, ...]:
        """Addresses of those who train: the chief, then the workers."""
        return (*self.cluster.get("chief", ()), *self.cluster.get("worker", ()))

    @property
    def position(self) -> int:
        """Place among the members, from 0."""
        before = 0 if self.type == "chief" else len(self.cluster.get("chief", ()))
        return before + self.index

    @property
    def is_chief(self) -> bool:
        """Whether this task decides and writes for all."""
        return self.type != "ps" and self.position == 0


def _modern(kind: str) -> str:
    return "chief" if kind == "master" else kind
