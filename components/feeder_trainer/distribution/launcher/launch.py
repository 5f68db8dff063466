"""Starting the processes of a training, as its strategy says."""

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE, ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher.rendezvous import run_chief
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import (
    LaunchResult,
    launch_processes,
)
from tfx_feeder.components.feeder_trainer.distribution.layout import ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.options import (
    DEFAULT_RESTARTS,
    STRATEGIES,
    ClusterStrategy,
    Strategy,
)

Result = TypeVar("Result")


class Job(Protocol):
    """Something with a strategy."""

    @property
    def strategy(self) -> Strategy:
        """Where to run it."""
        ...


AnyJob = TypeVar("AnyJob", bound=Job)


def run_in_processes(
    function: Callable[[AnyJob, ClusterTask | None], Result],
    job: AnyJob,
    log_dir: str,
    *,
    more: bool = False,
) -> LaunchResult[Result]:
    """Runs a function in the processes that a job's strategy needs.

    Args:
        function: Importable; called with the job and the task of its process.
        job: Goes to the processes by pickle.
        log_dir: Folder of a log file for each process.
        more: More is to follow, for which the members of an orchestrator's cluster stay.

    Raises:
        ConfigError: The cluster is that of the orchestrator, and there is none.
        FeederError: See ``processes.run``.
    """
    strategy = job.strategy
    clustered = isinstance(strategy, ClusterStrategy)
    if clustered and strategy.cluster == "env":
        task = ClusterTask.from_env(os.environ)
        if task is None:
            raise ConfigError(
                VARIABLE,
                received=None,
                expected="a description of the cluster, for cluster='env'",
                fix="Let the orchestrator set it, or say cluster='local:2'.",
            )
        return LaunchResult(run_chief(function, job, task, log_dir=log_dir, more=more))
    layout = ProcessTopology(
        STRATEGIES[strategy.name].launch_mode, workers_of(strategy.cluster) if clustered else 1
    )
    restarts = strategy.restarts if clustered else DEFAULT_RESTARTS
    return launch_processes(function, job, layout, log_dir=log_dir, restarts=restarts)


def workers_of(cluster: str) -> int:
    """Returns the number of workers of a cluster.

    Args:
        cluster: ``"local:2"``, or ``"env"`` for that of ``TF_CONFIG``.
    """
    if cluster != "env":
        return int(cluster.partition(":")[2])
    task: Any = ClusterTask.from_env(os.environ)
    if task is None:
        return 1
    return len(task.cluster["worker"]) if "ps" in task.cluster else len(task.members)
