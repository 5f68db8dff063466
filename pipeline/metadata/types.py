"""What an ML Metadata store holds, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

RUNNING, COMPLETE, CACHED = "RUNNING", "COMPLETE", "CACHED"
FAILED, CANCELED = "FAILED", "CANCELED"
SUCCEEDED = (COMPLETE, CACHED)
"""States of an execution whose outputs are there."""
RESULT_PROPERTY = "__execution_result__"
"""Property of an execution in which TFX keeps an executor's result: JSON with ``resultMessage``."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact as the store knows it.

    Args:
        id: In the store.
        type_name: Such as ``Model``.
        uri: Where its files are.
        properties: Declared and custom ones.
        created: When it was registered; UTC.
        state: ``LIVE``, ``DELETED``, ``PENDING`` and so on; empty where none was written.
    """

    id: int
    type_name: str
    uri: str
    properties: Mapping[str, Any]
    created: datetime
    state: str = ""

    @property
    def path(self) -> Path:
        """Where its files are, if they are on this machine."""
        url = urlsplit(self.uri)
        return Path(unquote(url.path)) if url.scheme == "file" else Path(self.uri)


@dataclass(frozen=True, slots=True)
class Execution:
    """One node of a pipeline in one run.

    Args:
        id: In the store.
        node: Name of the node, such as ``FeederTrainer``.
        type_name: Of its component, such as ``tfx.components.pusher.component.Pusher``.
        pipeline: Name of the pipeline.
        run_id: Name of the run.
        state: ``COMPLETE``, ``CACHED``, ``FAILED``, ``RUNNING`` or ``CANCELED``.
        began: When it was registered; UTC.
        changed: When its state changed last; UTC.
        properties: What it was called with, and what it says of an error.
        inputs: What it read, by input key.
        outputs: What it made or took over, by output key.
    """

    id: int
    node: str
    type_name: str
    pipeline: str
    run_id: str
    state: str
    began: datetime
    changed: datetime
    properties: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    outputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From registration to the last change of state."""
        return (self.changed - self.began).total_seconds()

    def output(self, key: str) -> Artifact | None:
        """Returns the first artifact of an output; ``None`` where there is none."""
        return next(iter(self.outputs.get(key, ())), None)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a pipeline.

    Args:
        id: Its name in the store.
        pipeline: Name of the pipeline.
        executions: In the order in which they were registered.
        created: When it was registered; UTC.
    """

    id: str
    pipeline: str
    executions: tuple[Execution, ...]
    created: datetime

    @property
    def state(self) -> str:
        """The worst state among its executions; ``CACHED`` where nothing had to run."""
        states = {execution.state for execution in self.executions}
        for state in (FAILED, CANCELED, RUNNING, COMPLETE):
            if state in states:
                return state
        return CACHED if states else RUNNING

    @property
    def seconds(self) -> float:
        """From its registration to the last change of state."""
        last = max((e.changed for e in self.executions), default=self.created)
        return (last - self.created).total_seconds()


@dataclass(frozen=True, slots=True)
class Graph:
    """A part of the lineage.

    Args:
        artifacts: By id.
        executions: By id, with their inputs and outputs.
        maker_ids: By artifact id: the execution that made it, not one that took it from the cache.
        user_ids: By artifact id: the executions that read it, in order.
    """

    artifacts: Mapping[int, Artifact]
    executions: Mapping[int, Execution]
    maker_ids: Mapping[int, int]
    user_ids: Mapping[int, tuple[int, ...]]

    def maker(self, artifact_id: int) -> Execution | None:
        """Returns the execution that made an artifact; ``None`` where the graph lacks it."""
        maker = self.maker_ids.get(artifact_id)
        return None if maker is None else self.executions[maker]

    def users(self, artifact_id: int) -> tuple[Execution, ...]:
        """Returns the executions that read an artifact, the oldest first."""
        return tuple(self.executions[user] for user in self.user_ids.get(artifact_id, ()))
